//! Warnings about pods and templates that are valid but likely not what was meant (pkg/api/pod/warnings.go).

use super::security::all_containers;
use crate::at::At;
use crate::resources;
use machinery::validation;
use std::collections::HashMap;

const VOLUMES: [(&str, &str); 9] = [
    ("photonPersistentDisk", "deprecated in v1.11, non-functional in v1.16+"),
    ("gitRepo", "deprecated in v1.11, and disabled by default in v1.33+"),
    ("scaleIO", "deprecated in v1.16, non-functional in v1.22+"),
    ("flocker", "deprecated in v1.22, non-functional in v1.25+"),
    ("storageos", "deprecated in v1.22, non-functional in v1.25+"),
    ("quobyte", "deprecated in v1.22, non-functional in v1.25+"),
    ("glusterfs", "deprecated in v1.25, non-functional in v1.26+"),
    ("cephfs", "deprecated in v1.28, non-functional in v1.31+"),
    ("rbd", "deprecated in v1.28, non-functional in v1.31+"),
];

const ANNOTATIONS: [(&str, &str); 3] = [
    ("scheduler.alpha.kubernetes.io/critical-pod", "non-functional in v1.16+; use the \"priorityClassName\" field instead"),
    ("security.alpha.kubernetes.io/sysctls", "non-functional in v1.11+; use the \"sysctls\" field instead"),
    ("security.alpha.kubernetes.io/unsafe-sysctls", "non-functional in v1.11+; use the \"sysctls\" field instead"),
];

/// Message for a node label that has a successor.
pub fn node_label(key: &str) -> Option<&'static str> {
    Some(match key {
        "beta.kubernetes.io/arch" => "deprecated since v1.14; use \"kubernetes.io/arch\" instead",
        "beta.kubernetes.io/os" => "deprecated since v1.14; use \"kubernetes.io/os\" instead",
        "failure-domain.beta.kubernetes.io/region" => "deprecated since v1.17; use \"topology.kubernetes.io/region\" instead",
        "failure-domain.beta.kubernetes.io/zone" => "deprecated since v1.17; use \"topology.kubernetes.io/zone\" instead",
        "beta.kubernetes.io/instance-type" => "deprecated since v1.17; use \"node.kubernetes.io/instance-type\" instead",
        _ => return None,
    })
}

/// Warnings of something with `metadata` and `spec`: a Pod or a template.
pub fn pod(at: At) -> Vec<String> {
    let mut out = Vec::new();
    let (spec, annotations) = (at.get("spec"), at.at(&["metadata", "annotations"]));
    for (k, v) in spec.get("nodeSelector").entries() {
        out.extend(node_label(k).map(|m| format!("{}: {m}", v.path())));
    }
    for t in spec.get("topologySpreadConstraints").items() {
        let key = t.get("topologyKey");
        out.extend(node_label(key.str()).map(|m| format!("{}: {} is {m}", key.path(), key.str())));
        if !t.has("labelSelector") {
            out.push(format!("{}: a null labelSelector results in matching no pod", t.get("labelSelector").path()));
        }
    }
    for (k, m) in ANNOTATIONS {
        if annotations.has(k) {
            out.push(format!("{}: {m}", annotations.key(k).path()));
        }
    }
    for v in spec.get("volumes").items() {
        out.extend(
            VOLUMES
                .iter()
                .filter(|(f, _)| v.has(f))
                .map(|(f, m)| format!("{}: {m}", v.get(if *f == "storageos" { "storageOS" } else { f }).path())),
        );
    }
    duplicates(spec.get("hostAliases"), "ip", "ip", &mut out);
    duplicates(spec.get("imagePullSecrets"), "name", "name", &mut out);
    for s in spec.get("imagePullSecrets").items().filter(|s| s.get("name").is_empty()) {
        out.push(format!("{}: invalid empty name \"\"", s.get("name").path()));
    }
    fractional(spec.get("overhead"), &mut out);
    for c in all_containers(spec) {
        for list in ["limits", "requests"] {
            fractional(c.at(&["resources", list]), &mut out);
        }
        env(c.get("env"), &mut out);
    }
    ports(spec, &mut out);
    let grace = spec.get("terminationGracePeriodSeconds");
    if grace.int() < 0 {
        out.push(format!("{}: must be >= 0; negative values are invalid and will be treated as 1", grace.path()));
    }
    for kind in ["podAffinity", "podAntiAffinity"] {
        let a = spec.at(&["affinity", kind]);
        let preferred = a.get("preferredDuringSchedulingIgnoredDuringExecution").items().map(|t| t.get("podAffinityTerm"));
        for t in a.get("requiredDuringSchedulingIgnoredDuringExecution").items().chain(preferred) {
            if !t.has("labelSelector") {
                out.push(format!("{}: a null labelSelector results in matching no pod", t.get("labelSelector").path()));
            }
        }
    }
    for ip in spec.at(&["dnsConfig", "nameservers"]).items().chain(spec.get("hostAliases").items().map(|a| a.get("ip"))) {
        out.extend(validation::warnings_for_ip(&ip.path(), ip.str()));
    }
    out
}

fn duplicates(list: At, field: &'static str, what: &str, out: &mut Vec<String>) {
    let mut seen = Vec::new();
    for v in list.items().map(|i| i.get(field)) {
        if seen.contains(&v.str()) {
            out.push(format!("{}: duplicate {what} {:?}", v.path(), v.str()));
        }
        seen.push(v.str());
    }
}

fn fractional(list: At, out: &mut Vec<String>) {
    for name in ["memory", "ephemeral-storage"] {
        let q = list.key(name);
        if q.present() && resources::is_fractional(q.v) {
            out.push(format!("{}: fractional byte value {:?} is invalid, must be an integer", q.path(), q.str()));
        }
    }
}

fn env(list: At, out: &mut Vec<String>) {
    let mut seen = Vec::new();
    for v in list.items() {
        let (name, value) = (v.get("name").str(), v.get("value").str());
        let reference = format!("$({name})");
        if seen.contains(&name) && (v.has("valueFrom") || value == reference || !value.contains(&reference)) {
            out.push(format!("{}: hides previous definition of {name:?}, which may be dropped when using apply", v.path()));
        }
        seen.push(name);
    }
}

fn ports(spec: At, out: &mut Vec<String>) {
    let mut all: Vec<At> = Vec::new();
    let mut by_name: HashMap<&str, At> = HashMap::new();
    let mut names = Vec::new();
    for p in all_containers(spec).flat_map(|c| c.get("ports").items().collect::<Vec<_>>()) {
        fn key<'a>(p: &At<'a>) -> (i64, &'a str) {
            (p.get("containerPort").int(), p.get("protocol").str())
        }
        let (ip, host) = (p.get("hostIP").str(), p.get("hostPort").int());
        for other in all.iter().filter(|o| key(o) == key(&p)) {
            let (other_ip, other_host) = (other.get("hostIP").str(), other.get("hostPort").int());
            let what = if ip == other_ip && host == other_host {
                "duplicate"
            } else if host == 0 || other_host == 0 {
                "overlapping"
            } else if host == other_host && ip.is_empty() != other_ip.is_empty() {
                "dangerously ambiguous"
            } else {
                continue;
            };
            out.push(format!("{}: {what} port definition with {}", p.path(), other.path()));
        }
        all.push(p);
        let name = p.get("name").str();
        if !name.is_empty() {
            match by_name.get(name) {
                Some(other) => names.push(format!(
                    "{}: duplicate port name {name:?} with {}, services and probes that select ports by name will use {}",
                    p.path(),
                    other.path(),
                    other.path()
                )),
                None => {
                    by_name.insert(name, p);
                }
            }
        }
    }
    out.extend(names);
}
