//! `SetDefaults_*` of pods and pod specs (pkg/apis/core/v1/defaults.go).

use crate::at::{list_mut, set_default};
use crate::resources;
use machinery::{Map, Value, json, meta};

const CONTAINER_LISTS: [&str; 3] = ["initContainers", "containers", "ephemeralContainers"];

/// Whether an image reference means `latest`: by tag, or by having neither tag nor digest.
fn is_latest(image: &str) -> bool {
    if let Some((_, tag_and_digest)) = image.rsplit_once('/').or(Some(("", image)))
        && let Some((name, _)) = tag_and_digest.split_once('@')
    {
        return name.ends_with(":latest");
    }
    let last = image.rsplit('/').next().unwrap_or(image);
    last.split_once(':').is_none_or(|(_, tag)| tag == "latest")
}

/// Whether the reference can be parsed at all: lower-case path components (after a registry's name), a tag, a digest.
fn is_reference(image: &str) -> bool {
    let name = image.split('@').next().unwrap_or("");
    let slash = name.rfind('/').map_or(0, |i| i + 1);
    let name = &name[..name[slash..].find(':').map_or(name.len(), |i| slash + i)];
    let mut parts: Vec<&str> = name.split('/').collect();
    let is_domain = |p: &str| p.starts_with(|c: char| c.is_ascii_alphanumeric()) && (p.contains(['.', ':']) || p == "localhost");
    if parts.len() > 1 && is_domain(parts[0]) {
        parts.remove(0);
    }
    if name.len() > 255 {
        return false;
    }
    let end = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit();
    parts.iter().all(|p| {
        let b = p.as_bytes();
        b.first().is_some_and(|c| end(*c)) && b.last().is_some_and(|c| end(*c)) && b.iter().all(|c| end(*c) || b"._-".contains(c))
    })
}

fn pull_policy(image: &str) -> &'static str {
    if is_reference(image) && is_latest(image) { "Always" } else { "IfNotPresent" }
}

/// Zero counts as absent for fields that are no pointers.
fn default_int(v: &mut Value, field: &str, value: i64) {
    if v.get(field).and_then(Value::as_i64).unwrap_or(0) == 0
        && let Some(m) = v.as_object_mut()
    {
        m.insert(field.into(), value.into());
    }
}

/// Rounds quantities up to thousandths, as `SetDefaults_ResourceList` does.
pub fn resource_list(list: &mut Value) {
    let Some(m) = list.as_object_mut() else { return };
    for q in m.values_mut() {
        if let Some(mut amount) = resources::amount(q)
            && !amount.round_up(-3)
        {
            *q = amount.to_string().into();
        }
    }
}

pub fn resource_requirements(v: &mut Value) {
    for list in ["limits", "requests"] {
        if let Some(l) = v.get_mut(list) {
            resource_list(l);
        }
    }
}

fn http_get(v: &mut Value) {
    if let Some(h) = v.get_mut("httpGet").filter(|h| h.is_object()) {
        set_default(h, &["path"], "/");
        set_default(h, &["scheme"], "HTTP");
    }
}

fn field_ref(v: &mut Value) {
    if let Some(f) = v.get_mut("fieldRef").filter(|f| f.is_object()) {
        set_default(f, &["apiVersion"], "v1");
    }
}

fn container(c: &mut Value) {
    if !c.is_object() {
        return;
    }
    let policy = pull_policy(meta::str_at(c, &["image"]));
    set_default(c, &["imagePullPolicy"], policy);
    set_default(c, &["terminationMessagePath"], "/dev/termination-log");
    set_default(c, &["terminationMessagePolicy"], "File");
    for p in list_mut(c, &["ports"]).filter(|p| p.is_object()) {
        set_default(p, &["protocol"], "TCP");
    }
    for v in list_mut(c, &["env"]) {
        if let Some(from) = v.get_mut("valueFrom") {
            field_ref(from);
        }
    }
    if let Some(r) = c.get_mut("resources") {
        resource_requirements(r);
    }
    for probe in ["livenessProbe", "readinessProbe", "startupProbe"] {
        if let Some(p) = c.get_mut(probe).filter(|p| p.is_object()) {
            for (field, value) in [("timeoutSeconds", 1), ("periodSeconds", 10), ("successThreshold", 1), ("failureThreshold", 3)]
            {
                default_int(p, field, value);
            }
            http_get(p);
            if let Some(g) = p.get_mut("grpc").filter(|g| g.is_object()) {
                // A pointer field: kept empty, never absent.
                if g.get("service").is_none_or(Value::is_null) {
                    meta::set(g, &["service"], "".into());
                }
            }
        }
    }
    for hook in ["postStart", "preStop"] {
        if let Some(h) = c.get_mut("lifecycle").and_then(|l| l.get_mut(hook)) {
            http_get(h);
        }
    }
}

fn volume(v: &mut Value) {
    let Some(m) = v.as_object_mut() else { return };
    let has_source = m.iter().any(|(k, v)| k != "name" && !v.is_null());
    if !has_source {
        m.insert("emptyDir".into(), json!({}));
    }
    for source in ["secret", "configMap", "downwardAPI", "projected"] {
        if let Some(s) = m.get_mut(source).filter(|s| s.is_object()) {
            set_default(s, &["defaultMode"], 0o644);
        }
    }
    if let Some(h) = m.get_mut("hostPath").filter(|h| h.is_object())
        && h.get("type").is_none_or(Value::is_null)
    {
        meta::set(h, &["type"], "".into());
    }
    if let Some(i) = m.get_mut("image").filter(|i| i.is_object()) {
        let policy = pull_policy(meta::str_at(i, &["reference"]));
        set_default(i, &["pullPolicy"], policy);
    }
    if let Some(d) = m.get_mut("downwardAPI") {
        list_mut(d, &["items"]).for_each(field_ref);
    }
    if let Some(p) = m.get_mut("projected") {
        for s in list_mut(p, &["sources"]) {
            if let Some(t) = s.get_mut("serviceAccountToken").filter(|t| t.is_object()) {
                set_default(t, &["expirationSeconds"], 3600);
            }
            if let Some(d) = s.get_mut("downwardAPI") {
                list_mut(d, &["items"]).for_each(field_ref);
            }
        }
    }
    for (source, fields) in [
        ("iscsi", &[("iscsiInterface", "default")][..]),
        ("rbd", &[("pool", "rbd"), ("user", "admin"), ("keyring", "/etc/ceph/keyring")]),
        ("scaleIO", &[("storageMode", "ThinProvisioned"), ("fsType", "xfs")]),
        ("azureDisk", &[("cachingMode", "ReadWrite"), ("kind", "Shared"), ("fsType", "ext4")]),
    ] {
        if let Some(s) = m.get_mut(source).filter(|s| s.is_object()) {
            for (f, value) in fields {
                set_default(s, &[*f], *value);
            }
            if source == "azureDisk" && s.get("readOnly").is_none_or(Value::is_null) {
                meta::set(s, &["readOnly"], false.into());
            }
        }
    }
    if let Some(t) = m.get_mut("ephemeral").and_then(|x| x.get_mut("volumeClaimTemplate")).filter(|t| t.is_object()) {
        crate::core::persistent_volume_claim::default_spec(meta::entry(t, &["spec"]));
    }
}

/// Defaults of any pod spec.
pub fn pod_spec(spec: &mut Value) {
    if !spec.is_object() {
        return;
    }
    list_mut(spec, &["volumes"]).for_each(volume);
    for list in CONTAINER_LISTS {
        list_mut(spec, &[list]).for_each(container);
    }
    set_default(spec, &["dnsPolicy"], "ClusterFirst");
    set_default(spec, &["restartPolicy"], "Always");
    set_default(spec, &["securityContext"], json!({}));
    set_default(spec, &["terminationGracePeriodSeconds"], 30);
    set_default(spec, &["schedulerName"], "default-scheduler");
    // Two names of one field: the deprecated one follows.
    for (from, to) in [("serviceAccount", "serviceAccountName"), ("serviceAccountName", "serviceAccount")] {
        if let Some(name) = spec.get(from).filter(|n| n.as_str().is_some_and(|n| !n.is_empty())).cloned() {
            set_default(spec, &[to], name);
        }
    }
    if let Some(o) = spec.get_mut("overhead") {
        resource_list(o);
    }
    if let Some(r) = spec.get_mut("resources") {
        resource_requirements(r);
    }
}

fn requests_from_limits(r: &mut Value) {
    let limits = meta::map_at(r, &["limits"]).clone();
    if limits.is_empty() {
        return;
    }
    let requests = meta::entry(r, &["requests"]);
    for (k, v) in limits {
        requests.entry(k).or_insert(v);
    }
}

/// Pod-level requests and huge-page limits, from the containers and the pod's own limits.
fn pod_level(spec: &mut Value) {
    if meta::map_at(spec, &["resources"]).is_empty() {
        return;
    }
    let supported = |name: &str| name == "cpu" || name == "memory" || resources::is_huge_page(name);
    let has = |spec: &Value, list: &str| !meta::map_at(spec, &["resources", list]).is_empty();
    if has(spec, "limits") || has(spec, "requests") {
        for (name, sum) in resources::aggregate(spec, "limits") {
            let requested = meta::map_at(spec, &["resources", "requests"]).contains_key(&name);
            if resources::is_huge_page(&name) && !requested {
                meta::entry(spec, &["resources", "limits"]).entry(name).or_insert(sum.to_string().into());
            }
        }
    }
    if !has(spec, "limits") {
        return;
    }
    let mut requests: Map<String, Value> = meta::map_at(spec, &["resources", "requests"]).clone();
    for (name, sum) in resources::aggregate(spec, "requests") {
        if supported(&name) && resources::overcommit_allowed(&name) {
            requests.entry(name).or_insert(sum.to_string().into());
        }
    }
    for (name, limit) in meta::map_at(spec, &["resources", "limits"]) {
        if supported(name) {
            requests.entry(name.clone()).or_insert(limit.clone());
        }
    }
    if !requests.is_empty() {
        meta::set(spec, &["resources", "requests"], requests.into());
    }
}

/// Defaults of a Pod.
pub fn pod(obj: &mut Value) {
    if !obj.is_object() {
        return;
    }
    meta::entry(obj, &["spec"]);
    let Some(spec) = obj.get_mut("spec") else { return };
    pod_spec(spec);
    for list in ["containers", "initContainers"] {
        list_mut(spec, &[list]).filter_map(|c| c.get_mut("resources")).for_each(requests_from_limits);
    }
    pod_level(spec);
    set_default(spec, &["enableServiceLinks"], true);
    // Once there were pods with a negative one.
    if meta::i64_at(spec, &["terminationGracePeriodSeconds"]).is_some_and(|n| n < 0) {
        meta::set(spec, &["terminationGracePeriodSeconds"], 1.into());
    }
    // Of pods, not of templates.
    if meta::bool_at(spec, &["hostNetwork"]) {
        for list in ["containers", "initContainers"] {
            for p in list_mut(spec, &[list]).flat_map(|c| list_mut(c, &["ports"])) {
                if let Some(port) = p.get("containerPort").and_then(Value::as_i64).filter(|p| *p != 0) {
                    default_int(p, "hostPort", port);
                }
            }
        }
    }

    // The first of the addresses has a field of its own from before there could be two.
    if !meta::str_at(obj, &["status", "podIP"]).is_empty() && meta::list_at(obj, &["status", "podIPs"]).is_empty() {
        let ip = meta::str_at(obj, &["status", "podIP"]).to_owned();
        meta::set(obj, &["status", "podIPs"], json!([{"ip": ip}]));
    } else if let Some(ip) = meta::list_at(obj, &["status", "podIPs"]).first().map(|i| meta::str_at(i, &["ip"]).to_owned()) {
        meta::set(obj, &["status", "podIP"], ip.into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images() {
        for (image, want) in [
            ("nginx", "Always"),
            ("nginx:latest", "Always"),
            ("nginx:1.27", "IfNotPresent"),
            ("registry:5000/a/b", "Always"),
            ("registry:5000/a/b:v1", "IfNotPresent"),
            ("a@sha256:0000", "IfNotPresent"),
            ("a:latest@sha256:0000", "Always"),
        ] {
            assert_eq!(pull_policy(image), want, "{image}");
        }
    }
}
