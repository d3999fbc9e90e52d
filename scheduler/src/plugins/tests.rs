//! Verdicts of the default profile, as the message a user reads, over small clusters written as data.

use super::default_preemption::{Preemption, preempt};
use super::default_profile;
use crate::cache::Cache;
use crate::cycle::{Failure, Filters, best, feasible};
use crate::framework::Cycle;
use crate::listers::Listers;
use crate::nominator::Nominator;
use crate::pod::PodInfo;
use crate::status::Diagnosis;
use client::{BoxError, Client, Informers, Transport};
use k8s_openapi::api::core::v1::{Node, Pod};
use serde_json::{Value, json};
use std::sync::Arc;

/// An API without objects that never answers.
struct Silent;

#[async_trait::async_trait]
impl Transport for Silent {
    async fn send(&self, _: http::Request<bytes::Bytes>) -> Result<http::Response<client::Body>, BoxError> {
        std::future::pending().await
    }
}

fn pod(name: &str, more: Value) -> Arc<PodInfo> {
    let mut v = json!({
        "metadata": {"name": name, "namespace": "ns", "uid": name},
        "spec": {"containers": [{"name": "c"}]},
    });
    merge(&mut v, more);
    let pod: Pod = serde_json::from_value(v).expect("a pod");
    PodInfo::new(Arc::new(pod))
}

fn merge(into: &mut Value, from: Value) {
    match (into, from) {
        (Value::Object(a), Value::Object(b)) => b.into_iter().for_each(|(k, v)| merge(a.entry(k).or_insert(Value::Null), v)),
        (a, b) => *a = b,
    }
}

fn requests(cpu: &str) -> Value {
    json!({"spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": cpu}}}]}})
}

fn node(name: &str, more: Value) -> Arc<Node> {
    let mut v = json!({
        "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}},
        "status": {"allocatable": {"cpu": "1", "memory": "1Gi", "pods": "3"}},
    });
    merge(&mut v, more);
    Arc::new(serde_json::from_value(v).expect("a node"))
}

fn cluster(nodes: &[Arc<Node>], placed: &[Arc<PodInfo>]) -> Cache {
    let mut cache = Cache::default();
    for n in nodes {
        cache.set_node(n.clone());
    }
    cache.settle();
    for p in placed {
        cache.set_pod(p);
    }
    cache
}

fn on(node: &str, mut p: Value) -> Value {
    merge(&mut p, json!({"spec": {"nodeName": node}}));
    p
}

/// The names of the feasible nodes, or the message with preemption's part.
fn outcome(cache: &Cache, pod: &Arc<PodInfo>) -> Result<Vec<String>, String> {
    let listers = Listers::new(&Informers::new(Client::new(Arc::new(Silent))));
    let cycle = Cycle { cache, listers: &listers };
    let (profile, nominator) = (default_profile(), Nominator::default());
    let with_preemption = |mut d: Diagnosis, filters: Option<&mut Filters<'_>>| {
        d.post_filter = match preempt(cycle, filters, pod, &d, |_| 0) {
            Preemption::NotEligible(m) | Preemption::NotHelpful(m) => m,
            Preemption::Preempt { node, victims } => {
                let names: Vec<&str> = victims.iter().map(|v| v.name()).collect();
                format!("[preempt {} on {node}]", names.join(" "))
            }
        };
        Err(d.message())
    };
    match Filters::new(&profile, cycle, &nominator, pod) {
        Err(s) => {
            let diagnosis =
                Diagnosis { nodes: cache.order.len(), pre_filter: Some(s.message()), absent: Some(s), ..Default::default() };
            with_preemption(diagnosis, None)
        }
        Ok(mut filters) => match feasible(cycle, &mut filters, 0, &mut 0) {
            Ok(slots) => {
                let mut names: Vec<String> = slots.iter().map(|s| cache.nodes[*s].name.to_string()).collect();
                names.sort();
                Ok(names)
            }
            Err(Failure::Unfit(d)) => with_preemption(*d, Some(&mut filters)),
            Err(other) => panic!("{other:?}"),
        },
    }
}

const NOT_HELPFUL: &str = "Preemption is not helpful for scheduling";
const NO_VICTIMS: &str = "No preemption victims found for incoming pod";

#[tokio::test]
async fn messages_are_upstreams() {
    let three = || vec![node("a", json!({})), node("b", json!({})), node("c", json!({}))];
    let tainted = |n: &str| node(n, json!({"spec": {"taints": [{"key": "k", "effect": "NoSchedule"}]}}));
    let port = |p: i32| json!({"spec": {"containers": [{"name": "c", "ports": [{"containerPort": 1, "hostPort": p}]}]}});
    let anti = json!({"metadata": {"labels": {"app": "x"}}, "spec": {"affinity": {"podAntiAffinity": {
        "requiredDuringSchedulingIgnoredDuringExecution": [
            {"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": {"app": "x"}}}]}}}});
    let affinity = json!({"spec": {"affinity": {"podAffinity": {
        "requiredDuringSchedulingIgnoredDuringExecution": [
            {"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": {"app": "x"}}}]}}}});
    let spread = json!({"metadata": {"labels": {"app": "x"}}, "spec": {"topologySpreadConstraints": [
        {"maxSkew": 1, "topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "DoNotSchedule",
         "labelSelector": {"matchLabels": {"app": "x"}}}]}});
    let by_name = |names: &[&str]| {
        json!({"spec": {"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {
        "nodeSelectorTerms": [{"matchFields": [{"key": "metadata.name", "operator": "In", "values": names}]}]}}}}})
    };
    let labelled = json!({"metadata": {"labels": {"app": "x"}}});
    let refused = |m: &str| Err(m.to_owned());
    let fits = |n: &[&str]| Ok(n.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>());
    type Case = (&'static str, Vec<Arc<Node>>, Vec<Arc<PodInfo>>, Value, Result<Vec<String>, String>);
    let cases: Vec<Case> = vec![
        ("a pod that asks for nothing fits everywhere", three(), vec![], json!({}), fits(&["a", "b", "c"])),
        (
            "reasons are counted and sorted",
            vec![node("a", json!({})), tainted("b"), tainted("c")],
            vec![pod("p", on("a", requests("600m")))],
            requests("500m"),
            refused(&format!(
                "0/3 nodes are available: 1 Insufficient cpu, 2 node(s) had untolerated taint(s). \
                 preemption: 0/3 nodes are available: 1 {NO_VICTIMS}, 2 {NOT_HELPFUL}."
            )),
        ),
        (
            "a request no node can hold",
            vec![node("a", json!({}))],
            vec![],
            requests("2"),
            refused(&format!(
                "0/1 nodes are available: 1 Insufficient cpu. preemption: 0/1 nodes are available: 1 {NOT_HELPFUL}."
            )),
        ),
        (
            "cordoned",
            vec![node("a", json!({"spec": {"unschedulable": true}}))],
            vec![],
            json!({}),
            refused(&format!(
                "0/1 nodes are available: 1 node(s) were unschedulable. \
                 preemption: 0/1 nodes are available: 1 {NOT_HELPFUL}."
            )),
        ),
        (
            "node selector",
            vec![node("a", json!({}))],
            vec![],
            json!({"spec": {"nodeSelector": {"disk": "ssd"}}}),
            refused(&format!(
                "0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector. \
                 preemption: 0/1 nodes are available: 1 {NOT_HELPFUL}."
            )),
        ),
        ("node affinity by name", three(), vec![], by_name(&["b"]), fits(&["b"])),
        (
            "node affinity by the name of no node",
            three(),
            vec![],
            by_name(&["z"]),
            refused(&format!(
                "0/3 nodes are available: 3 node(s) didn't satisfy plugin(s) [NodeAffinity]. \
                 preemption: 0/3 nodes are available: 3 {NOT_HELPFUL}."
            )),
        ),
        (
            "host port in use",
            vec![node("a", json!({})), node("b", json!({}))],
            vec![pod("p", on("a", port(80)))],
            port(80),
            fits(&["b"]),
        ),
        (
            "too many pods",
            vec![node("a", json!({"status": {"allocatable": {"pods": "1"}}}))],
            vec![pod("p", on("a", json!({})))],
            json!({}),
            refused(&format!("0/1 nodes are available: 1 Too many pods. preemption: 0/1 nodes are available: 1 {NO_VICTIMS}.")),
        ),
        ("anti-affinity to a placed pod", three(), vec![pod("p", on("b", labelled.clone()))], anti.clone(), fits(&["a", "c"])),
        ("a placed pod's anti-affinity", three(), vec![pod("p", on("b", anti))], labelled.clone(), fits(&["a", "c"])),
        ("affinity to a placed pod", three(), vec![pod("p", on("b", labelled.clone()))], affinity.clone(), fits(&["b"])),
        (
            "affinity to nothing",
            vec![node("a", json!({}))],
            vec![],
            affinity,
            refused(&format!(
                "0/1 nodes are available: 1 node(s) didn't match pod affinity rules. \
                 preemption: 0/1 nodes are available: 1 {NOT_HELPFUL}."
            )),
        ),
        ("topology spread", three(), vec![pod("p", on("b", labelled))], spread, fits(&["a", "c"])),
        (
            "preemption takes the least important pods that make room",
            vec![node("a", json!({})), node("b", json!({}))],
            vec![
                pod(
                    "low",
                    on("a", {
                        let mut v = requests("500m");
                        merge(&mut v, json!({"spec": {"priority": 1}}));
                        v
                    }),
                ),
                pod(
                    "mid",
                    on("a", {
                        let mut v = requests("500m");
                        merge(&mut v, json!({"spec": {"priority": 5}}));
                        v
                    }),
                ),
                pod(
                    "high",
                    on("b", {
                        let mut v = requests("1");
                        merge(&mut v, json!({"spec": {"priority": 50}}));
                        v
                    }),
                ),
            ],
            {
                let mut v = requests("500m");
                merge(&mut v, json!({"spec": {"priority": 10}}));
                v
            },
            refused("0/2 nodes are available: 2 Insufficient cpu. [preempt low on a]"),
        ),
        (
            "preemptionPolicy Never",
            vec![node("a", json!({}))],
            vec![pod("p", on("a", requests("1")))],
            {
                let mut v = requests("1");
                merge(&mut v, json!({"spec": {"priority": 10, "preemptionPolicy": "Never"}}));
                v
            },
            refused("0/1 nodes are available: 1 Insufficient cpu. preemption: not eligible due to preemptionPolicy=Never."),
        ),
        (
            "missing claim",
            vec![node("a", json!({}))],
            vec![],
            json!({"spec": {"volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "data"}}]}}),
            refused(&format!(
                "0/1 nodes are available: persistentvolumeclaim \"data\" not found. \
                 preemption: 0/1 nodes are available: 1 {NOT_HELPFUL}."
            )),
        ),
    ];
    for (name, nodes, placed, incoming, want) in cases {
        let cache = cluster(&nodes, &placed);
        assert_eq!(outcome(&cache, &pod("new", incoming)), want, "{name}");
    }
}

#[tokio::test]
async fn scores_prefer_the_better_node() {
    let listers = Listers::new(&Informers::new(Client::new(Arc::new(Silent))));
    let image = json!({"status": {"images": [{"names": ["big:1"], "sizeBytes": 900_000_000}]}});
    let soft = json!({"spec": {"taints": [{"key": "k", "effect": "PreferNoSchedule"}]}});
    let big = json!({"spec": {"containers": [{"name": "c", "image": "big:1"}]}});
    let prefer_b = json!({"spec": {"affinity": {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [
        {"weight": 1, "preference": {"matchExpressions": [
            {"key": "kubernetes.io/hostname", "operator": "In", "values": ["b"]}]}}]}}}});
    let together = json!({"spec": {"affinity": {"podAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [
        {"weight": 10, "podAffinityTerm": {"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": {"app": "x"}}}}]}}}});
    let plain = || node("a", json!({}));
    type Case = (&'static str, Vec<Arc<Node>>, Vec<Arc<PodInfo>>, Value);
    let cases: Vec<Case> = vec![
        ("least allocated", vec![plain(), node("b", json!({}))], vec![pod("p", on("a", requests("500m")))], requests("100m")),
        ("image present", vec![plain(), node("b", image)], vec![], big),
        ("soft taint", vec![node("a", soft), node("b", json!({}))], vec![], json!({})),
        ("preferred node affinity", vec![plain(), node("b", json!({}))], vec![], prefer_b),
        (
            "preferred pod affinity",
            vec![plain(), node("b", json!({}))],
            vec![pod("p", on("b", json!({"metadata": {"labels": {"app": "x"}}})))],
            together,
        ),
    ];
    for (name, nodes, placed, incoming) in cases {
        let cache = cluster(&nodes, &placed);
        let cycle = Cycle { cache: &cache, listers: &listers };
        let incoming = pod("new", incoming);
        let slot = best(&default_profile(), cycle, &incoming, &cache.order, |_| 0);
        assert_eq!(&*cache.nodes[slot].name, "b", "{name}");
    }
}
