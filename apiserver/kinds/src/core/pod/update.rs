//! What may change in a pod, by which door: itself, `status`, `ephemeralcontainers`, `resize`.

use super::qos_class;
use crate::at::{At, copy_from, list_mut, same, same_at, value_at};
use crate::{check, diff, names};
use machinery::field::{Error, ErrorList, Path};
use machinery::{Value, meta};

const APP_ARMOR: &str = "container.apparmor.security.beta.kubernetes.io/";

/// Annotations that are facts of the pod.
pub fn annotations(obj: &Value, old: &Value, e: &mut ErrorList) {
    let (new, before) = (meta::annotations(obj), meta::annotations(old));
    let path = Path::new("metadata").child("annotations");
    let mut forbid = |k: &str, armor: &str, mirror: &str| {
        if k.starts_with(APP_ARMOR) {
            e.push(Error::forbidden(&path.key(k), armor));
        } else if k == super::MIRROR {
            e.push(Error::forbidden(&path.key(k), mirror));
        }
    };
    for (k, v) in before {
        if new.get(k) != Some(v) {
            forbid(k, "may not remove or update AppArmor annotations", "may not remove or update mirror pod annotation");
        }
    }
    for k in new.keys().filter(|k| !before.contains_key(*k)) {
        forbid(k, "may not add AppArmor annotations", "may not add mirror pod annotation");
    }
}

/// The diff of two specs, keys in order.
fn spec_diff(old: &Value, new: &Value) -> String {
    let (mut a, mut b) = (old.clone(), new.clone());
    a.sort_all_objects();
    b.sort_all_objects();
    diff::unified(&a, &b)
}

const UPDATABLE: &str = "`spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)";

/// An update of the pod itself.
pub fn spec(obj: &Value, old: &Value, e: &mut ErrorList) {
    let (new_spec, old_spec) = (value_at(obj, &["spec"]), value_at(old, &["spec"]));
    let at = At::root(obj).get("spec");
    for list in ["containers", "initContainers"] {
        if at.get(list).len() != meta::list_at(old_spec, &[list]).len() {
            return at.get(list).forbidden(e, "pod updates may not add or remove containers");
        }
        for image in at.get(list).items().map(|c| c.get("image")) {
            image.need(e, "");
            if image.str().trim().len() != image.len() {
                image.invalid(e, "must not have leading or trailing whitespace");
            }
        }
    }
    let deadline = at.get("activeDeadlineSeconds");
    let old_deadline = meta::i64_at(old_spec, &["activeDeadlineSeconds"]);
    match (deadline.opt_int(), old_deadline) {
        (Some(n), _) if !(0..=i64::from(i32::MAX)).contains(&n) => return deadline.in_range(e, 0, i64::from(i32::MAX)),
        (Some(n), Some(o)) if o < n => return deadline.invalid(e, "must be less than or equal to previous value"),
        (None, Some(_)) => deadline.invalid(e, "must not update from a positive integer to nil value"),
        _ => {}
    }
    only_added_tolerations(at.get("tolerations"), old_spec, e);
    let gates: Vec<At> = at.get("schedulingGates").items().collect();
    for (i, g) in gates.iter().enumerate() {
        let name = g.get("name").str();
        // A name that comes twice is reported where it comes last.
        let again = gates[i + 1..].iter().any(|x| x.get("name").str() == name);
        if !again && !meta::list_at(old_spec, &["schedulingGates"]).iter().any(|o| meta::str_at(o, &["name"]) == name) {
            g.get("name").forbidden(e, format!("only deletion is allowed, but found new scheduling gate '{name}'"));
        }
    }
    if same(new_spec, old_spec) {
        return;
    }
    let mut munged = new_spec.clone();
    for list in ["containers", "initContainers"] {
        for (c, o) in list_mut(&mut munged, &[list]).zip(meta::list_at(old_spec, &[list])) {
            copy_from(c, o, &["image"]);
        }
    }
    for f in ["activeDeadlineSeconds", "schedulingGates", "tolerations"] {
        copy_from(&mut munged, old_spec, &[f]);
    }
    let grace = |s: &Value| meta::i64_at(s, &["terminationGracePeriodSeconds"]);
    if grace(old_spec).is_some_and(|n| n < 0) && grace(&munged) == Some(1) {
        copy_from(&mut munged, old_spec, &["terminationGracePeriodSeconds"]);
    }
    if !meta::list_at(old_spec, &["schedulingGates"]).is_empty() {
        gated(at, &mut munged, old_spec, e);
    }
    if !same(&munged, old_spec) {
        let text = format!("pod updates may not change fields other than {UPDATABLE}\n{}", spec_diff(old_spec, &munged));
        at.forbidden(e, text);
    }
}

fn only_added_tolerations(at: At, old_spec: &Value, e: &mut ErrorList) {
    for old in meta::list_at(old_spec, &["tolerations"]) {
        let kept = at.items().any(|new| {
            let mut old = old.clone();
            copy_from(&mut old, new.v, &["tolerationSeconds"]);
            same(&old, new.v)
        });
        if !kept {
            return at.forbidden(e, "existing toleration can not be modified except its tolerationSeconds");
        }
    }
}

const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";

/// A pod with scheduling gates may still narrow where it runs.
fn gated(at: At, munged: &mut Value, old_spec: &Value, e: &mut ErrorList) {
    let selector = at.get("nodeSelector");
    if !same(selector.v, value_at(old_spec, &["nodeSelector"])) {
        let lost = meta::map_at(old_spec, &["nodeSelector"]).iter().any(|(k, v)| selector.v.get(k) != Some(v));
        if lost {
            selector.invalid(e, "only additions to spec.nodeSelector are allowed (no mutations or deletions)");
        }
        copy_from(munged, old_spec, &["nodeSelector"]);
    }
    let path = ["affinity", "nodeAffinity"];
    if same_at(munged, old_spec, &path) {
        return;
    }
    let terms = at.at(&["affinity", "nodeAffinity", REQUIRED, "nodeSelectorTerms"]);
    let old_terms = meta::list_at(old_spec, &["affinity", "nodeAffinity", REQUIRED, "nodeSelectorTerms"]);
    if !old_terms.is_empty() && old_terms.len() != terms.len() {
        terms.invalid(e, "no additions/deletions to non-empty NodeSelectorTerms list are allowed");
    } else {
        for (new, old) in terms.items().zip(old_terms) {
            let lists = ["matchExpressions", "matchFields"];
            let was_empty = lists.iter().all(|l| meta::list_at(old, &[l]).is_empty());
            let only_more = lists.iter().all(|l| {
                let (o, n) = (meta::list_at(old, &[l]), meta::list_at(new.v, &[l]));
                n.len() >= o.len() && o.iter().zip(n).all(|(a, b)| same(a, b))
            });
            if !only_more || (was_empty && lists.iter().any(|l| !new.get(l).is_empty())) {
                new.invalid(e, "only additions are allowed (no mutations or deletions)");
            }
        }
    }
    copy_from(munged, old_spec, &path);
    let only_node =
        meta::at(munged, &["affinity", "podAffinity"]).is_none() && meta::at(munged, &["affinity", "podAntiAffinity"]).is_none();
    if meta::at(old_spec, &["affinity"]).is_none() && only_node {
        meta::remove(munged, &["affinity"]);
    }
}

/// Ephemeral containers are only ever added.
pub fn ephemeral_containers(obj: &Value, old: &Value, e: &mut ErrorList) {
    let at = At::root(obj).at(&["spec", "ephemeralContainers"]);
    for o in meta::list_at(old, &["spec", "ephemeralContainers"]) {
        let name = meta::str_at(o, &["name"]);
        match at.items().filter(|n| n.get("name").str() == name).last() {
            None => at.forbidden(e, format!("existing ephemeral containers {name:?} may not be removed\n")),
            Some(n) if !same(n.v, o) => {
                at.forbidden(e, format!("existing ephemeral containers {name:?} may not be changed\n{}", spec_diff(o, n.v)));
            }
            Some(_) => {}
        }
    }
}

/// Everything of the metadata but annotations and managed fields is the stored one's (ResetObjectMetaForStatus).
pub fn reset_meta(obj: &mut Value, old: &Value) {
    for f in ["deletionTimestamp", "generation", "selfLink", "labels", "annotations", "finalizers", "ownerReferences"] {
        copy_from(obj, old, &["metadata", f]);
    }
}

/// Keeps of an update through `resize` only resources and resize policies. Containers that were added, removed or renamed are
/// left for validation to refuse.
pub fn keep_resize_only(obj: &mut Value, old: &Value) {
    let names = |o: &Value, l: &str| -> Vec<String> {
        meta::list_at(o, &["spec", l]).iter().map(|c| meta::str_at(c, &["name"]).to_owned()).collect()
    };
    let lists = ["containers", "initContainers"];
    if lists.iter().any(|l| names(obj, l).len() != names(old, l).len()) {
        return;
    }
    let mut spec = value_at(old, &["spec"]).clone();
    for l in lists {
        if names(obj, l) != names(old, l) {
            copy_from(&mut spec, value_at(obj, &["spec"]), &[l]);
            continue;
        }
        for (c, n) in list_mut(&mut spec, &[l]).zip(meta::list_at(obj, &["spec", l])) {
            copy_from(c, n, &["resources"]);
            copy_from(c, n, &["resizePolicy"]);
        }
    }
    copy_from(&mut spec, value_at(obj, &["spec"]), &["resources"]);
    reset_meta(obj, old);
    meta::set(obj, &["spec"], spec);
}

/// Whether a resource has gone from the list.
fn removed(new: &Value, old: &Value, list: &str) -> bool {
    let new = meta::map_at(new, &[list]);
    meta::map_at(old, &[list]).keys().any(|k| !new.contains_key(k))
}

/// Puts the old cpu and memory into `new`'s resources.
fn without_cpu_memory(new: &mut Value, old: &Value) {
    for list in ["limits", "requests"] {
        for r in ["cpu", "memory"] {
            copy_from(new, old, &["resources", list, r]);
        }
    }
}

/// An update through `resize`.
pub fn resize(obj: &Value, old: &Value, e: &mut ErrorList) {
    let at = At::root(obj).get("spec");
    let (new_spec, old_spec) = (at.v, value_at(old, &["spec"]));
    let old_class = match meta::str_at(old, &["status", "qosClass"]) {
        "" => qos_class(old),
        class => class,
    };
    if old_class != qos_class(obj) {
        at.invalid_value(e, meta::str_at(obj, &["status", "qosClass"]), "Pod QOS Class may not change as a result of resizing");
    }
    let running =
        meta::list_at(old, &["status", "containerStatuses"]).iter().find(|s| meta::at(s, &["state", "running"]).is_some());
    if running.is_some_and(|s| meta::at(s, &["resources"]).is_none()) {
        at.forbidden(e, "Pod running on node without support for resize");
    }
    let mut copy = new_spec.clone();
    let pod_level = |s: &Value| ["requests", "limits"].iter().any(|l| !meta::map_at(s, &["resources", l]).is_empty());
    if pod_level(old_spec) || pod_level(new_spec) {
        let r = at.get("resources");
        if meta::at(old_spec, &["resources"]).is_some() && !r.present() {
            r.forbidden(e, "pod-level resources cannot be removed");
        } else {
            for (list, text) in [
                ("requests", "pod-level resource requests cannot be removed"),
                ("limits", "pod-level resource limits cannot be removed"),
            ] {
                if removed(r.v, value_at(old_spec, &["resources"]), list) {
                    r.get(list).forbidden(e, text);
                }
            }
            without_cpu_memory(&mut copy, old_spec);
            if !same_at(&copy, old_spec, &["resources"]) {
                at.forbidden(e, "only cpu and memory resources are mutable at pod-level");
            }
        }
    }
    let mut order = false;
    for l in ["containers", "initContainers"] {
        let old_list = meta::list_at(old_spec, &[l]);
        if at.get(l).len() != old_list.len() {
            order = true;
            at.get(l).forbidden(e, format!("{l} may not be added or removed on resize"));
            continue;
        }
        for (n, o) in at.get(l).items().zip(old_list) {
            if n.get("name").str() != meta::str_at(o, &["name"]) {
                order = true;
                n.get("name").forbidden(e, format!("{l} may not be renamed or reordered on resize"));
            }
        }
    }
    if order {
        return;
    }
    for l in ["initContainers", "containers"] {
        for (n, o) in at.get(l).items().zip(meta::list_at(old_spec, &[l])) {
            for (list, text) in
                [("requests", "resource requests cannot be removed"), ("limits", "resource limits cannot be removed")]
            {
                if removed(n.get("resources").v, value_at(o, &["resources"]), list) {
                    n.get("resources").get(list).forbidden(e, text);
                }
            }
        }
    }
    for l in ["containers", "initContainers"] {
        let mut here = at.get(l).items();
        for (c, o) in list_mut(&mut copy, &[l]).zip(meta::list_at(old_spec, &[l])) {
            let Some(n) = here.next() else { break };
            let modified = !same(c, o);
            without_cpu_memory(c, o);
            let init = l == "initContainers";
            if !same(c, o) {
                if init {
                    n.forbidden(e, "only cpu and memory resources for init or sidecar containers are mutable");
                } else {
                    at.forbidden(e, "only cpu and memory resources are mutable");
                }
            }
            if init && modified && meta::str_at(o, &["restartPolicy"]) != "Always" {
                for _ in n.get("resizePolicy").items().filter(|p| p.get("restartPolicy").str() == "RestartContainer") {
                    n.forbidden(e, "non-sidecar init containers with a resize policy of RestartContainer cannot be resized");
                }
            }
        }
    }
    if e.is_empty() && !same(&copy, old_spec) {
        at.forbidden(e, "only cpu and memory resources are mutable");
    }
}

/// Facts that older kubelets forget when they write status.
pub fn keep_status_facts(obj: &mut Value, old: &Value) {
    if meta::str_at(obj, &["status", "qosClass"]).is_empty() {
        copy_from(obj, old, &["status", "qosClass"]);
    }
    let unset = |o: &Value| meta::i64_at(o, &["observedGeneration"]).unwrap_or(0) == 0;
    if unset(value_at(obj, &["status"])) {
        copy_from(obj, old, &["status", "observedGeneration"]);
    }
    let mut before: Vec<&Value> = meta::list_at(old, &["status", "conditions"]).iter().collect();
    for c in list_mut(obj, &["status", "conditions"]) {
        let Some(i) = before.iter().position(|o| meta::str_at(o, &["type"]) == meta::str_at(c, &["type"])) else { continue };
        let o = before.remove(i);
        if unset(c) && !unset(o) {
            copy_from(c, o, &["observedGeneration"]);
        }
    }
}

/// An update of `status`.
pub fn status(obj: &Value, old: &Value, e: &mut ErrorList) {
    let root = At::root(obj);
    let at = root.get("status");
    let negative = "must be a non-negative integer";
    for c in at.get("conditions").items() {
        if c.get("observedGeneration").int() < 0 {
            c.get("observedGeneration").invalid(e, negative);
        }
        if !["PodScheduled", "Ready", "Initialized"].contains(&c.get("type").str()) {
            c.get("Type").with(c.get("type").v).check(e, check::qualified_name);
        }
    }
    if !same_at(obj, old, &["spec", "nodeName"]) {
        at.get("nodeName").forbidden(e, "may not be changed directly");
    }
    let nominated = at.get("nominatedNodeName");
    if !nominated.is_empty() && !same_at(obj, old, &["status", "nominatedNodeName"]) {
        nominated.check(e, names::subdomain);
        if !meta::str_at(old, &["spec", "nodeName"]).is_empty() {
            nominated.forbidden(e, "may not be set on pods that are already bound to a node");
        }
    }
    if at.get("observedGeneration").int() < 0 {
        at.get("observedGeneration").invalid(e, negative);
    }
    at.get("qosClass").immutable(e, value_at(old, &["status", "qosClass"]));
    let spec = value_at(old, &["spec"]);
    for (list, containers) in
        [("containerStatuses", "containers"), ("initContainerStatuses", "initContainers"), ("ephemeralContainerStatuses", "")]
    {
        transitions(at.get(list), value_at(old, &["status", list]), spec, containers, e);
    }
    ips(at.get("podIPs"), value_at(old, &["status", "podIPs"]), e);
    let hosts = at.get("hostIPs");
    if let Some(first) = hosts.items().next()
        && first.get("ip").str() != at.get("hostIP").str()
    {
        first.get("ip").invalid_str(e, "must be equal to `hostIP`");
    }
    ips(hosts, value_at(old, &["status", "hostIPs"]), e);
}

fn ips(at: At, old: &Value, e: &mut ErrorList) {
    let known: Vec<&str> = old.as_array().into_iter().flatten().map(|o| meta::str_at(o, &["ip"])).collect();
    for ip in at.items() {
        let value = ip.get("ip").str();
        e.extend(machinery::validation::ip_legacy(&ip.path(), value, false, &known));
    }
    if at.len() > 1 {
        let v6: Vec<bool> =
            at.items().filter_map(|i| machinery::validation::parse_ip_sloppy(i.get("ip").str())).map(|i| i.is_ipv6()).collect();
        if at.len() > 2 || !(v6.contains(&true) && v6.contains(&false)) {
            at.invalid(e, "may specify no more than one IP for each IP family");
        }
    }
}

/// A terminated container stays so, unless its restart policy lets it run again.
fn transitions(at: At, old: &Value, spec: &Value, containers: &str, e: &mut ErrorList) {
    let restarts_all = |c: &Value| {
        meta::list_at(c, &["restartPolicyRules"]).iter().any(|r| meta::str_at(r, &["action"]) == "RestartAllContainers")
    };
    if ["containers", "initContainers"].iter().flat_map(|l| meta::list_at(spec, &[l])).any(restarts_all) && !containers.is_empty()
    {
        return;
    }
    for (i, o) in old.as_array().into_iter().flatten().enumerate() {
        let Some(terminated) = meta::at(o, &["state", "terminated"]) else { continue };
        let name = meta::str_at(o, &["name"]);
        let revived = at.items().any(|n| n.get("name").str() == name && !n.get("state").has("terminated"));
        if revived && !may_restart(spec, containers, name, meta::i64_at(terminated, &["exitCode"]).unwrap_or(0)) {
            at.nth(i).get("state").forbidden(e, "may not be transitioned to non-terminated state");
        }
    }
}

fn may_restart(spec: &Value, containers: &str, name: &str, exit_code: i64) -> bool {
    let Some(c) = meta::list_at(spec, &[containers]).iter().find(|c| meta::str_at(c, &["name"]) == name) else { return false };
    for r in meta::list_at(c, &["restartPolicyRules"]) {
        let listed = meta::list_at(r, &["exitCodes", "values"]).iter().any(|v| v.as_i64() == Some(exit_code));
        let hit = match meta::str_at(r, &["exitCodes", "operator"]) {
            "In" => listed,
            "NotIn" => !listed,
            _ => false,
        };
        if hit && meta::str_at(r, &["action"]) == "Restart" {
            return true;
        }
    }
    let own = meta::str_at(c, &["restartPolicy"]);
    match if own.is_empty() { meta::str_at(spec, &["restartPolicy"]) } else { own } {
        "Always" => true,
        "OnFailure" => exit_code != 0,
        _ => false,
    }
}
