//! Writes a pod's status to the API: one request at a time, always the newest, and only what changed
//! (upstream pkg/kubelet/status).

use super::conditions::OWNED;
use super::spec;
use crate::context::Context;
use crate::static_pods::Name;
use client::{Object, Patch};
use k8s_openapi::api::core::v1::{Pod, PodStatus};
use serde_json::{Map, Value, json};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// The status to write, numbered.
#[derive(Clone, Default)]
struct Wanted {
    number: u64,
    status: Option<PodStatus>,
}

/// The writer of one pod.
pub struct Writer {
    wanted: watch::Sender<Wanted>,
    written: watch::Receiver<u64>,
    task: tokio::task::AbortHandle,
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Writer {
    pub fn start(ctx: Arc<Context>, pod: &Pod) -> Self {
        let (wanted, rx) = watch::channel(Wanted::default());
        let (tx, written) = watch::channel(0);
        let base = pod.status.clone().unwrap_or_default();
        let of = Target {
            name: crate::static_pods::name_of(pod),
            uid: pod.uid().to_owned(),
            manifest: spec::is_static(pod).then(|| pod.uid().to_owned()),
        };
        let task = tokio::spawn(write(ctx, of, base, rx, tx)).abort_handle();
        Self { wanted, written, task }
    }

    pub fn put(&self, status: PodStatus) {
        self.wanted.send_modify(|w| {
            w.number += 1;
            w.status = Some(status);
        });
    }

    /// Waits until everything put so far is in the API, or the pod is gone from it.
    pub async fn flushed(&self) {
        let number = self.wanted.borrow().number;
        let _ = self.written.clone().wait_for(|w| *w >= number).await;
    }
}

/// The object whose status is written.
struct Target {
    name: Name,
    uid: String,
    /// The hash of a static pod's manifest: its status is its mirror's, which may come, go and come again.
    manifest: Option<String>,
}

impl Target {
    /// Looks for the mirror of a static pod; false while there is none. `base` is what the API has of its status.
    fn find(&mut self, ctx: &Context, base: &mut PodStatus) -> bool {
        let Some(hash) = &self.manifest else { return true };
        let Some(mirror) = ctx.static_pods.mirror_of(&self.name) else { return false };
        let shown = mirror.metadata.annotations.as_ref().and_then(|a| a.get(spec::CONFIG_MIRROR));
        if shown != Some(hash) || mirror.metadata.deletion_timestamp.is_some() {
            return false;
        }
        if self.uid != mirror.uid() {
            self.uid = mirror.uid().to_owned();
            *base = mirror.status.clone().unwrap_or_default();
        }
        true
    }
}

async fn write(
    ctx: Arc<Context>,
    mut of: Target,
    mut base: PodStatus,
    mut wanted: watch::Receiver<Wanted>,
    written: watch::Sender<u64>,
) {
    let mut delay = Duration::from_millis(100);
    loop {
        let Wanted { number, status } = wanted.borrow_and_update().clone();
        if let Some(status) = status.filter(|_| of.find(&ctx, &mut base)) {
            let Target { name: (namespace, name), uid, .. } = &of;
            match patch(&base, &status) {
                None => {}
                Some(p) => {
                    let body = json!({"metadata": {"uid": uid}, "status": p});
                    match ctx.client.patch_status::<Pod>(namespace, name, &Patch::Strategic(body)).await {
                        Ok(pod) => base = pod.status.unwrap_or_default(),
                        Err(e) if e.is_not_found() || e.is_conflict() => {} // deleted, or another pod of this name by now
                        Err(e) => {
                            tracing::warn!(namespace, pod = name, uid, error = %e, "pod status not written");
                            let _ = tokio::time::timeout(delay, wanted.changed()).await;
                            delay = (delay * 2).min(Duration::from_secs(10));
                            continue;
                        }
                    }
                    delay = Duration::from_millis(100);
                }
            }
        }
        written.send_replace(number);
        if wanted.borrow().number == number && wanted.changed().await.is_err() {
            return;
        }
    }
}

/// Fields of the status that the kubelet writes.
const FIELDS: [&str; 14] = [
    "phase",
    "reason",
    "message",
    "hostIP",
    "hostIPs",
    "podIP",
    "podIPs",
    "startTime",
    "qosClass",
    "observedGeneration",
    "containerStatuses",
    "initContainerStatuses",
    "ephemeralContainerStatuses",
    "allocatedResources",
];

/// The strategic merge patch from one status to another; `None` if nothing changes. Conditions of others are not touched.
fn patch(from: &PodStatus, to: &PodStatus) -> Option<Value> {
    let object = |s: &PodStatus| serde_json::to_value(s).unwrap_or_default();
    let (old, new) = (object(from), object(to));
    let mut out = Map::new();
    for field in FIELDS {
        let (a, b) = (old.get(field), new.get(field));
        if a == b {
            continue;
        }
        let value = match (field, b) {
            (_, None) => Value::Null,
            // These lists merge by IP: say that the old ones go.
            ("podIPs" | "hostIPs", Some(Value::Array(list))) if a.is_some() => {
                let mut list = list.clone();
                list.push(json!({"$patch": "replace"}));
                list.into()
            }
            (_, Some(b)) => b.clone(),
        };
        out.insert(field.to_owned(), value);
    }
    let mut conditions = Vec::new();
    for c in to.conditions.iter().flatten().filter(|c| OWNED.contains(&c.type_.as_str()) || c.type_ == "DisruptionTarget") {
        let before = from.conditions.iter().flatten().find(|b| b.type_ == c.type_);
        if before == Some(c) {
            continue;
        }
        let mut v = serde_json::to_value(c).unwrap_or_default();
        // What a merge would keep has to be unset.
        for (key, gone) in [
            ("reason", c.reason.is_none() && before.is_some_and(|b| b.reason.is_some())),
            ("message", c.message.is_none() && before.is_some_and(|b| b.message.is_some())),
        ] {
            if gone {
                v[key] = Value::Null;
            }
        }
        conditions.push(v);
    }
    let kept = |t: &str| to.conditions.iter().flatten().any(|c| c.type_ == t);
    for c in from.conditions.iter().flatten().filter(|c| OWNED.contains(&c.type_.as_str()) && !kept(&c.type_)) {
        conditions.push(json!({"$patch": "delete", "type": c.type_}));
    }
    if !conditions.is_empty() {
        out.insert("conditions".into(), conditions.into());
    }
    (!out.is_empty()).then(|| out.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patches() {
        let s = |v: Value| serde_json::from_value::<PodStatus>(v).expect("status");
        for (name, from, to, want) in [
            ("same", json!({"phase": "Running"}), json!({"phase": "Running"}), Value::Null),
            (
                "condition gone",
                json!({"conditions": [{"type": "PodResizePending", "status": "True"}]}),
                json!({}),
                json!({"conditions": [{"$patch": "delete", "type": "PodResizePending"}]}),
            ),
            ("foreign condition", json!({"conditions": [{"type": "x", "status": "True"}]}), json!({}), Value::Null),
            ("field gone", json!({"reason": "r"}), json!({}), json!({"reason": null})),
            (
                "addresses",
                json!({"podIPs": [{"ip": "1.1.1.1"}]}),
                json!({"podIPs": [{"ip": "2.2.2.2"}]}),
                json!({"podIPs": [{"ip": "2.2.2.2"}, {"$patch": "replace"}]}),
            ),
            (
                "condition",
                json!({"conditions": [{"type": "Ready", "status": "False", "reason": "r", "message": "m"}]}),
                json!({"conditions": [{"type": "Ready", "status": "True"}]}),
                json!({"conditions": [{"type": "Ready", "status": "True", "reason": null, "message": null}]}),
            ),
        ] {
            assert_eq!(patch(&s(from), &s(to)).unwrap_or_default(), want, "{name}");
        }
    }
}
