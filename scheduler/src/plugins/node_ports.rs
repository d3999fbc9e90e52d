//! NodePorts: host ports that a pod asks for must be free on the node.

use crate::cache::NodeInfo;
use crate::change::Change;
use crate::framework::{Cycle, FilterPlugin, NodeFilter, PreFilter};
use crate::listers::Listers;
use crate::pod::{HostPort, PodInfo};
use crate::status::{Status, Verdict};

const NAME: &str = "NodePorts";

pub struct NodePorts;

struct Filter<'a>(&'a [HostPort]);

fn conflict(wanted: &[HostPort], used: &[HostPort]) -> bool {
    wanted.iter().any(|w| used.iter().any(|u| w.conflicts(u)))
}

impl FilterPlugin for NodePorts {
    fn name(&self) -> &'static str {
        NAME
    }
    fn pre_filter<'a>(&'a self, _: Cycle<'a>, pod: &'a PodInfo) -> PreFilter<'a> {
        if pod.ports.is_empty() { PreFilter::Skip } else { PreFilter::Run(Box::new(Filter(&pod.ports))) }
    }
    fn may_help(&self, change: &Change, pod: &PodInfo, _: &Listers) -> bool {
        match change {
            Change::NodeAdded(_) => true,
            Change::PodRemoved(p) => conflict(&pod.ports, &p.ports),
            _ => false,
        }
    }
}

impl NodeFilter for Filter<'_> {
    fn filter(&self, node: &NodeInfo) -> Verdict {
        if conflict(self.0, &node.ports) {
            return Err(Status::unschedulable(NAME, "node(s) didn't have free ports for the requested pod ports"));
        }
        Ok(())
    }
}
