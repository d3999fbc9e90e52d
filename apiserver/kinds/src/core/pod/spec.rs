//! Validation of a pod spec, in a Pod or in a workload's template (core validation's ValidatePodSpec).

use super::{Options, containers, scheduling, security, volumes};
use crate::at::At;
use crate::{check, names, resources, selectors};
use machinery::Value;
use machinery::field::{Error, ErrorList};

/// `template` of a workload: metadata and spec.
pub fn template(t: At, e: &mut ErrorList, old: Option<&Value>) {
    // Upstream reports labels and annotations of a template beside its spec.
    let (labels, notes) = (t.at(&["metadata", "labels"]), t.at(&["metadata", "annotations"]));
    selectors::labels(t.get("labels").with(labels.v), e);
    names::annotations(t.get("annotations").with(notes.v), e);
    annotations(t.get("annotations").with(notes.v), t.get("spec"), e);
    let options = Options { is_pod: false, old: old.map(|o| crate::at::value_at(o, &["spec"])), pod_name: "", static_pod: false };
    pod_spec(t.get("spec"), e, &options);
    security::seccomp_annotations(notes, t.get("spec"), e);
    if !t.at(&["spec", "ephemeralContainers"]).is_empty() {
        t.at(&["spec", "ephemeralContainers"]).forbidden(e, "ephemeral containers not allowed in pod template");
    }
}

/// Annotations that once were fields.
pub fn annotations(at: At, spec: At, e: &mut ErrorList) {
    let mirror = at.key("kubernetes.io/config.mirror");
    if mirror.present() && spec.get("nodeName").is_empty() {
        mirror.invalid(e, "must set spec.nodeName if mirror pod annotation is set");
    }
    let cost = at.key("controller.kubernetes.io/pod-deletion-cost");
    if cost.present() {
        let text = cost.str();
        let digits = text.strip_prefix('-').unwrap_or(text);
        let canonical = text == "0" || digits.starts_with(|c: char| ('1'..='9').contains(&c));
        if !canonical || text.parse::<i32>().is_err() {
            cost.invalid(e, "must be a 32bit integer");
        }
    }
    for (k, v) in at.entries() {
        if let Some(name) = k.strip_prefix("container.apparmor.security.beta.kubernetes.io/") {
            if !security::all_containers(spec).any(|c| c.get("name").str() == name) {
                v.invalid_value(e, name, "container not found");
            }
            if !["", "runtime/default", "unconfined"].contains(&v.str()) && !v.str().starts_with("localhost/") {
                v.invalid(e, format!("invalid AppArmor profile name: {:?}", v.str()));
            }
        } else if k == "seccomp.security.alpha.kubernetes.io/pod"
            || k.starts_with("container.seccomp.security.alpha.kubernetes.io/")
        {
            let here = at.get(k);
            if let Some(profile) = v.str().strip_prefix("localhost/") {
                if profile.starts_with('/') || profile.split('/').any(|p| p == "..") {
                    here.invalid_value(
                        e,
                        profile,
                        if profile.starts_with('/') { "must be a relative path" } else { "must not contain '..'" },
                    );
                }
            } else if !["runtime/default", "docker/default", "unconfined"].contains(&v.str()) {
                here.invalid(e, "must be a valid seccomp profile");
            }
        }
    }
}

pub fn pod_spec(spec: At, e: &mut ErrorList, o: &Options) {
    if !spec.has("terminationGracePeriodSeconds") {
        spec.get("terminationGracePeriodSeconds").required(e, "");
    }
    let unchanged = |field: &str| o.old.is_some_and(|old| crate::at::same_at(spec.v, old, &[field]));
    let volumes = volumes::volumes(spec.get("volumes"), e, o);
    resource_claims(spec.get("resourceClaims"), e, o);
    let claims = spec.get("resourceClaims").items().map(|c| c.get("name").str()).filter(|n| !n.is_empty()).collect();
    let pod = containers::Pod { volumes, claims, spec, host_users: spec.get("hostUsers").v != &Value::Bool(false) };
    containers::containers(spec.get("containers"), e, &pod, o);
    containers::init_containers(spec.get("initContainers"), e, &pod, o);
    containers::ephemeral_containers(spec.get("ephemeralContainers"), e, &pod, o);
    pod_resources(spec, e, o);
    host_network_ports(spec, e, o);
    spec.get("restartPolicy").need_one_of_in_order(e, &["Always", "OnFailure", "Never"]);
    spec.get("dnsPolicy").need_one_of_in_order(e, &["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"]);
    selectors::labels(spec.get("nodeSelector"), e);
    security::pod(spec, e, !o.unchanged(spec, &["hostNetwork", "hostIPC", "securityContext"]));
    scheduling::affinity(spec.get("affinity"), e, !unchanged("affinity"));
    dns_config(spec, e);
    for g in spec.get("readinessGates").items() {
        g.get("conditionType").check(e, check::qualified_name);
    }
    let mut gates = Vec::new();
    for g in spec.get("schedulingGates").items() {
        let name = g.get("name").str();
        g.messages_for(e, name, check::qualified_name(name));
        if gates.contains(&name) {
            e.push(Error::duplicate(&g.path(), name));
        }
        gates.push(name);
    }
    scheduling::topology_spread(spec.get("topologySpreadConstraints"), e, !unchanged("topologySpreadConstraints"));
    security::host_users(spec, e, o.creating());
    hostname_override(spec, e);
    for f in ["serviceAccountName", "nodeName", "priorityClassName"] {
        spec.get(f).check_if_set(e, names::subdomain);
    }
    let deadline = spec.get("activeDeadlineSeconds");
    if deadline.present() {
        deadline.in_range(e, 1, i64::from(i32::MAX));
    }
    for f in ["hostname", "subdomain"] {
        spec.get(f).check_if_set(e, check::dns1123_label);
    }
    scheduling::tolerations(spec.get("tolerations"), e);
    for a in spec.get("hostAliases").items() {
        a.get("ip").legacy_ip(e);
        for h in a.get("hostnames").items() {
            h.check(e, names::subdomain);
        }
    }
    if spec.has("runtimeClassName") {
        spec.get("runtimeClassName").check(e, names::subdomain);
    }
    if spec.has("preemptionPolicy") {
        spec.get("preemptionPolicy").need_one_of_in_order(e, &["PreemptLowerPriority", "Never"]);
    }
    for (name, q) in spec.get("overhead").entries() {
        // Checked as limits, and reported there.
        let at = spec.at(&["overhead", "limits"]).key(name).with(q.v);
        resources::container_resource_name(at, e, name);
        resources::quantity_value(at, e, name);
    }
    security::operating_system(spec, e);
    file_key_volumes(spec, e);
}

fn resource_claims(at: At, e: &mut ErrorList, o: &Options) {
    let mut seen = Vec::new();
    for c in at.items() {
        if o.static_pod {
            e.push(Error::forbidden(&machinery::field::Path::new(""), "static pods do not support resource claims"));
            continue;
        }
        let name = c.get("name");
        if name.is_empty() {
            name.required(e, "");
        } else if seen.contains(&name.str()) {
            name.duplicate(e);
        } else {
            name.check(e, check::dns1123_label);
            seen.push(name.str());
        }
        let (claim, template) = (c.get("resourceClaimName"), c.get("resourceClaimTemplateName"));
        match (claim.present(), template.present()) {
            (true, true) => c.invalid(e, "at most one of `resourceClaimName` or `resourceClaimTemplateName` may be specified"),
            (false, false) => c.invalid(e, "must specify one of: `resourceClaimName`, `resourceClaimTemplateName`"),
            _ => {}
        }
        for f in [claim, template] {
            if f.present() {
                f.check(e, names::subdomain);
            }
        }
    }
}

/// Resources of the pod as a whole: enough for its containers together, no less than any one's limit.
fn pod_resources(spec: At, e: &mut ErrorList, o: &Options) {
    let at = spec.get("resources");
    if !at.present() {
        return;
    }
    if spec.at(&["os", "name"]).str() == "windows" {
        return at.forbidden(e, "may not be set for a windows pod");
    }
    if at.has("claims") {
        at.get("claims").forbidden(e, "claims may not be set for Resources at pod-level");
    }
    resources::requirements(at, e, resources::pod_resource_name, &[], o.whole_huge_pages());
    for (list, huge_only) in [("requests", false), ("limits", true)] {
        for (name, sum) in resources::aggregate(spec.v, list) {
            if huge_only && !resources::is_huge_page(&name) {
                continue;
            }
            let own = at.get(list).v.get(&name);
            if let Some(have) = own.filter(|v| resources::amount(v).is_some_and(|n| sum > n)) {
                let path = at.get(list).path().key(&name);
                let detail = format!("must be greater than or equal to aggregate container {list} of {}", sum);
                e.push(Error::invalid(&path, have.clone(), detail));
            }
        }
    }
    for (i, c) in spec.get("containers").items().enumerate() {
        for (name, limit) in c.at(&["resources", "limits"]).entries() {
            let pod = at.get("limits").key(name);
            if pod.present() && resources::amount(limit.v) > resources::amount(pod.v) {
                let here = at.get("containers").nth(i).key(name).get("limits");
                here.invalid_value(e, limit.v.clone(), format!("must be less than or equal to pod limits of {}", pod.str()));
            }
        }
    }
}

fn host_network_ports(spec: At, e: &mut ErrorList, o: &Options) {
    if !spec.get("hostNetwork").bool() {
        return;
    }
    for p in spec.get("containers").items().flat_map(|c| c.get("ports").items()) {
        let (host, port) = (p.get("hostPort"), p.get("containerPort"));
        if (o.is_pod || host.int() != 0) && host.int() != port.int() {
            host.invalid_value(e, host.int(), "must match `containerPort` when `hostNetwork` is true");
        }
    }
}

fn dns_config(spec: At, e: &mut ErrorList) {
    let c = spec.get("dnsConfig");
    if spec.get("dnsPolicy").str() == "None" {
        if !c.present() {
            return c.required(e, "must provide `dnsConfig` when `dnsPolicy` is None");
        }
        if c.get("nameservers").is_empty() {
            return c.get("nameservers").required(e, "must provide at least one DNS nameserver when `dnsPolicy` is None");
        }
    }
    let (servers, searches) = (c.get("nameservers"), c.get("searches"));
    if servers.len() > 3 {
        servers.invalid(e, "must not have more than 3 nameservers");
    }
    for s in servers.items() {
        s.legacy_ip(e);
    }
    if searches.len() > 32 {
        searches.invalid(e, "must not have more than 32 search paths");
    }
    if searches.items().map(|s| s.len() + 1).sum::<usize>() > 2049 {
        searches.invalid(e, "must not have more than 2048 characters (including spaces) in the search list");
    }
    for s in searches.items().filter(|s| s.str() != ".") {
        let text = s.str().strip_suffix('.').unwrap_or(s.str());
        s.messages_for(e, text, check::dns1123_subdomain_underscore(text));
    }
    for o in c.get("options").items().filter(|o| o.get("name").is_empty()) {
        o.required(e, "must not be empty");
    }
}

fn hostname_override(spec: At, e: &mut ErrorList) {
    let h = spec.get("hostnameOverride");
    if !h.present() {
        return;
    }
    if spec.get("setHostnameAsFQDN").bool() {
        h.forbidden(e, "may not be specified when setHostnameAsFQDN is true");
    }
    if spec.get("hostNetwork").bool() {
        h.forbidden(e, "may not be specified when hostNetwork is true");
    }
    if h.len() > 64 {
        h.too_long(e, 64);
    }
    h.check(e, names::subdomain);
}

/// Variables from files come from emptyDir volumes only.
fn file_key_volumes(spec: At, e: &mut ErrorList) {
    for v in security::all_containers(spec).flat_map(|c| c.get("env").items()) {
        let from = v.at(&["valueFrom", "fileKeyRef"]);
        if !from.present() {
            continue;
        }
        let name = from.get("volumeName");
        match spec.get("volumes").items().find(|v| v.get("name").str() == name.str()) {
            None => e.push(Error::not_found(&name.path(), name.str())),
            Some(v) if !v.has("emptyDir") => name.invalid_str(e, "referenced volume must be of type emptyDir"),
            Some(_) => {}
        }
    }
}
