//! NodeName: a pod that names its node goes there or nowhere.

use crate::cache::NodeInfo;
use crate::change::Change;
use crate::framework::{Cycle, FilterPlugin, NodeFilter, PreFilter};
use crate::listers::Listers;
use crate::pod::PodInfo;
use crate::status::{Status, Verdict};
use client::Object;

const NAME: &str = "NodeName";

pub struct NodeName;

struct Filter<'a>(&'a str);

impl FilterPlugin for NodeName {
    fn name(&self) -> &'static str {
        NAME
    }
    fn pre_filter<'a>(&'a self, _: Cycle<'a>, pod: &'a PodInfo) -> PreFilter<'a> {
        match pod.node_name() {
            "" => PreFilter::Skip,
            name => PreFilter::Run(Box::new(Filter(name))),
        }
    }
    fn may_help(&self, change: &Change, pod: &PodInfo, _: &Listers) -> bool {
        matches!(change, Change::NodeAdded(n) if n.name() == pod.node_name())
    }
}

impl NodeFilter for Filter<'_> {
    fn filter(&self, node: &NodeInfo) -> Verdict {
        if &*node.name == self.0 {
            return Ok(());
        }
        Err(Status::unresolvable(NAME, "node(s) didn't match the requested node name"))
    }
}
