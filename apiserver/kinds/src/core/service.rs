//! Service: ports, types, address families, what a change of type releases. Allocation of addresses and ports is the API server's.

use crate::at::{At, copy_from, list_mut, same, same_at, set_default, value_at};
use crate::print::{self, AGE, NAME, cells, col, wide};
use crate::rules::Rules;
use crate::strategy::Column;
use crate::{check, names, selectors};
use machinery::field::{Error, ErrorList, Path};
use machinery::{Value, json, meta, validation};
use std::collections::HashSet;

static COLUMNS: [Column; 7] =
    [NAME, col("Type", ""), col("Cluster-IP", ""), col("External-IP", ""), col("Port(s)", ""), AGE, wide("Selector", "")];

pub static SERVICE: Rules = Rules {
    name: names::NameRule::Label,
    status: true,
    create_on_update: true,
    default,
    update: |obj, old| {
        patch_allocated_values(obj, old);
        drop_type_dependent_fields(obj, old);
    },
    create: |obj, _| meta::set(obj, &["status"], json!({"loadBalancer": {}})),
    validate: |at, old, e| {
        if let Some(old) = old {
            update(at, old, e);
        }
        validate(at, old, e);
    },
    validate_status: |at, _, e| load_balancer_status(at, e),
    warnings,
    fields: &["spec.clusterIP", "spec.type"],
    columns: &COLUMNS,
    cells: |obj, now| {
        let clusters = print::strings(obj, &["spec", "clusterIPs"]);
        let ports: Vec<String> = meta::list_at(obj, &["spec", "ports"]).iter().map(port_text).collect();
        cells([
            print::name(obj),
            print::text(obj, &["spec", "type"]),
            clusters.first().map_or(print::NONE, |ip| ip).into(),
            external_ip(obj).into(),
            print::or_none(&ports.join(",")).into(),
            print::age(obj, now),
            selectors::format_labels(meta::map_at(obj, &["spec", "selector"])).into(),
        ])
    },
    ..Rules::BASE
};

fn kind(svc: &Value) -> &str {
    meta::str_at(svc, &["spec", "type"])
}
fn is_load_balancer(svc: &Value) -> bool {
    kind(svc) == "LoadBalancer"
}
fn needs_node_port(svc: &Value) -> bool {
    matches!(kind(svc), "NodePort" | "LoadBalancer")
}
/// Reachable from outside: by node port, load balancer or external address.
fn externally_accessible(svc: &Value) -> bool {
    needs_node_port(svc) || (kind(svc) == "ClusterIP" && !meta::list_at(svc, &["spec", "externalIPs"]).is_empty())
}
fn needs_health_check(svc: &Value) -> bool {
    is_load_balancer(svc) && meta::str_at(svc, &["spec", "externalTrafficPolicy"]) == "Local"
}
fn is_headless(svc: &Value) -> bool {
    let ips = meta::list_at(svc, &["spec", "clusterIPs"]);
    ips.len() == 1 && ips[0].as_str() == Some("None")
}

fn default(obj: &mut Value) {
    set_default(obj, &["spec", "sessionAffinity"], "None");
    match meta::str_at(obj, &["spec", "sessionAffinity"]) {
        "None" => drop(meta::remove(obj, &["spec", "sessionAffinityConfig"])),
        "ClientIP" => set_default(obj, &["spec", "sessionAffinityConfig", "clientIP", "timeoutSeconds"], 10800),
        _ => {}
    }
    set_default(obj, &["spec", "type"], "ClusterIP");
    for p in list_mut(obj, &["spec", "ports"]).filter(|p| p.is_object()) {
        set_default(p, &["protocol"], "TCP");
        let target = value_at(p, &["targetPort"]);
        if target.is_null() || target.as_i64() == Some(0) || target.as_str() == Some("") {
            let port = meta::i64_at(p, &["port"]).unwrap_or(0);
            meta::set(p, &["targetPort"], port.into());
        }
    }
    if externally_accessible(obj) {
        set_default(obj, &["spec", "externalTrafficPolicy"], "Cluster");
    }
    if matches!(kind(obj), "NodePort" | "LoadBalancer" | "ClusterIP") {
        set_default(obj, &["spec", "internalTrafficPolicy"], "Cluster");
    }
    if is_load_balancer(obj) {
        set_default(obj, &["spec", "allocateLoadBalancerNodePorts"], true);
        for i in list_mut(obj, &["status", "loadBalancer", "ingress"]) {
            if !meta::str_at(i, &["ip"]).is_empty() {
                set_default(i, &["ipMode"], "VIP");
            }
        }
    }
}

/// What a client that knows less leaves out of an update, and the server had allocated, stays.
pub fn patch_allocated_values(obj: &mut Value, old: &Value) {
    let has_ip = |svc: &Value| kind(svc) != "ExternalName";
    if has_ip(old) && has_ip(obj) {
        if meta::str_at(obj, &["spec", "clusterIP"]).is_empty() {
            copy_from(obj, old, &["spec", "clusterIP"]);
        }
        if meta::list_at(obj, &["spec", "clusterIPs"]).is_empty() && same_at(obj, old, &["spec", "clusterIP"]) {
            copy_from(obj, old, &["spec", "clusterIPs"]);
        }
    }
    if needs_node_port(old) && needs_node_port(obj) {
        let key = |p: &Value| (meta::str_at(p, &["protocol"]).to_owned(), meta::i64_at(p, &["port"]));
        let node_port = |p: &Value| meta::i64_at(p, &["nodePort"]).unwrap_or(0);
        let mut used: HashSet<i64> = meta::list_at(obj, &["spec", "ports"]).iter().map(node_port).collect();
        let old_ports = meta::list_at(old, &["spec", "ports"]);
        for p in list_mut(obj, &["spec", "ports"]).filter(|p| p.is_object() && node_port(p) == 0) {
            // Several old ports may share a port number (by protocol): the first free one of the same key is kept.
            let kept = old_ports.iter().filter(|o| key(o) == key(p)).map(node_port).find(|n| *n != 0 && !used.contains(n));
            if let Some(n) = kept {
                used.insert(n);
                meta::set(p, &["nodePort"], n.into());
            }
        }
    }
    if needs_health_check(old) && needs_health_check(obj) && meta::i64_at(obj, &["spec", "healthCheckNodePort"]).unwrap_or(0) == 0
    {
        copy_from(obj, old, &["spec", "healthCheckNodePort"]);
    }
}

/// A change of type lets go of what the new type has no use for, if the client did not change it.
pub fn drop_type_dependent_fields(obj: &mut Value, old: &Value) {
    let unchanged = |obj: &Value, f: &str| same_at(obj, old, &["spec", f]);
    if kind(old) != "ExternalName" && kind(obj) == "ExternalName" {
        if unchanged(obj, "clusterIP") && unchanged(obj, "clusterIPs") {
            meta::remove(obj, &["spec", "clusterIP"]);
            meta::remove(obj, &["spec", "clusterIPs"]);
        }
        for f in ["ipFamilies", "ipFamilyPolicy"] {
            if unchanged(obj, f) {
                meta::remove(obj, &["spec", f]);
            }
        }
    }
    let node_ports = |svc: &Value| -> HashSet<i64> {
        meta::list_at(svc, &["spec", "ports"]).iter().filter_map(|p| meta::i64_at(p, &["nodePort"])).filter(|n| *n != 0).collect()
    };
    if needs_node_port(old) && !needs_node_port(obj) && node_ports(obj).is_subset(&node_ports(old)) {
        for p in list_mut(obj, &["spec", "ports"]) {
            meta::remove(p, &["nodePort"]);
        }
    }
    if needs_health_check(old) && !needs_health_check(obj) && unchanged(obj, "healthCheckNodePort") {
        meta::remove(obj, &["spec", "healthCheckNodePort"]);
    }
    if is_load_balancer(old) && !is_load_balancer(obj) {
        for f in ["allocateLoadBalancerNodePorts", "loadBalancerClass"] {
            if unchanged(obj, f) {
                meta::remove(obj, &["spec", f]);
            }
        }
    }
    if externally_accessible(old) && !externally_accessible(obj) && unchanged(obj, "externalTrafficPolicy") {
        meta::remove(obj, &["spec", "externalTrafficPolicy"]);
    }
    if !is_load_balancer(obj) {
        meta::set(obj, &["status", "loadBalancer"], json!({}));
    }
}

fn validate(root: At, old: Option<&Value>, e: &mut ErrorList) {
    let (svc, spec) = (root.v, root.get("spec"));
    let annotations = root.at(&["metadata", "annotations"]);
    let (hints, mode) =
        (annotations.key("service.kubernetes.io/topology-aware-hints"), annotations.key("service.kubernetes.io/topology-mode"));
    if hints.present() && mode.present() && hints.str() != mode.str() {
        mode.invalid(e, "must match annotations[service.kubernetes.io/topology-aware-hints] when both are specified");
    }
    let kind = kind(svc);
    let headless = is_headless(svc);
    let ports = spec.get("ports");
    if ports.is_empty() && !headless && kind != "ExternalName" {
        ports.required(e, "");
    }
    match kind {
        "LoadBalancer" | "NodePort" if headless => {
            spec.get("clusterIPs").nth(0).invalid(e, format!("may not be set to 'None' for {kind} services"));
        }
        "ExternalName" => {
            for f in ["clusterIPs", "ipFamilies", "ipFamilyPolicy"] {
                if !spec.get(f).is_empty() {
                    spec.get(f).forbidden(e, "may not be set for ExternalName services");
                }
            }
            let name = spec.get("externalName");
            let text = name.str().strip_suffix('.').unwrap_or(name.str());
            if text.is_empty() {
                name.required(e, "");
            } else {
                name.messages_for(e, text, check::dns1123_subdomain(text));
            }
        }
        _ => {}
    }
    service_ports(ports, e);
    selectors::labels(spec.get("selector"), e);
    let affinity = spec.get("sessionAffinity");
    affinity.need_one_of(e, &["ClientIP", "None"]);
    session_affinity(spec, e);
    cluster_ips(spec, old, e);
    for ip in spec.get("externalIPs").items() {
        if validation::parse_ip_sloppy(ip.str()).is_none() {
            ip.legacy_ip(e);
        } else {
            super::endpoints::endpoint_ip(ip, e);
        }
    }
    spec.get("type").need_one_of(e, &["ClusterIP", "NodePort", "LoadBalancer", "ExternalName"]);
    let (mut node_ports, mut numbers) = (HashSet::new(), HashSet::new());
    for p in ports.items() {
        let (node, protocol) = (p.get("nodePort"), p.get("protocol").str());
        if node.int() != 0 && kind == "ClusterIP" {
            node.forbidden(e, "may not be used when `type` is 'ClusterIP'");
        }
        if node.int() != 0 && !node_ports.insert((protocol, node.int())) {
            node.duplicate(e);
        }
    }
    for p in ports.items() {
        if !numbers.insert((p.get("protocol").str(), p.get("port").int())) {
            let value = json!({"protocol": p.get("protocol").str(), "port": p.get("port").int()});
            e.push(Error::duplicate(&p.path(), value));
        }
    }
    source_ranges(root, e);
    let lb = is_load_balancer(svc);
    const ONLY: &str = "may only be used when `type` is 'LoadBalancer'";
    let allocate = spec.get("allocateLoadBalancerNodePorts");
    if allocate.present() && !lb {
        allocate.forbidden(e, ONLY);
    }
    if !allocate.present() && lb {
        e.push(Error::required(&Path::new("allocateLoadBalancerNodePorts"), ""));
    }
    let class = spec.get("loadBalancerClass");
    if class.present() {
        if lb { class.check(e, check::qualified_name) } else { class.forbidden(e, ONLY) }
    }
    let policy = spec.get("externalTrafficPolicy");
    if externally_accessible(svc) {
        policy.need_one_of(e, &["Cluster", "Local"]);
    } else if !policy.is_empty() {
        policy.invalid(e, "may only be set for externally-accessible services");
    }
    let health = spec.get("healthCheckNodePort");
    if needs_health_check(svc) {
        if health.int() == 0 {
            health.required(e, "");
        } else {
            health.port_num(e);
        }
    } else if health.int() != 0 {
        health.invalid(e, "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'");
    }
    let internal = spec.get("internalTrafficPolicy");
    if internal.present() {
        internal.one_of(e, &["Cluster", "Local"]);
    } else if matches!(kind, "NodePort" | "LoadBalancer" | "ClusterIP") {
        internal.required(e, "");
    }
    if spec.has("trafficDistribution") {
        spec.get("trafficDistribution").one_of_in_order(e, &["PreferClose", "PreferSameZone", "PreferSameNode"]);
    }
}

fn service_ports(ports: At, e: &mut ErrorList) {
    let mut seen = HashSet::new();
    for p in ports.items() {
        let name = p.get("name");
        if name.is_empty() {
            if ports.len() > 1 {
                name.required(e, "");
            }
        } else {
            name.check(e, check::dns1123_label);
            if !seen.insert(name.str()) {
                name.duplicate(e);
            }
        }
        p.get("port").port_num(e);
        p.get("protocol").need_one_of(e, &["TCP", "UDP", "SCTP"]);
        p.get("targetPort").port_num_or_name(e);
        if p.has("appProtocol") {
            p.get("appProtocol").check(e, check::qualified_name);
        }
    }
}

fn session_affinity(spec: At, e: &mut ErrorList) {
    let config = spec.get("sessionAffinityConfig");
    match spec.get("sessionAffinity").str() {
        "ClientIP" => {
            const WHEN: &str = "when session affinity type is ClientIP";
            let (client, timeout) = (config.get("clientIP"), config.at(&["clientIP", "timeoutSeconds"]));
            if let Some(missing) = [config, client, timeout].iter().find(|a| !a.present()) {
                missing.required(e, WHEN);
            } else if !(1..=86400).contains(&timeout.int()) {
                timeout.invalid(e, "must be greater than 0 and less than 86400");
            }
        }
        "None" if config.present() => config.forbidden(e, "must not be set when session affinity is None"),
        _ => {}
    }
}

fn cluster_ips(spec: At, old: Option<&Value>, e: &mut ErrorList) {
    if spec.get("type").str() == "ExternalName" {
        return;
    }
    let (ip, ips, families) = (spec.get("clusterIP"), spec.get("clusterIPs"), spec.get("ipFamilies"));
    let all: Vec<&str> = ips.items().map(|i| i.str()).collect();
    if !ip.is_empty() {
        match all.first() {
            None => ips.required(e, ""),
            Some(first) if *first != ip.str() => ips.invalid(e, "first value must match `clusterIP`"),
            Some(_) => {}
        }
    } else if !all.is_empty() {
        ips.invalid(e, "must be empty when `clusterIP` is not specified");
    }
    let mut seen = HashSet::new();
    for f in families.items() {
        f.one_of(e, &["IPv4", "IPv6"]);
        if !seen.insert(f.str()) {
            f.duplicate(e);
        }
    }
    if spec.has("ipFamilyPolicy") {
        spec.get("ipFamilyPolicy").one_of(e, &["SingleStack", "PreferDualStack", "RequireDualStack"]);
    }
    let known = old.map(|o| print::strings(o, &["spec", "clusterIPs"])).unwrap_or_default();
    let mut bad = false;
    for (i, at) in ips.items().enumerate() {
        if i == 0 && at.str() == "None" {
            if all.len() > 1 {
                bad = true;
                ips.invalid(e, "'None' must be the first and only value");
            }
            continue;
        }
        let errs = validation::ip_legacy(&at.path(), at.str(), false, &known);
        bad |= !errs.is_empty();
        e.extend(errs);
    }
    if all.len() > 2 {
        ips.invalid(e, "may only hold up to 2 values");
    }
    if bad {
        return;
    }
    let is_v6 = |s: &str| s.contains(':');
    if all.len() > 1 && all.iter().all(|s| is_v6(s)) != all.iter().any(|s| is_v6(s)) {
        // Both families are there.
    } else if all.len() > 1 {
        ips.invalid(e, "may specify no more than one IP for each IP family");
    }
    if all.first() != Some(&"None") {
        for (i, (at, f)) in ips.items().zip(families.items()).enumerate() {
            if f.str() == "IPv4" && is_v6(at.str()) {
                at.invalid(e, format!("expected an IPv4 value as indicated by `ipFamilies[{i}]`"));
            }
            if f.str() == "IPv6" && !is_v6(at.str()) {
                at.invalid(e, format!("expected an IPv6 value as indicated by `ipFamilies[{i}]`"));
            }
        }
    }
}

fn source_ranges(root: At, e: &mut ErrorList) {
    const ONLY: &str = "may only be used when `type` is 'LoadBalancer'";
    let spec = root.get("spec");
    let ranges = spec.get("LoadBalancerSourceRanges").with(spec.get("loadBalancerSourceRanges").v);
    let annotation = root.at(&["metadata", "annotations"]).key("service.beta.kubernetes.io/load-balancer-source-ranges");
    let lb = is_load_balancer(root.v);
    let cidr = |at: At, text: &str, e: &mut ErrorList| e.extend(validation::cidr_legacy(&at.path(), text.trim(), false, &[]));
    if !ranges.is_empty() {
        if !lb {
            ranges.forbidden(e, ONLY);
        }
        for r in ranges.items() {
            cidr(r, r.str(), e);
        }
    } else if annotation.present() {
        if !lb {
            annotation.forbidden(e, ONLY);
        }
        for r in annotation.str().trim().split(',').filter(|r| !r.trim().is_empty()) {
            cidr(annotation, r, e);
        }
    }
}

/// What may change of addresses and families that were allocated.
fn update(root: At, old: &Value, e: &mut ErrorList) {
    let (svc, spec) = (root.v, root.get("spec"));
    let external = kind(svc) == "ExternalName" || kind(old) == "ExternalName";
    let (new_headless, old_headless) = (is_headless(svc), is_headless(old));
    const ONCE: &str = "may not change once set";
    let policy = spec.get("ipFamilyPolicy");
    let mut lists = |field: &'static str, release: &str, unset: &str, first_only: bool| {
        let at = spec.get(field);
        let (new, before) = (print::strings(svc, &["spec", field]), print::strings(old, &["spec", field]));
        let all = at.v.clone();
        let at_index = |i: usize| at.path().index(i);
        if new.len() == before.len() {
            for (i, (a, b)) in new.iter().zip(&before).enumerate() {
                if a != b {
                    e.push(Error::invalid(&at_index(if first_only { 0 } else { i }), all.clone(), ONCE));
                }
            }
            return;
        }
        let shrinks = before.len() > new.len();
        if shrinks && print::strings(svc, &["spec", "clusterIPs"]).is_empty() {
            e.push(Error::invalid(&at_index(0), all.clone(), unset));
        }
        if let (Some(a), Some(b)) = (new.first(), before.first())
            && a != b
        {
            e.push(Error::invalid(&at_index(0), all.clone(), ONCE));
        }
        if shrinks && new.len() == 1 && policy.str() != "SingleStack" {
            policy.invalid(e, release);
        }
    };
    let both_headless = new_headless && old_headless;
    if !external && !both_headless {
        lists(
            "clusterIPs",
            "must be set to 'SingleStack' when releasing the secondary clusterIP",
            "primary clusterIP can not be unset",
            false,
        );
    }
    if !external && !new_headless && !old_headless {
        lists(
            "ipFamilies",
            "must be set to 'SingleStack' when releasing the secondary ipFamily",
            "primary ipFamily can not be unset",
            true,
        );
    }
    if is_load_balancer(old) && is_load_balancer(svc) && !same_at(svc, old, &["spec", "loadBalancerClass"]) {
        spec.get("loadBalancerClass").invalid(e, ONCE);
    }
    if needs_health_check(old) && needs_health_check(svc) && !same_at(svc, old, &["spec", "healthCheckNodePort"]) {
        spec.get("healthCheckNodePort").forbidden(e, "field is immutable");
    }
}

fn load_balancer_status(root: At, e: &mut ErrorList) {
    let ingress = root.at(&["status", "loadBalancer", "ingress"]);
    if !is_load_balancer(root.v) && !ingress.is_empty() {
        return ingress.forbidden(e, "may only be used when `spec.type` is \"LoadBalancer\"");
    }
    for i in ingress.items() {
        let (ip, host, mode) = (i.get("ip"), i.get("hostname"), i.get("ipMode"));
        if !ip.is_empty() {
            ip.legacy_ip(e);
            if !mode.present() {
                mode.required(e, "must be specified when `ip` is set");
            }
        } else if mode.present() {
            mode.forbidden(e, "may not be specified when `ip` is not set");
        }
        if mode.present() {
            mode.one_of(e, &["VIP", "Proxy"]);
        }
        if !host.is_empty() {
            host.check(e, check::dns1123_subdomain);
            if host.str().parse::<std::net::IpAddr>().is_ok() {
                host.invalid(e, "must be a DNS name, not an IP address");
            }
        }
    }
}

fn warnings(root: At, old: Option<&Value>) -> Vec<String> {
    let mut out = Vec::new();
    let (spec, annotations) = (root.get("spec"), root.at(&["metadata", "annotations"]));
    let hints = annotations.key("service.kubernetes.io/topology-aware-hints");
    if hints.present() {
        out.push(format!("{}: please use service.kubernetes.io/topology-mode instead", hints.path()));
    }
    if old.is_none_or(|o| !same(value_at(o, &["spec", "clusterIPs"]), spec.get("clusterIPs").v)) && !is_headless(root.v) {
        for ip in spec.get("clusterIPs").items().filter(|i| !i.is_empty()) {
            out.extend(validation::warnings_for_ip(&ip.path(), ip.str()));
        }
    }
    if !spec.get("externalIPs").is_empty() {
        out.push("spec.externalIPs is deprecated and may no longer be implemented in some clusters".into());
    }
    for ip in spec.get("externalIPs").items() {
        out.extend(validation::warnings_for_ip(&ip.path(), ip.str()));
    }
    if !spec.get("loadBalancerIP").is_empty() {
        out.extend(validation::warnings_for_ip(&spec.get("loadBalancerIP").path(), spec.get("loadBalancerIP").str()));
    }
    for c in spec.get("loadBalancerSourceRanges").items() {
        out.extend(validation::warnings_for_cidr(&c.path(), c.str()));
    }
    if spec.get("type").str() == "ExternalName" && !spec.get("externalIPs").is_empty() {
        out.push(format!("spec.externalIPs is ignored when spec.type is {:?}", "ExternalName"));
    }
    if spec.get("type").str() != "ExternalName" && !spec.get("externalName").is_empty() {
        out.push(format!("spec.externalName is ignored when spec.type is not {:?}", "ExternalName"));
    }
    out
}

fn port_text(p: &Value) -> String {
    let (port, node) = (meta::i64_at(p, &["port"]).unwrap_or(0), meta::i64_at(p, &["nodePort"]).unwrap_or(0));
    let protocol = meta::str_at(p, &["protocol"]);
    if node > 0 { format!("{port}:{node}/{protocol}") } else { format!("{port}/{protocol}") }
}

fn external_ip(svc: &Value) -> String {
    let external = print::strings(svc, &["spec", "externalIPs"]);
    match kind(svc) {
        "ClusterIP" | "NodePort" => print::or_none(&external.join(",")).to_owned(),
        "LoadBalancer" => {
            let mut all = ingress_addresses(svc);
            all.extend(external.iter().map(|s| (*s).to_owned()));
            if all.is_empty() { "<pending>".into() } else { all.join(",") }
        }
        "ExternalName" => meta::str_at(svc, &["spec", "externalName"]).to_owned(),
        _ => "<unknown>".into(),
    }
}

/// Addresses of `status.loadBalancer`, sorted.
pub fn ingress_addresses(obj: &Value) -> Vec<String> {
    let mut out: Vec<String> = meta::list_at(obj, &["status", "loadBalancer", "ingress"])
        .iter()
        .map(|i| if meta::str_at(i, &["ip"]).is_empty() { meta::str_at(i, &["hostname"]) } else { meta::str_at(i, &["ip"]) })
        .filter(|s| !s.is_empty())
        .map(str::to_owned)
        .collect();
    out.sort();
    out.dedup();
    out
}
