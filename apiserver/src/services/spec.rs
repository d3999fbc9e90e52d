//! The parts of a Service's spec that allocation reads and completes.

use machinery::field::{Error, Path};
use machinery::{Value, json, meta};

fn kind(svc: &Value) -> &str {
    match meta::str_at(svc, &["spec", "type"]) {
        "" => "ClusterIP",
        t => t,
    }
}

pub fn needs_cluster_ip(svc: &Value) -> bool {
    matches!(kind(svc), "ClusterIP" | "NodePort" | "LoadBalancer")
}
pub fn needs_node_port(svc: &Value) -> bool {
    kind(svc) == "NodePort" || kind(svc) == "LoadBalancer"
}
/// Ports that aren't given are chosen, unless a load balancer does without.
pub fn allocates_node_ports(svc: &Value) -> bool {
    kind(svc) == "NodePort" || meta::at(svc, &["spec", "allocateLoadBalancerNodePorts"]).and_then(Value::as_bool) != Some(false)
}
pub fn needs_health_check_port(svc: &Value) -> bool {
    kind(svc) == "LoadBalancer" && meta::str_at(svc, &["spec", "externalTrafficPolicy"]) == "Local"
}
pub fn health_check_port(svc: &Value) -> Option<u16> {
    if !needs_health_check_port(svc) {
        return None;
    }
    meta::i64_at(svc, &["spec", "healthCheckNodePort"]).and_then(|p| u16::try_from(p).ok()).filter(|p| *p != 0)
}
pub fn is_headless(svc: &Value) -> bool {
    meta::str_at(svc, &["spec", "clusterIP"]) == "None"
}
pub fn cluster_ips(svc: &Value) -> Vec<String> {
    meta::list_at(svc, &["spec", "clusterIPs"]).iter().filter_map(Value::as_str).map(str::to_owned).collect()
}
pub fn set_cluster_ips(svc: &mut Value, ips: Vec<String>) {
    if let Some(first) = ips.first() {
        meta::set(svc, &["spec", "clusterIP"], first.clone().into());
        meta::set(svc, &["spec", "clusterIPs"], ips.into());
    }
}
pub fn node_ports(svc: &Value) -> Vec<u16> {
    let ports = meta::list_at(svc, &["spec", "ports"]).iter();
    ports.filter_map(|p| p.get("nodePort")?.as_u64()).filter_map(|p| u16::try_from(p).ok()).filter(|p| *p != 0).collect()
}
pub fn set_node_port(svc: &mut Value, i: usize, port: u16) {
    if let Some(p) = svc.pointer_mut("/spec/ports").and_then(Value::as_array_mut).and_then(|l| l.get_mut(i)) {
        p["nodePort"] = port.into();
    }
}

/// The node port that another port of the Service with the same number and another protocol has.
pub fn port_of_other_protocol(svc: &Value, i: usize) -> Option<u16> {
    let ports = meta::list_at(svc, &["spec", "ports"]);
    let this = ports.get(i)?;
    let key = |p: &Value| (p.get("port").cloned(), meta::str_at(p, &["protocol"]).to_owned());
    let (number, protocol) = key(this);
    ports.iter().find_map(|p| {
        let (n, other) = key(p);
        let port = p.get("nodePort")?.as_u64().and_then(|p| u16::try_from(p).ok()).filter(|p| *p != 0)?;
        (n == number && other != protocol).then_some(port)
    })
}

/// Values that the server chose stay when a client leaves them out (upstream's patchAllocatedValues).
pub fn carry_over(new: &mut Value, old: &Value) {
    if needs_cluster_ip(old) && needs_cluster_ip(new) {
        if meta::str_at(new, &["spec", "clusterIP"]).is_empty()
            && let Some(ip) = meta::at(old, &["spec", "clusterIP"])
        {
            meta::set(new, &["spec", "clusterIP"], ip.clone());
        }
        let same = meta::str_at(new, &["spec", "clusterIP"]) == meta::str_at(old, &["spec", "clusterIP"]);
        if same
            && cluster_ips(new).is_empty()
            && let Some(ips) = meta::at(old, &["spec", "clusterIPs"])
        {
            meta::set(new, &["spec", "clusterIPs"], ips.clone());
        }
    }
    if needs_node_port(old) && needs_node_port(new) {
        let key = |p: &Value| (meta::str_at(p, &["protocol"]).to_owned(), p.get("port").cloned());
        let had: Vec<((String, Option<Value>), u16)> = meta::list_at(old, &["spec", "ports"])
            .iter()
            .filter_map(|p| Some((key(p), u16::try_from(p.get("nodePort")?.as_u64()?).ok()?)))
            .collect();
        let used = node_ports(new);
        for i in 0..meta::list_at(new, &["spec", "ports"]).len() {
            let p = &meta::list_at(new, &["spec", "ports"])[i];
            if p.get("nodePort").and_then(Value::as_u64).unwrap_or(0) == 0
                && let Some((_, port)) = had.iter().find(|(k, port)| *k == key(p) && !used.contains(port))
            {
                set_node_port(new, i, *port);
            }
        }
    }
    if needs_health_check_port(old)
        && needs_health_check_port(new)
        && health_check_port(new).is_none()
        && let Some(p) = health_check_port(old)
    {
        meta::set(new, &["spec", "healthCheckNodePort"], p.into());
    }
}

/// `clusterIP` and the first of `clusterIPs` are the same thing.
pub fn normalize(new: &mut Value, old: Option<&Value>) {
    if !needs_cluster_ip(new) {
        // Gone with the type; a value that the client set stays for validation to refuse.
        if let Some(old) = old.filter(|o| needs_cluster_ip(o))
            && meta::at(new, &["spec", "clusterIP"]) == meta::at(old, &["spec", "clusterIP"])
        {
            for f in ["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"] {
                meta::remove(new, &["spec", f]);
            }
        }
        return;
    }
    let one = meta::str_at(new, &["spec", "clusterIP"]).to_owned();
    let many = cluster_ips(new);
    let old_one = old.map_or("", |o| meta::str_at(o, &["spec", "clusterIP"]));
    let old_many = old.map(cluster_ips).unwrap_or_default();
    if one.is_empty() {
        match many.first() {
            Some(first) if old.is_none() || many != old_many => meta::set(new, &["spec", "clusterIP"], first.clone().into()),
            _ => {}
        }
    } else if many.is_empty() || (old.is_some() && one != old_one && many == old_many) {
        meta::set(new, &["spec", "clusterIPs"], json!([one]));
    }
}

/// Whether each family of the spec is IPv6.
pub fn families(svc: &Value) -> Vec<bool> {
    meta::list_at(svc, &["spec", "ipFamilies"]).iter().map(|f| f == "IPv6").collect()
}

/// Chooses families and their policy where the client did not. `have` are the server's ranges, first the default.
pub fn default_families(svc: &mut Value, old: Option<&Value>, have: &[bool]) -> Result<(), Error> {
    if !needs_cluster_ip(svc) {
        return Ok(());
    }
    let name = |v6: bool| if v6 { "IPv6" } else { "IPv4" };
    let path = Path::new("spec");
    let mut policy = meta::str_at(svc, &["spec", "ipFamilyPolicy"]).to_owned();
    let mut families: Vec<String> =
        meta::list_at(svc, &["spec", "ipFamilies"]).iter().filter_map(Value::as_str).map(str::to_owned).collect();
    let ips = cluster_ips(svc);
    if policy.is_empty() {
        let kept = old.map_or("", |o| meta::str_at(o, &["spec", "ipFamilyPolicy"]));
        let without_selector = meta::map_at(svc, &["spec", "selector"]).is_empty();
        policy = if !kept.is_empty() {
            kept.to_owned()
        } else if families.len() == 2 || ips.len() == 2 || (is_headless(svc) && without_selector && families.is_empty()) {
            "RequireDualStack".into()
        } else {
            "SingleStack".into()
        };
    }
    for (i, f) in families.iter().enumerate() {
        let v6 = f == "IPv6";
        if (f == "IPv4" || v6) && !have.contains(&v6) && !(is_headless(svc)) {
            let p = path.child("ipFamilies").index(i);
            return Err(Error::invalid(&p, f.clone(), "not configured on this cluster"));
        }
    }
    let headless_open = is_headless(svc) && meta::map_at(svc, &["spec", "selector"]).is_empty();
    if policy == "RequireDualStack" && have.len() < 2 && !headless_open {
        return Err(Error::invalid(
            &path.child("ipFamilyPolicy"),
            policy,
            "this cluster is not configured for dual-stack services",
        ));
    }
    if families.is_empty() && !is_headless(svc) {
        families = ips.iter().map(|ip| name(ip.contains(':')).to_owned()).collect();
    }
    if families.is_empty() {
        families.push(name(have.first().copied().unwrap_or(false)).to_owned());
    }
    let dual = policy == "RequireDualStack" || (policy == "PreferDualStack" && have.len() > 1);
    if dual && families.len() == 1 {
        let other = families[0] != "IPv6";
        families.push(name(other).to_owned());
    }
    if policy == "SingleStack" {
        families.truncate(1.max(ips.len().min(2)));
    }
    meta::set(svc, &["spec", "ipFamilyPolicy"], policy.into());
    meta::set(svc, &["spec", "ipFamilies"], families.into());
    if is_headless(svc) && cluster_ips(svc).is_empty() {
        meta::set(svc, &["spec", "clusterIPs"], json!(["None"]));
    }
    Ok(())
}
