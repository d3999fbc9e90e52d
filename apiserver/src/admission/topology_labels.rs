//! PodTopologyLabels: a pod learns the zone and the region of its node as labels, which the downward API can give to its containers.
//! Upstream: plugin/pkg/admission/podtopologylabels.

use super::{Attributes, Lister, Operation, Plugin};
use async_trait::async_trait;
use machinery::meta::{entry, labels, str_at};
use machinery::{Map, Status, Value};

const COPIED: [&str; 2] = ["topology.kubernetes.io/zone", "topology.kubernetes.io/region"];

pub struct PodTopologyLabels;

#[async_trait]
impl Plugin for PodTopologyLabels {
    fn name(&self) -> &'static str {
        "PodTopologyLabels"
    }

    fn handles(&self, a: &Attributes) -> bool {
        a.is("", "pods") && matches!(a.subresource.as_str(), "" | "binding") && a.operation == Operation::Create
    }

    async fn admit(&self, a: &Attributes, obj: &mut Value, cx: &dyn Lister) -> Result<(), Status> {
        let node = match a.subresource.as_str() {
            "" => str_at(obj, &["spec", "nodeName"]),
            _ if str_at(obj, &["target", "kind"]) != "Node" => "",
            // What a binding has for labels becomes the pod's.
            _ => str_at(obj, &["target", "name"]),
        };
        let Some(node) = Some(node).filter(|n| !n.is_empty()).and_then(|n| cx.get("", "nodes", "", n)) else { return Ok(()) };
        let copied: Map<String, Value> =
            labels(&node).iter().filter(|(k, _)| COPIED.contains(&k.as_str())).map(|(k, v)| (k.clone(), v.clone())).collect();
        if !copied.is_empty() {
            entry(obj, &["metadata", "labels"]).extend(copied);
        }
        Ok(())
    }
}
