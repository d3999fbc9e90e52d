//! ResourceQuota: a namespace uses no more than its quotas allow. Usage is charged to the quota's status, compare-and-swap, before the
//! object is stored; the quota controller gives back what is deleted. Upstream: apiserver/pkg/admission/plugin/resourcequota.

use super::{Attributes, Lister, Operation, Plugin};
use async_trait::async_trait;
use machinery::meta::{at, i64_at, list_at, map_at, name, resource_version, set, str_at};
use machinery::quantity::Quantity;
use machinery::time::Timestamp;
use machinery::{Map, Status, Value};
use quota::{Evaluator, Resources, resources, scopes};
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Weak};

/// Conflicts with the quota controller are retried so often.
const ATTEMPTS: usize = 8;

#[derive(Default)]
pub struct ResourceQuota {
    /// Requests of one namespace are charged one after the other, so that they do not conflict with each other.
    turns: parking_lot::Mutex<HashMap<String, Weak<tokio::sync::Mutex<()>>>>,
}

#[async_trait]
impl Plugin for ResourceQuota {
    fn name(&self) -> &'static str {
        "ResourceQuota"
    }

    fn handles(&self, a: &Attributes) -> bool {
        !a.namespace.is_empty()
            && !a.is("", "namespaces")
            && !a.is("", "events")
            && !a.is("events.k8s.io", "events")
            && !is_review(&a.gvr.group)
            && match (a.operation, a.subresource.as_str()) {
                (Operation::Create, "") => true,
                (Operation::Update, "") => a.is("", "services") || a.is("", "persistentvolumeclaims") || a.is("", "pods"),
                (Operation::Update, "resize") => a.is("", "pods"),
                _ => false,
            }
    }

    async fn validate(&self, a: &Attributes, obj: &Value, cx: &dyn Lister) -> Result<(), Status> {
        let deadline = |v: &Value| i64_at(v, &["spec", "activeDeadlineSeconds"]).is_some();
        if a.is_main("", "pods") && a.operation == Operation::Update && deadline(obj) == deadline(a.old()) {
            return Ok(());
        }
        let quotas = cx.list("", "resourcequotas", &a.namespace);
        if quotas.is_empty() {
            return Ok(());
        }
        let turn = self.turn(&a.namespace);
        let _turn = turn.lock().await;
        // All must agree before any is charged.
        let mut charges = Vec::new();
        for quota in quotas {
            if let Some(used) = new_usage(a, obj, &quota)? {
                charges.push((quota, used));
            }
        }
        if a.dry_run {
            return Ok(());
        }
        for (quota, used) in charges {
            charge(a, obj, quota, used, cx).await?;
        }
        Ok(())
    }
}

impl ResourceQuota {
    fn turn(&self, namespace: &str) -> Arc<tokio::sync::Mutex<()>> {
        let mut turns = self.turns.lock();
        if let Some(t) = turns.get(namespace).and_then(Weak::upgrade) {
            return t;
        }
        turns.retain(|_, t| t.strong_count() > 0);
        let t = Arc::new(tokio::sync::Mutex::new(()));
        turns.insert(namespace.to_owned(), Arc::downgrade(&t));
        t
    }
}

/// Kinds that are answered, not stored.
fn is_review(group: &str) -> bool {
    matches!(group, "authorization.k8s.io" | "authentication.k8s.io")
}

async fn charge(
    a: &Attributes,
    obj: &Value,
    mut quota: Arc<Value>,
    mut used: Map<String, Value>,
    cx: &dyn Lister,
) -> Result<(), Status> {
    for _ in 0..ATTEMPTS {
        let mut changed = Value::clone(&quota);
        set(&mut changed, &["status", "used"], used.into());
        match cx.update_status("", "resourcequotas", changed).await {
            Err(e) if e.is_conflict() => {}
            Err(e) if e.is_not_found() => return Ok(()),
            Err(e) => return Err(e),
            Ok(_) => return Ok(()),
        }
        // Another server or the quota controller was first.
        match cx.get_live("", "resourcequotas", &a.namespace, name(&quota)).await? {
            Some(q) => quota = q,
            None => return Ok(()),
        }
        match new_usage(a, obj, &quota)? {
            Some(u) => used = u,
            None => return Ok(()),
        }
    }
    Err(a.forbid(obj, format!("unable to charge quota {} after {ATTEMPTS} attempts", name(&quota))))
}

/// The quota's `status.used` with this request charged; `None` where it does not concern the quota.
fn new_usage(a: &Attributes, obj: &Value, quota: &Value) -> Result<Option<Map<String, Value>>, Status> {
    let evaluator = Evaluator::of(&a.gvr.group, &a.gvr.resource);
    let hard = resources::list(map_at(quota, &["status", "hard"]));
    let used = resources::list(map_at(quota, &["status", "used"]));
    let covered: Vec<&str> = hard.keys().map(String::as_str).filter(|k| evaluator.covers(k)).collect();
    if covered.is_empty() || !scopes(quota).all(|s| evaluator.in_scope(&s, obj)) {
        return Ok(None);
    }
    if evaluator == Evaluator::Pods {
        let missing = unspecified(&covered, obj);
        if !missing.is_empty() {
            return Err(a.forbid(obj, format!("failed quota: {}: must specify {missing}", name(quota))));
        }
    }
    if covered.iter().any(|k| !used.contains_key(*k)) {
        let names = covered.join(",");
        return Err(a.forbid(obj, format!("status unknown for quota: {}, resources: {names}", name(quota))));
    }
    let mut delta = evaluator.usage(obj, Timestamp::now());
    let negative: Vec<&str> = delta.iter().filter(|(_, q)| q.sign() < 0).map(|(k, _)| k.as_str()).collect();
    if !negative.is_empty() {
        return Err(a.forbid(obj, format!("quota usage is negative for resource(s): {}", negative.join(","))));
    }
    let old = a.old();
    let charged_before = a.operation == Operation::Update
        && !resource_version(old).is_empty()
        && scopes(quota).all(|s| evaluator.in_scope(&s, old));
    if charged_before {
        let before = evaluator.usage(old, Timestamp::now());
        for (k, q) in &mut delta {
            if let Some(b) = before.get(k) {
                q.sub(b);
            }
        }
    }
    delta.retain(|k, q| q.sign() > 0 && covered.contains(&k.as_str()));
    if delta.is_empty() {
        return Ok(None);
    }
    let mut total = used.clone();
    resources::add(&mut total, &delta);
    let exceeded: Vec<&String> =
        delta.keys().filter(|k| matches!((total.get(*k), hard.get(*k)), (Some(t), Some(h)) if t > h)).collect();
    if !exceeded.is_empty() {
        let show = |r: &Resources| {
            let parts = exceeded.iter().map(|k| format!("{k}={}", r.get(*k).map_or("0".to_owned(), Quantity::to_string)));
            parts.collect::<Vec<_>>().join(",")
        };
        return Err(a.forbid(
            obj,
            format!(
                "exceeded quota: {}, requested: {}, used: {}, limited: {}",
                name(quota),
                show(&delta),
                show(&used),
                show(&hard)
            ),
        ));
    }
    Ok(Some(total.into_iter().map(|(k, q)| (k, q.to_string().into())).collect()))
}

/// A quota on CPU or memory demands that every container says what it needs, unless the pod does as a whole.
fn unspecified(covered: &[&str], pod: &Value) -> String {
    if at(pod, &["spec", "resources"]).is_some_and(|r| ["requests", "limits"].iter().any(|k| !map_at(r, &[k]).is_empty())) {
        return String::new();
    }
    let mut missing: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for resource in covered {
        let (kind, what) = match *resource {
            "cpu" | "memory" => ("requests", *resource),
            "requests.cpu" | "limits.cpu" => (&resource[..resource.len() - 4], "cpu"),
            "requests.memory" | "limits.memory" => (&resource[..resource.len() - 7], "memory"),
            _ => continue,
        };
        for list in ["containers", "initContainers"] {
            for c in list_at(pod, &["spec", list]) {
                if !map_at(c, &["resources", kind]).contains_key(what) {
                    missing.entry(resource).or_default().push(str_at(c, &["name"]));
                }
            }
        }
    }
    let parts = missing.into_iter().map(|(k, mut names)| {
        names.sort_unstable();
        names.dedup();
        format!("{k} for: {}", names.join(","))
    });
    parts.collect::<Vec<_>>().join("; ")
}
