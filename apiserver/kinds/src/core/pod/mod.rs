//! Pod: the strategy; its parts are in the files beside (pkg/registry/core/pod/strategy.go).

mod containers;
pub mod defaults;
mod printer;
mod scheduling;
mod security;
pub mod spec;
mod update;
pub mod volumes;
pub mod warnings;

pub use scheduling::{taint_effect, tolerations};

use crate::at::{At, copy_from, list_mut, same, value_at};
use crate::resources;
use crate::strategy::{Column, Context, Deletion, PrinterRow, Strategy};
use crate::{check, names};
use machinery::field::{Error, ErrorList, Path};
use machinery::{Value, json, meta};

/// What a pod spec's rules depend on besides the spec.
pub struct Options<'a> {
    /// The spec of a Pod, not of a template.
    pub is_pod: bool,
    /// The spec before an update: what it already had is tolerated.
    pub old: Option<&'a Value>,
    /// Empty in a template.
    pub pod_name: &'a str,
    /// A mirror of a static pod.
    pub static_pod: bool,
}

impl Options<'_> {
    pub fn creating(&self) -> bool {
        self.old.is_none()
    }
    /// Huge pages come in whole pages, unless the stored pod has them otherwise.
    pub fn whole_huge_pages(&self) -> bool {
        self.old.is_none_or(|o| !resources::has_broken_huge_pages(o))
    }
    /// Neither of these fields of the spec differs from the stored one's.
    pub fn unchanged(&self, spec: At, fields: &[&str]) -> bool {
        self.old.is_some_and(|o| fields.iter().all(|f| crate::at::same_at(spec.v, o, &[f])))
    }
}

const MIRROR: &str = "kubernetes.io/config.mirror";

pub struct Pod;

/// Metadata-independent rules of a Pod, on create and update.
fn validate_pod(obj: &Value, old: Option<&Value>, e: &mut ErrorList) {
    let root = At::root(obj);
    let spec = root.get("spec");
    spec::annotations(root.at(&["metadata", "annotations"]), spec, e);
    let options = Options {
        is_pod: true,
        old: old.map(|o| value_at(o, &["spec"])),
        pod_name: meta::name(obj),
        static_pod: meta::annotations(obj).contains_key(MIRROR),
    };
    spec::pod_spec(spec, e, &options);
    if spec.get("serviceAccountName").is_empty() {
        for s in spec.get("volumes").items().flat_map(|v| v.at(&["projected", "sources"]).items()) {
            if s.has("serviceAccountToken") {
                s.get("serviceAccountToken").forbidden(e, "must not be specified when serviceAccountName is not set");
            }
        }
    }
    for c in ["containers", "initContainers"].iter().flat_map(|l| spec.get(l).items()) {
        containers::image_whitespace(c, e);
    }
}

/// Guaranteed, Burstable or BestEffort, by requests and limits of cpu and memory.
pub fn qos_class(pod: &Value) -> &'static str {
    let spec = value_at(pod, &["spec"]);
    let positive = |o: &Value, list: &str| -> Vec<(String, machinery::quantity::Quantity)> {
        ["cpu", "memory"]
            .iter()
            .filter_map(|n| Some(((*n).to_owned(), resources::amount(meta::at(o, &[list, n])?)?)))
            .filter(|(_, q)| q.sign() > 0)
            .collect()
    };
    let mut totals = [resources::Totals::new(), resources::Totals::new()];
    let mut guaranteed = true;
    let pod_level = meta::at(spec, &["resources"]);
    let all: Vec<&Value> = match pod_level {
        Some(r) => vec![r],
        None => ["containers", "initContainers"]
            .iter()
            .flat_map(|l| meta::list_at(spec, &[l]))
            .map(|c| value_at(c, &["resources"]))
            .collect(),
    };
    for r in all {
        for (total, list) in totals.iter_mut().zip(["requests", "limits"]) {
            let found = positive(r, list);
            // A pod with no limits at all is settled by the comparison below.
            if list == "limits" && found.len() < 2 && (pod_level.is_none() || !meta::map_at(r, &["limits"]).is_empty()) {
                guaranteed = false;
            }
            for (name, q) in found {
                match total.get_mut(&name) {
                    Some(sum) => sum.add(&q),
                    None => {
                        total.insert(name, q);
                    }
                }
            }
        }
    }
    let [requests, limits] = totals;
    if requests.is_empty() && limits.is_empty() {
        return "BestEffort";
    }
    if guaranteed && requests == limits { "Guaranteed" } else { "Burstable" }
}

/// matchLabelKeys become part of the selector when the pod is created.
fn merge_label_keys(term: &mut Value, labels: &machinery::Map<String, Value>) {
    if meta::at(term, &["labelSelector"]).is_none() {
        return;
    }
    let mut extra = Vec::new();
    for (keys, operator) in [("matchLabelKeys", "In"), ("mismatchLabelKeys", "NotIn")] {
        for key in meta::list_at(term, &[keys]).iter().filter_map(Value::as_str) {
            if let Some(value) = labels.get(key) {
                extra.push(json!({"key": key, "operator": operator, "values": [value]}));
            }
        }
    }
    if !extra.is_empty() {
        let mut all = meta::list_at(term, &["labelSelector", "matchExpressions"]).to_vec();
        all.extend(extra);
        meta::set(term, &["labelSelector", "matchExpressions"], all.into());
    }
}

fn merge_all_label_keys(pod: &mut Value) {
    let labels = meta::labels(pod).clone();
    for kind in ["podAffinity", "podAntiAffinity"] {
        for t in list_mut(pod, &["spec", "affinity", kind, "requiredDuringSchedulingIgnoredDuringExecution"]) {
            merge_label_keys(t, &labels);
        }
        for t in list_mut(pod, &["spec", "affinity", kind, "preferredDuringSchedulingIgnoredDuringExecution"]) {
            if let Some(t) = t.get_mut("podAffinityTerm") {
                merge_label_keys(t, &labels);
            }
        }
    }
    for t in list_mut(pod, &["spec", "topologySpreadConstraints"]) {
        merge_label_keys(t, &labels);
    }
}

/// AppArmor profiles from the annotations that they once were.
fn app_armor_fields(pod: &mut Value) {
    if meta::str_at(pod, &["spec", "os", "name"]) == "windows" {
        return;
    }
    let annotations = meta::annotations(pod).clone();
    let pod_profile = value_at(pod, &["spec", "securityContext", "appArmorProfile"]).clone();
    for list in ["initContainers", "containers", "ephemeralContainers"] {
        for c in list_mut(pod, &["spec", list]) {
            let key = format!("container.apparmor.security.beta.kubernetes.io/{}", meta::str_at(c, &["name"]));
            let Some(text) = annotations.get(&key).and_then(Value::as_str) else { continue };
            let profile = match text {
                "unconfined" => json!({"type": "Unconfined"}),
                "runtime/default" => json!({"type": "RuntimeDefault"}),
                t => match t.strip_prefix("localhost/").filter(|p| !p.is_empty() && p.trim() == *p) {
                    Some(p) => json!({"type": "Localhost", "localhostProfile": p}),
                    None => continue,
                },
            };
            if meta::at(c, &["securityContext", "appArmorProfile"]).is_none() && profile != pod_profile && c.is_object() {
                meta::set(c, &["securityContext", "appArmorProfile"], profile);
            }
        }
    }
}

/// Fields of features that are off by default: kept only where the stored object has them.
fn drop_disabled(pod: &mut Value) {
    for list in ["initContainers", "containers", "ephemeralContainers"] {
        for c in list_mut(pod, &["spec", list]) {
            meta::remove(c, &["lifecycle", "stopSignal"]);
        }
    }
    meta::remove(pod, &["spec", "schedulingGroup"]);
}

fn bump_generation(obj: &mut Value, old: &Value) {
    let generation = meta::i64_at(old, &["metadata", "generation"]).unwrap_or(0);
    let next = if same(value_at(obj, &["spec"]), value_at(old, &["spec"])) { generation } else { generation.saturating_add(1) };
    if next > 0 {
        meta::set(obj, &["metadata", "generation"], next.into());
    }
}

impl Strategy for Pod {
    fn default(&self, obj: &mut Value) {
        defaults::pod(obj);
    }
    fn prepare_for_create(&self, _: &Context, obj: &mut Value) {
        drop_disabled(obj);
        meta::set(obj, &["metadata", "generation"], 1.into());
        let mut status = json!({"phase": "Pending", "qosClass": qos_class(obj)});
        if !meta::list_at(obj, &["spec", "schedulingGates"]).is_empty() {
            status["conditions"] = json!([{"type": "PodScheduled", "status": "False", "reason": "SchedulingGated",
                "message": "Scheduling is blocked due to non-empty scheduling gates", "lastProbeTime": null, "lastTransitionTime": null}]);
        }
        meta::set(obj, &["status"], status);
        merge_all_label_keys(obj);
        app_armor_fields(obj);
    }
    fn validate(&self, _: &Context, obj: &Value) -> ErrorList {
        let mut e = ErrorList::new();
        validate_pod(obj, None, &mut e);
        let spec = At::root(obj).get("spec");
        security::seccomp_annotations(At::root(obj).at(&["metadata", "annotations"]), spec, &mut e);
        if !spec.get("ephemeralContainers").is_empty() {
            spec.get("ephemeralContainers").forbidden(&mut e, "cannot be set on create");
        }
        if !spec.get("nodeName").is_empty() && !spec.get("schedulingGates").is_empty() {
            spec.get("nodeName").forbidden(&mut e, "cannot be set until all schedulingGates have been cleared");
        }
        e
    }
    fn warnings(&self, _: &Context, obj: &Value, old: Option<&Value>) -> Vec<String> {
        if old.is_some() {
            return Vec::new();
        }
        let mut out = Vec::new();
        let reasons = check::dns1123_label(meta::name(obj));
        if !reasons.is_empty() {
            out.push(format!("metadata.name: this is used in the Pod's hostname, which can result in surprising behavior; a DNS label is recommended: [{}]", reasons.join(" ")));
        }
        out.extend(warnings::pod(At::root(obj)));
        out
    }
    fn validate_name(&self, name: &str, prefix: bool) -> Vec<String> {
        names::check(names::NameRule::Subdomain, name, prefix)
    }
    fn prepare_for_update(&self, cx: &Context, obj: &mut Value, old: &Value) {
        match cx.subresource.as_str() {
            "ephemeralcontainers" => {
                let new = value_at(obj, &["spec", "ephemeralContainers"]).clone();
                update::reset_meta(obj, old);
                copy_from(obj, old, &["spec"]);
                match new {
                    Value::Null => drop(meta::remove(obj, &["spec", "ephemeralContainers"])),
                    new => meta::set(obj, &["spec", "ephemeralContainers"], new),
                }
            }
            "resize" => update::keep_resize_only(obj, old),
            _ => {}
        }
        copy_from(obj, old, &["status"]);
        bump_generation(obj, old);
    }
    fn validate_update(&self, cx: &Context, obj: &Value, old: &Value) -> ErrorList {
        let mut e = ErrorList::new();
        validate_pod(obj, Some(old), &mut e);
        let mirror = meta::annotations(old).contains_key(MIRROR);
        let refuse = |text: &str| vec![Error::forbidden(&Path::default(), text)];
        match cx.subresource.as_str() {
            "ephemeralcontainers" if mirror => return refuse("static pods do not support ephemeral containers"),
            "ephemeralcontainers" => {
                update::annotations(obj, old, &mut e);
                update::ephemeral_containers(obj, old, &mut e);
            }
            "resize" if mirror => return refuse("static pods cannot be resized"),
            "resize" if meta::str_at(old, &["spec", "os", "name"]) == "windows" => {
                return refuse("windows pods cannot be resized");
            }
            "resize" => update::resize(obj, old, &mut e),
            _ => {
                update::annotations(obj, old, &mut e);
                update::spec(obj, old, &mut e);
            }
        }
        e
    }
    fn prepare_for_status_update(&self, _: &Context, obj: &mut Value, old: &Value) {
        meta::remove(obj, &["metadata", "deletionTimestamp"]);
        copy_from(obj, old, &["metadata", "ownerReferences"]);
        update::keep_status_facts(obj, old);
    }
    fn validate_status_update(&self, _: &Context, obj: &Value, old: &Value) -> ErrorList {
        let mut e = ErrorList::new();
        update::annotations(obj, old, &mut e);
        update::status(obj, old, &mut e);
        e
    }
    fn deletion(&self, obj: &Value, grace_seconds: Option<i64>) -> Deletion {
        let asked = grace_seconds.or_else(|| meta::i64_at(obj, &["spec", "terminationGracePeriodSeconds"])).unwrap_or(0);
        let unscheduled = meta::str_at(obj, &["spec", "nodeName"]).is_empty();
        let over = matches!(meta::str_at(obj, &["status", "phase"]), "Failed" | "Succeeded");
        let seconds = if unscheduled || over { 0 } else { asked };
        Deletion::Graceful { seconds: if seconds < 0 { 1 } else { seconds } }
    }
    fn selectable_fields(&self, obj: &Value) -> Vec<(&'static str, String)> {
        let text = |path: &[&str]| meta::str_at(obj, path).to_owned();
        let ip = meta::list_at(obj, &["status", "podIPs"]).first().map_or("", |ip| meta::str_at(ip, &["ip"])).to_owned();
        vec![
            ("spec.nodeName", text(&["spec", "nodeName"])),
            ("spec.restartPolicy", text(&["spec", "restartPolicy"])),
            ("spec.schedulerName", text(&["spec", "schedulerName"])),
            ("spec.serviceAccountName", text(&["spec", "serviceAccountName"])),
            ("spec.hostNetwork", meta::bool_at(obj, &["spec", "hostNetwork"]).to_string()),
            ("status.phase", text(&["status", "phase"])),
            ("status.podIP", ip),
            ("status.podIPs", String::new()),
            ("status.nominatedNodeName", text(&["status", "nominatedNodeName"])),
        ]
    }
    fn selectable_field_names(&self) -> &'static [&'static str] {
        &[
            "spec.nodeName",
            "spec.restartPolicy",
            "spec.schedulerName",
            "spec.serviceAccountName",
            "spec.hostNetwork",
            "status.phase",
            "status.podIP",
            "status.podIPs",
            "status.nominatedNodeName",
        ]
    }
    fn columns(&self) -> &'static [Column] {
        &printer::COLUMNS
    }
    fn row(&self, obj: &Value, now: i64) -> PrinterRow {
        printer::row(obj, now)
    }
}
