//! The pod's resolv.conf (upstream pkg/kubelet/network/dns).

use super::spec::{host_network, spec};
use crate::context::Context;
use cri::v1::DnsConfig;
use k8s_openapi::api::core::v1::Pod;

const MAX_NAMESERVERS: usize = 3;
const MAX_SEARCHES: usize = 32;
const MAX_SEARCH_CHARS: usize = 2048;

/// The DNS configuration a pod's policy and dnsConfig ask for.
pub fn config(ctx: &Context, pod: &Pod) -> DnsConfig {
    let k = &ctx.config.kubelet;
    let host = if k.resolv_conf.is_empty() { String::new() } else { std::fs::read_to_string(&k.resolv_conf).unwrap_or_default() };
    resolve(pod, &k.cluster_dns, &k.cluster_domain, &parse(&host))
}

fn resolve(pod: &Pod, cluster_dns: &[String], domain: &str, host: &DnsConfig) -> DnsConfig {
    let s = spec(pod);
    let policy = s.dns_policy.as_deref().unwrap_or("ClusterFirst");
    let cluster = policy == "ClusterFirstWithHostNet" || (policy == "ClusterFirst" && !host_network(pod));
    let mut out = if policy == "None" {
        DnsConfig::default()
    } else if cluster && !cluster_dns.is_empty() {
        let mut searches = Vec::new();
        if !domain.is_empty() {
            let ns = pod.metadata.namespace.as_deref().unwrap_or("");
            searches = vec![format!("{ns}.svc.{domain}"), format!("svc.{domain}"), domain.to_owned()];
        }
        merge_unique(&mut searches, &host.searches);
        DnsConfig { servers: cluster_dns.to_vec(), searches, options: vec!["ndots:5".into()] }
    } else {
        host.clone()
    };
    if let Some(own) = &s.dns_config {
        merge_unique(&mut out.servers, own.nameservers.as_deref().unwrap_or_default());
        merge_unique(&mut out.searches, own.searches.as_deref().unwrap_or_default());
        for o in own.options.iter().flatten() {
            let name = o.name.as_deref().unwrap_or("");
            out.options.retain(|have| have.split(':').next() != Some(name));
            out.options.push(match o.value.as_deref().filter(|v| !v.is_empty()) {
                Some(v) => format!("{name}:{v}"),
                None => name.to_owned(),
            });
        }
    }
    out.servers.truncate(MAX_NAMESERVERS);
    out.searches.truncate(MAX_SEARCHES);
    while out.searches.join(" ").len() > MAX_SEARCH_CHARS {
        out.searches.pop();
    }
    out
}

fn merge_unique(to: &mut Vec<String>, more: &[String]) {
    for m in more {
        if !to.contains(m) {
            to.push(m.clone());
        }
    }
}

/// Reads a resolv.conf: of `search` lines the last one counts.
fn parse(text: &str) -> DnsConfig {
    let mut out = DnsConfig::default();
    for line in text.lines() {
        if line.starts_with(['#', ';']) {
            continue;
        }
        let mut words = line.split_whitespace();
        match words.next() {
            Some("nameserver") => out.servers.extend(words.next().map(str::to_owned)),
            Some("search") => {
                out.searches = words.map(|w| if w == "." { w.to_owned() } else { w.trim_end_matches('.').to_owned() }).collect()
            }
            Some("options") => out.options.extend(words.map(str::to_owned)),
            _ => {}
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn policies() {
        let host = parse("# x\nnameserver 9.9.9.9\nsearch a.example. b.example\noptions ndots:1 rotate\n");
        let cluster = ["10.96.0.10".to_owned()];
        for (name, spec, servers, searches, options) in [
            ("cluster first", json!({}), "10.96.0.10", "ns.svc.c.l svc.c.l c.l a.example b.example", "ndots:5"),
            ("host network", json!({"hostNetwork": true}), "9.9.9.9", "a.example b.example", "ndots:1 rotate"),
            ("default", json!({"dnsPolicy": "Default"}), "9.9.9.9", "a.example b.example", "ndots:1 rotate"),
            (
                "none",
                json!({"dnsPolicy": "None", "dnsConfig": {"nameservers": ["1.1.1.1"], "searches": ["x"],
                    "options": [{"name": "ndots", "value": "2"}, {"name": "edns0"}]}}),
                "1.1.1.1",
                "x",
                "ndots:2 edns0",
            ),
            (
                "merged",
                json!({"dnsConfig": {"options": [{"name": "ndots", "value": "2"}]}}),
                "10.96.0.10",
                "ns.svc.c.l svc.c.l c.l a.example b.example",
                "ndots:2",
            ),
        ] {
            let mut spec = spec;
            spec["containers"] = json!([]);
            let pod: Pod = serde_json::from_value(json!({"metadata": {"namespace": "ns"}, "spec": spec})).expect("pod");
            let got = resolve(&pod, &cluster, "c.l", &host);
            let text = (got.servers.join(" "), got.searches.join(" "), got.options.join(" "));
            assert_eq!((text.0.as_str(), text.1.as_str(), text.2.as_str()), (servers, searches, options), "{name}");
        }
    }
}
