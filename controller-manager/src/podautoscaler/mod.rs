//! HorizontalPodAutoscalers on resource metrics (pkg/controller/podautoscaler). Every fifteen seconds, as metrics come by asking. Pods,
//! object and external metrics are not built: an autoscaler says so in its conditions.

mod metrics;
mod pace;
mod replicas;

use crate::core::discovery::{ApiResource, Discovery};
use crate::core::selectors;
use crate::manager::forever;
use crate::{Context, Result, synced};
use client::{EventType, Informer, InformerEvent, Object, Recorder, WorkQueue};
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::core::v1::Pod;
use machinery::labels::Selector;
use machinery::meta::{at, i64_at, list_at, set, str_at};
use machinery::quantity::{self, Format, Quantity};
use machinery::{GroupVersion, Value};
use pace::{Numbers, Past};
use parking_lot::Mutex;
use replicas::{Proposal, Question, Target, Tolerances};
use serde_json::json;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// --horizontal-pod-autoscaler-sync-period.
const PERIOD: Duration = Duration::from_secs(15);
/// --horizontal-pod-autoscaler-tolerance.
const TOLERANCE: f64 = 0.1;

struct Controller {
    ctx: Context,
    scalers: Arc<Informer<HorizontalPodAutoscaler>>,
    pods: Arc<Informer<Pod>>,
    queue: WorkQueue<String>,
    recorder: Recorder,
    past: Mutex<HashMap<String, Past>>,
    /// Which pods each autoscaler's target has.
    selectors: Mutex<HashMap<String, Selector>>,
}

pub async fn run(ctx: Context) {
    let c = Arc::new(Controller {
        scalers: ctx.informers.of(),
        pods: ctx.informers.of(),
        queue: WorkQueue::new(),
        recorder: ctx.recorder("horizontal-pod-autoscaler"),
        past: Mutex::default(),
        selectors: Mutex::default(),
        ctx,
    });
    let q = c.queue.clone();
    c.scalers.add_handler(move |e| match e {
        InformerEvent::Added(h) | InformerEvent::Deleted(h) => q.add(h.key()),
        // Its status is ours.
        InformerEvent::Updated { old, new } if old.spec != new.spec || old.uid() != new.uid() => q.add(new.key()),
        InformerEvent::Updated { .. } => {}
    });
    synced!(c.scalers, c.pods);
    let queue = c.queue.clone();
    forever(queue.run("horizontalpodautoscaler", c.ctx.config.concurrent_syncs, move |key: String| {
        let c = c.clone();
        async move { c.sync(key).await }
    }))
    .await;
}

/// An autoscaler while it is looked at: its object as a tree, whose status is changed.
struct Scaler<'a> {
    c: &'a Controller,
    key: String,
    shared: Arc<HorizontalPodAutoscaler>,
    obj: Value,
}

/// A reason and what went wrong.
type Trouble = (&'static str, String);

impl Controller {
    async fn sync(&self, key: String) -> Result {
        let Some(shared) = self.scalers.get_key(&key) else {
            self.past.lock().remove(&key);
            self.selectors.lock().remove(&key);
            return Ok(());
        };
        let obj = serde_json::to_value(&*shared).unwrap_or_default();
        let mut s = Scaler { c: self, key: key.clone(), shared, obj };
        s.reconcile().await;
        let outcome = s.store().await;
        self.queue.add_after(key, PERIOD);
        outcome
    }
}

impl Scaler<'_> {
    fn warn(&self, reason: &str, message: &str) {
        self.c.recorder.event(&client::object::reference_to(&*self.shared), EventType::Warning, reason, message);
    }

    fn condition(&mut self, kind: &str, status: bool, reason: &str, message: impl Into<String>) {
        let status = if status { "True" } else { "False" };
        let mut all = list_at(&self.obj, &["status", "conditions"]).to_vec();
        let old = all.iter().position(|c| str_at(c, &["type"]) == kind);
        let since = old.map(|i| &all[i]).filter(|c| str_at(c, &["status"]) == status).and_then(|c| c.get("lastTransitionTime"));
        let since = since.cloned().unwrap_or_else(|| machinery::time::format(self.c.ctx.now()).into());
        let new =
            json!({"type": kind, "status": status, "reason": reason, "message": message.into(), "lastTransitionTime": since});
        match old {
            Some(i) => all[i] = new,
            None => all.push(new),
        }
        set(&mut self.obj, &["status", "conditions"], all.into());
    }

    /// Writes the status if it is not what it was.
    async fn store(self) -> Result {
        let before = serde_json::to_value(&self.shared.status).unwrap_or_default();
        if at(&self.obj, &["status"]) == Some(&before) {
            return Ok(());
        }
        let path = format!("{}/{}/status", HorizontalPodAutoscaler::collection_path(self.shared.namespace()), self.shared.name());
        match self.c.ctx.client.put_path(&path, &self.obj).await {
            Ok(_) => Ok(()),
            // The change that came in between queues it.
            Err(e) if e.is_not_found() || e.is_conflict() => Ok(()),
            Err(e) => {
                self.warn("FailedUpdateStatus", &e.to_string());
                Err(e.into())
            }
        }
    }

    async fn reconcile(&mut self) {
        let (path, mut scale) = match self.scale().await {
            Ok(found) => found,
            Err(why) => {
                self.warn("FailedGetScale", &why);
                let why = format!("the HPA controller was unable to get the target's current scale: {why}");
                return self.condition("AbleToScale", false, "FailedGetScale", why);
            }
        };
        let got = "the HPA controller was able to get the target's current scale";
        self.condition("AbleToScale", true, "SucceededGetScale", got);
        let current = i64_at(&scale, &["spec", "replicas"]).unwrap_or(0);
        let min = i64_at(&self.obj, &["spec", "minReplicas"]).unwrap_or(1);
        let max = i64_at(&self.obj, &["spec", "maxReplicas"]).unwrap_or(0);
        self.c.past.lock().entry(self.key.clone()).or_default().begin(current, Instant::now());
        set(&mut self.obj, &["status", "currentReplicas"], current.into());
        let keep = i64_at(&self.obj, &["status", "desiredReplicas"]).unwrap_or(0);
        set(&mut self.obj, &["status", "desiredReplicas"], keep.into());

        let mut statuses = Vec::new();
        let (desired, why) = if current == 0 {
            let off = "scaling is disabled since the replica count of the target is zero";
            self.condition("ScalingActive", false, "ScalingDisabled", off);
            (0, String::new())
        } else if current > max {
            (max, "Current number of replicas above Spec.MaxReplicas".to_owned())
        } else if current < min {
            (min, "Current number of replicas below Spec.MinReplicas".to_owned())
        } else {
            let computed = self.wanted_by_metrics(&scale, current, &mut statuses).await;
            let (proposed, metric) = match computed {
                Ok(found) => found,
                Err(why) => {
                    self.warn("FailedComputeMetricsReplicas", &why);
                    return self.show(statuses);
                }
            };
            let why = if proposed > current { format!("{metric} above target") } else { "All metrics below target".to_owned() };
            let numbers = Numbers { current, desired: proposed, min, max };
            let behavior = at(&self.obj, &["spec", "behavior"]).cloned().unwrap_or(Value::Null);
            let decision = self.c.past.lock().entry(self.key.clone()).or_default().decide(numbers, &behavior, Instant::now());
            self.condition("AbleToScale", true, decision.able.0, decision.able.1);
            let (limited, reason, message) = decision.limited;
            self.condition("ScalingLimited", limited, reason, message);
            (decision.replicas, why)
        };
        if desired != current {
            set(&mut scale, &["spec", "replicas"], desired.into());
            if let Err(e) = self.c.ctx.client.put_path(&path, &scale).await {
                self.warn("FailedRescale", &format!("New size: {desired}; reason: {why}; error: {e}"));
                let why = format!("the HPA controller was unable to update the target scale: {e}");
                self.condition("AbleToScale", false, "FailedUpdateScale", why);
                return self.show(statuses);
            }
            let done = format!("the HPA controller was able to update the target scale to {desired}");
            self.condition("AbleToScale", true, "SucceededRescale", done);
            let about = client::object::reference_to(&*self.shared);
            let message = format!("New size: {desired}; reason: {why}");
            self.c.recorder.event(&about, EventType::Normal, "SuccessfulRescale", message);
            let behavior = at(&self.obj, &["spec", "behavior"]).cloned();
            if let Some(b) = behavior {
                self.c.past.lock().entry(self.key.clone()).or_default().scaled(current, desired, &b, Instant::now());
            }
            let now = machinery::time::format(self.c.ctx.now());
            set(&mut self.obj, &["status", "lastScaleTime"], now.into());
        }
        set(&mut self.obj, &["status", "desiredReplicas"], desired.into());
        self.show(statuses);
    }

    fn show(&mut self, statuses: Vec<Value>) {
        if statuses.is_empty() {
            machinery::meta::remove(&mut self.obj, &["status", "currentMetrics"]);
        } else {
            set(&mut self.obj, &["status", "currentMetrics"], statuses.into());
        }
    }

    /// The scale of the target, and where it is.
    async fn scale(&self) -> std::result::Result<(String, Value), String> {
        let target = |f: &str| str_at(&self.obj, &["spec", "scaleTargetRef", f]);
        let (kind, name) = (target("kind"), target("name"));
        let gv = GroupVersion::parse(target("apiVersion"))
            .ok_or_else(|| format!("unexpected GroupVersion string: {}", target("apiVersion")))?;
        let found: Option<ApiResource> = Discovery::of_kind(&self.c.ctx.client, &gv, kind).await.map_err(|e| e.to_string())?;
        let resource = found.ok_or_else(|| format!("no matches for kind {kind:?} in group {:?}", gv.group))?;
        let path = format!("{}/scale", resource.path(self.shared.namespace(), name));
        let scale = self.c.ctx.client.get_path(&path).await.map_err(|e| e.to_string())?;
        Ok((path, scale))
    }

    /// The pods of the target; the condition says why not.
    fn target_pods(&mut self, selector: &str) -> std::result::Result<Vec<Arc<Pod>>, String> {
        if selector.is_empty() {
            self.warn("SelectorRequired", "selector is required");
            let missing = "the HPA target's scale is missing a selector";
            self.condition("ScalingActive", false, "InvalidSelector", missing);
            return Err("selector is required".into());
        }
        let parsed = Selector::parse(selector).map_err(|e| {
            let why = format!("couldn't convert selector into a corresponding internal selector object: {e}");
            self.warn("InvalidSelector", &why);
            self.condition("ScalingActive", false, "InvalidSelector", why.clone());
            why
        })?;
        let namespace = self.shared.namespace().to_owned();
        let mut pods = self.c.pods.list_namespace(&namespace);
        pods.retain(|p| selectors::matches(&parsed, p.metadata.labels.as_ref()));
        let mut known = self.c.selectors.lock();
        known.insert(self.key.clone(), parsed);
        let prefix = format!("{namespace}/");
        let sharing = known.iter().filter(|(key, s)| {
            key.starts_with(&prefix) && pods.iter().any(|p| selectors::matches(s, p.metadata.labels.as_ref()))
        });
        let mut sharing: Vec<String> = sharing.map(|(key, _)| format!("{{{} {namespace}}}", &key[prefix.len()..])).collect();
        drop(known);
        if sharing.len() > 1 {
            sharing.sort();
            let why = format!("pods by selector {selector} are controlled by multiple HPAs: [{}]", sharing.join(" "));
            self.warn("AmbiguousSelector", &why);
            self.condition("ScalingActive", false, "AmbiguousSelector", why.clone());
            return Err(why);
        }
        Ok(pods)
    }

    /// The most that any metric asks for, and its description. Less than now only if all metrics are known.
    async fn wanted_by_metrics(
        &mut self,
        scale: &Value,
        current: i64,
        statuses: &mut Vec<Value>,
    ) -> std::result::Result<(i64, String), String> {
        let selector = str_at(scale, &["status", "selector"]).to_owned();
        let pods = self.target_pods(&selector)?;
        let specs = list_at(&self.obj, &["spec", "metrics"]).to_vec();
        let mut best: Option<(i64, String)> = None;
        let mut first: Option<Trouble> = None;
        let mut failed = 0;
        for spec in &specs {
            match self.one(spec, &pods, &selector, current).await {
                Ok((n, what, status)) => {
                    statuses.push(status);
                    if best.as_ref().is_none_or(|(most, _)| n > *most) {
                        best = Some((n, what));
                    }
                }
                Err(trouble) => {
                    statuses.push(json!({"type": ""}));
                    failed += 1;
                    first.get_or_insert(trouble);
                }
            }
        }
        if let Some((reason, why)) = &first {
            let enough = best.as_ref().is_some_and(|(n, _)| *n >= current);
            if !enough {
                self.condition(
                    "ScalingActive",
                    false,
                    reason,
                    format!("the HPA was unable to compute the replica count: {}", inner(why)),
                );
                return Err(format!("invalid metrics ({failed} invalid out of {}), first error is: {why}", specs.len()));
            }
        }
        let (n, what) = best.unwrap_or((current, String::new()));
        let found = format!("the HPA was able to successfully calculate a replica count from {what}");
        self.condition("ScalingActive", true, "ValidMetricFound", found);
        Ok((n, what))
    }

    fn tolerances(&self) -> Tolerances {
        let of = |side: &str| {
            let q = at(&self.obj, &["spec", "behavior", side, "tolerance"])?;
            Some(quantity::from_value(q).ok()?.as_f64())
        };
        Tolerances { down: of("scaleDown").unwrap_or(TOLERANCE), up: of("scaleUp").unwrap_or(TOLERANCE) }
    }

    /// What one metric asks for, its description and its status.
    async fn one(
        &self,
        spec: &Value,
        pods: &[Arc<Pod>],
        selector: &str,
        current: i64,
    ) -> std::result::Result<(i64, String, Value), Trouble> {
        let kind = str_at(spec, &["type"]);
        let (field, reason) = match kind {
            "Resource" => ("resource", "FailedGetResourceMetric"),
            "ContainerResource" => ("containerResource", "FailedGetContainerResourceMetric"),
            other => {
                let (reason, what) = match other {
                    "Pods" => ("FailedGetPodsMetric", "pods metric value"),
                    "Object" => ("FailedGetObjectMetric", "object metric value"),
                    "External" => ("FailedGetExternalMetric", "external metric value"),
                    _ => ("InvalidMetricSourceType", "unknown metric source type"),
                };
                let why = format!("{other} metrics are not built into this controller");
                self.warn(reason, &why);
                return Err((reason, format!("failed to get {what}: {why}")));
            }
        };
        let source = &spec[field];
        let (resource, container) = (str_at(source, &["name"]), str_at(source, &["container"]));
        let average = at(source, &["target", "averageValue"]).and_then(|q| quantity::from_value(q).ok());
        let utilization = i64_at(source, &["target", "averageUtilization"]);
        let fail = |why: String| {
            self.warn(reason, &why);
            let what = if container.is_empty() {
                format!("{resource} resource metric value")
            } else {
                format!("{container} container metric value")
            };
            (reason, format!("failed to get {what}: {why}"))
        };
        let (target, what, description) = match (average, utilization) {
            (Some(q), _) => (Target::Average(q.milli_value()), "usage", format!("{resource} resource")),
            (None, Some(n)) => {
                let of = if container.is_empty() { "resource" } else { "container resource" };
                (Target::Utilization(n), "utilization", format!("{resource} {of} utilization (percentage of request)"))
            }
            (None, None) => {
                let neither = "invalid resource metric source: neither an average utilization target nor an average value (usage) \
                               target was set";
                return Err(fail(neither.into()));
            }
        };
        let fetched = metrics::of_pods(&self.c.ctx.client, self.shared.namespace(), selector, resource, container).await;
        let computed = fetched.map_err(|e| format!("unable to get metrics for resource {resource}: {e}")).and_then(|m| {
            let (tolerances, now) = (self.tolerances(), self.c.ctx.now());
            replicas::propose(pods, m, Question { resource, container, target, current, tolerances, now })
        });
        let Proposal { replicas, utilization, average } =
            computed.map_err(|e| fail(format!("failed to get {resource} {what}: {e}")))?;
        let format = if resource == "memory" { Format::BinarySI } else { Format::DecimalSI };
        let mut now = json!({"averageValue": Quantity::from_milli(average, format).to_string()});
        if let Some(n) = utilization {
            now["averageUtilization"] = n.into();
        }
        let mut status = json!({"name": resource, "current": now});
        if !container.is_empty() {
            status["container"] = container.into();
        }
        Ok((replicas, description, json!({"type": kind, field: status})))
    }
}

/// A metric's own error without what it is wrapped in.
fn inner(why: &str) -> &str {
    why.split_once("metric value: ").map_or(why, |(_, rest)| rest)
}
