//! NodeUnschedulable: keeps pods off cordoned nodes, unless they tolerate `node.kubernetes.io/unschedulable`.

use crate::cache::NodeInfo;
use crate::change::Change;
use crate::framework::{Cycle, FilterPlugin, NodeFilter, PreFilter};
use crate::listers::Listers;
use crate::pod::PodInfo;
use crate::selectors::tolerates;
use crate::status::{Status, Verdict};
use k8s_openapi::api::core::v1::{Node, Taint};

const NAME: &str = "NodeUnschedulable";

pub struct NodeUnschedulable;

struct Filter;

impl FilterPlugin for NodeUnschedulable {
    fn name(&self) -> &'static str {
        NAME
    }
    fn pre_filter<'a>(&'a self, _: Cycle<'a>, pod: &'a PodInfo) -> PreFilter<'a> {
        let taint = Taint { key: "node.kubernetes.io/unschedulable".into(), effect: "NoSchedule".into(), ..Default::default() };
        if pod.tolerations().iter().any(|t| tolerates(t, &taint)) { PreFilter::Skip } else { PreFilter::Run(Box::new(Filter)) }
    }
    fn may_help(&self, change: &Change, _: &PodInfo, _: &Listers) -> bool {
        let cordoned = |n: &Node| n.spec.as_ref().and_then(|s| s.unschedulable).unwrap_or(false);
        match change {
            Change::NodeAdded(n) => !cordoned(n),
            Change::NodeUpdated { old, new } => cordoned(old) && !cordoned(new),
            _ => false,
        }
    }
}

impl NodeFilter for Filter {
    fn filter(&self, node: &NodeInfo) -> Verdict {
        if node.unschedulable { Err(Status::unresolvable(NAME, "node(s) were unschedulable")) } else { Ok(()) }
    }
}
