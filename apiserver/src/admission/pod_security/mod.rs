//! PodSecurity: namespaces say by labels how much their pods may do to the node. Upstream: k8s.io/pod-security-admission.

mod checks;
mod policy;
#[cfg(test)]
mod tests;

use super::{Attributes, Lister, Operation, Plugin};
use async_trait::async_trait;
use checks::violations;
use machinery::meta::{at, labels, list_at, name, str_at};
use machinery::{Status, Value};
use policy::{Level, LevelVersion, Policy};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Pods looked at when a namespace becomes stricter.
const MAX_PODS: usize = 3000;

pub struct PodSecurity;

#[async_trait]
impl Plugin for PodSecurity {
    fn name(&self) -> &'static str {
        "PodSecurity"
    }

    fn handles(&self, a: &Attributes) -> bool {
        if !matches!(a.operation, Operation::Create | Operation::Update) {
            return false;
        }
        let pod = a.is("", "pods") && matches!(a.subresource.as_str(), "" | "ephemeralcontainers" | "resize");
        pod || a.is_main("", "namespaces") || (a.subresource.is_empty() && template_path(a).is_some())
    }

    async fn validate(&self, a: &Attributes, obj: &Value, cx: &dyn Lister) -> Result<(), Status> {
        if a.is("", "namespaces") {
            return namespace(a, obj, cx);
        }
        let found = match cx.get("", "namespaces", "", &a.namespace) {
            Some(n) => Some(n),
            None => cx.get_live("", "namespaces", "", &a.namespace).await?,
        };
        let found = found.ok_or_else(|| Status::internal(format!("failed to lookup namespace {:?}", a.namespace)))?;
        let (policy, _) = Policy::of(labels(&found));
        if policy.is_privileged() {
            return Ok(());
        }
        if let Some(path) = template_path(a) {
            if let Some(template) = at(obj, path) {
                warn(a, &policy.warn, template);
            }
            return Ok(());
        }
        if a.operation == Operation::Update && !significant(obj, a.old()) {
            return Ok(());
        }
        let found = violations(&policy.enforce, obj);
        if !found.is_empty() {
            return Err(a.forbid(obj, format!("violates PodSecurity \"{}\": {}", policy.enforce, detail(&found))));
        }
        warn(a, &policy.warn, obj);
        Ok(())
    }
}

fn warn(a: &Attributes, level: &LevelVersion, pod: &Value) {
    let found = violations(level, pod);
    if !found.is_empty() {
        a.warn(format!("would violate PodSecurity \"{level}\": {}", detail(&found)));
    }
}

fn detail(found: &[checks::Violation]) -> String {
    let text =
        |v: &checks::Violation| if v.detail.is_empty() { v.reason.clone() } else { format!("{} ({})", v.reason, v.detail) };
    found.iter().map(text).collect::<Vec<_>>().join(", ")
}

/// Where the kind keeps the template of its pods.
fn template_path(a: &Attributes) -> Option<&'static [&'static str]> {
    match (a.gvr.group.as_str(), a.gvr.resource.as_str()) {
        ("", "podtemplates") => Some(&["template"]),
        ("", "replicationcontrollers")
        | ("apps", "replicasets" | "deployments" | "daemonsets" | "statefulsets")
        | ("batch", "jobs") => Some(&["spec", "template"]),
        ("batch", "cronjobs") => Some(&["spec", "jobTemplate", "spec", "template"]),
        _ => None,
    }
}

/// An update counts if it changes images or adds containers; the rest of a pod's security cannot change.
fn significant(new: &Value, old: &Value) -> bool {
    let of = |p: &Value, l: &str| -> Vec<(String, String)> {
        let pair = |c: &Value| (str_at(c, &["name"]).to_owned(), str_at(c, &["image"]).to_owned());
        list_at(p, &["spec", l]).iter().map(pair).collect()
    };
    let images = |p: &Value, l: &str| -> Vec<String> { of(p, l).into_iter().map(|(_, i)| i).collect() };
    let before = of(old, "ephemeralContainers");
    ["containers", "initContainers"].iter().any(|l| images(new, l) != images(old, l))
        || of(new, "ephemeralContainers").iter().any(|c| !before.contains(c))
}

/// Labels must be valid, and a stricter level names the pods that would not pass it.
fn namespace(a: &Attributes, obj: &Value, cx: &dyn Lister) -> Result<(), Status> {
    let (new, errors) = Policy::of(labels(obj));
    let (old, old_errors) = Policy::of(labels(a.old()));
    let update = a.operation == Operation::Update;
    // Labels that were wrong before may stay as they are.
    let kept = update && errors == old_errors;
    if !errors.is_empty() && !kept {
        return Err(Status::invalid(&a.gvk.group, &a.gvk.kind, name(obj), &errors));
    }
    let (was, is) = (&old.enforce, &new.enforce);
    if !update || was == is || is.level == Level::Privileged || (was.version == is.version && is.level <= was.level) {
        return Ok(());
    }
    for w in existing(name(obj), is, cx.list("", "pods", name(obj))) {
        a.warn(w);
    }
    Ok(())
}

fn existing(namespace: &str, level: &LevelVersion, mut pods: Vec<Arc<Value>>) -> Vec<String> {
    let mut warnings = Vec::new();
    let total = pods.len();
    pods.truncate(MAX_PODS);
    // Reasons, with the first pod by name and the number of pods.
    let mut bad: BTreeMap<String, (String, usize)> = BTreeMap::new();
    for p in &pods {
        let found = violations(level, p);
        if found.is_empty() {
            continue;
        }
        let reasons = found.iter().map(|v| v.reason.as_str()).collect::<Vec<_>>().join(", ");
        let entry = bad.entry(reasons).or_insert_with(|| (name(p).to_owned(), 0));
        entry.1 += 1;
        if name(p) < entry.0.as_str() {
            entry.0 = name(p).to_owned();
        }
    }
    if pods.len() < total {
        let checked = pods.len();
        warnings.push(format!("new PodSecurity enforce level only checked against the first {checked} of {total} existing pods"));
    }
    if !bad.is_empty() {
        warnings.push(format!("existing pods in namespace {namespace:?} violate the new PodSecurity enforce level \"{level}\""));
    }
    let mut lines: Vec<String> = bad
        .into_iter()
        .map(|(reasons, (pod, count))| match count {
            1 => format!("{pod}: {reasons}"),
            2 => format!("{pod} (and 1 other pod): {reasons}"),
            n => format!("{pod} (and {} other pods): {reasons}", n - 1),
        })
        .collect();
    lines.sort();
    warnings.extend(lines);
    warnings
}
