//! How many replicas a resource metric asks for (pkg/controller/podautoscaler/replica_calculator.go).

use super::metrics::{Metrics, PodMetric};
use crate::core::pod::{phase, ready_condition};
use client::Object;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Container, Pod};
use machinery::quantity;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// --horizontal-pod-autoscaler-cpu-initialization-period.
const CPU_INITIALIZATION: SignedDuration = SignedDuration::from_secs(300);
/// --horizontal-pod-autoscaler-initial-readiness-delay.
const READINESS_DELAY: SignedDuration = SignedDuration::from_secs(30);

/// How far usage may be from its target before anything is done.
#[derive(Clone, Copy, Debug)]
pub struct Tolerances {
    pub down: f64,
    pub up: f64,
}

impl Tolerances {
    fn has(&self, ratio: f64) -> bool {
        (1.0 - self.down) <= ratio && ratio <= (1.0 + self.up)
    }
}

/// What a metric asks for, and what is shown of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Proposal {
    pub replicas: i64,
    /// Percent of requests, for a target that is one.
    pub utilization: Option<i64>,
    /// Average per pod, in thousandths.
    pub average: i64,
}

/// What a target is compared with.
#[derive(Clone, Copy, Debug)]
pub enum Target {
    /// Percent of what pods request.
    Utilization(i64),
    /// Thousandths per pod.
    Average(i64),
}

/// What is asked of a metric.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    pub resource: &'a str,
    /// Empty for whole pods.
    pub container: &'a str,
    pub target: Target,
    /// Replicas there are to be now.
    pub current: i64,
    pub tolerances: Tolerances,
    pub now: Timestamp,
}

#[derive(Default)]
struct Groups {
    ready: usize,
    unready: BTreeSet<String>,
    missing: BTreeSet<String>,
    ignored: BTreeSet<String>,
}

fn group(pods: &[Arc<Pod>], metrics: &Metrics, resource: &str, now: Timestamp) -> Groups {
    let mut g = Groups::default();
    for pod in pods {
        let name = pod.name().to_owned();
        if pod.is_terminating() || phase(pod) == "Failed" {
            g.ignored.insert(name);
        } else if phase(pod) == "Pending" {
            g.unready.insert(name);
        } else {
            match metrics.get(&name) {
                None => drop(g.missing.insert(name)),
                Some(m) if resource == "cpu" && starting(pod, m, now) => drop(g.unready.insert(name)),
                Some(_) => g.ready += 1,
            }
        }
    }
    g
}

/// A pod that starts uses more CPU, or less, than it will.
fn starting(pod: &Pod, metric: &PodMetric, now: Timestamp) -> bool {
    let started = pod.status.as_ref().and_then(|s| s.start_time.as_ref()).map(|t| t.0);
    let (Some(condition), Some(started)) = (ready_condition(pod), started) else { return true };
    let unready = condition.status == "False";
    let Some(since) = condition.last_transition_time.as_ref().map(|t| t.0) else { return unready };
    if now.duration_since(started) < CPU_INITIALIZATION {
        unready || metric.at.duration_since(since) < SignedDuration::from_secs(metric.window)
    } else {
        unready && since.duration_since(started) < READINESS_DELAY
    }
}

/// Requests by pod, in thousandths.
fn requests(pods: &[Arc<Pod>], container: &str, resource: &str) -> Result<BTreeMap<String, i64>, String> {
    let milli = |q: &k8s_openapi::apimachinery::pkg::api::resource::Quantity| {
        q.0.parse::<quantity::Quantity>().map(|q| q.milli_value()).unwrap_or(0)
    };
    let mut out = BTreeMap::new();
    for pod in pods {
        let Some(spec) = &pod.spec else { continue };
        let of_pod = spec.resources.as_ref().and_then(|r| r.requests.as_ref()).filter(|r| container.is_empty() && !r.is_empty());
        if let Some(list) = of_pod {
            let missing = || format!("missing pod-level request for {resource} in Pod {}", pod.name());
            out.insert(pod.name().to_owned(), milli(list.get(resource).ok_or_else(missing)?));
            continue;
        }
        let sidecar = |c: &&Container| c.restart_policy.as_deref() == Some("Always");
        let all = spec.containers.iter().chain(spec.init_containers.iter().flatten().filter(sidecar));
        let mut sum = 0;
        for c in all.filter(|c| container.is_empty() || c.name == container) {
            let request = c.resources.as_ref().and_then(|r| r.requests.as_ref()?.get(resource));
            let missing = || format!("missing request for {resource} in container {} of Pod {}", c.name, pod.name());
            sum += milli(request.ok_or_else(missing)?);
        }
        out.insert(pod.name().to_owned(), sum);
    }
    Ok(out)
}

/// Ratio of usage to target, utilization, average.
fn ratio(metrics: &Metrics, requests: &BTreeMap<String, i64>, target: Target) -> Result<(f64, Option<i64>, i64), String> {
    #[allow(clippy::cast_precision_loss)]
    let divide = |a: i64, b: i64| a as f64 / b as f64;
    match target {
        Target::Average(want) => {
            let total: i64 = metrics.values().map(|m| m.value).sum();
            let average = total / i64::try_from(metrics.len().max(1)).unwrap_or(i64::MAX);
            Ok((divide(average, want), None, average))
        }
        Target::Utilization(want) => {
            let (mut used, mut asked, mut count) = (0i64, 0i64, 0i64);
            for (name, m) in metrics {
                if let Some(r) = requests.get(name) {
                    used += m.value;
                    asked += r;
                    count += 1;
                }
            }
            if asked == 0 {
                return Err("no metrics returned matched known pods".into());
            }
            let percent = used.saturating_mul(100) / asked;
            Ok((divide(percent, want), Some(percent), used / count))
        }
    }
}

#[allow(clippy::cast_possible_truncation, clippy::cast_precision_loss)]
fn times(ratio: f64, pods: usize) -> i64 {
    (ratio * pods as f64).ceil() as i64
}

/// What `metrics` ask for. Pods without metrics are taken to use what keeps the change small.
pub fn propose(pods: &[Arc<Pod>], mut metrics: Metrics, question: Question<'_>) -> Result<Proposal, String> {
    let Question { resource, container, target, current, tolerances, now } = question;
    if pods.is_empty() {
        return Err("no pods returned by selector while calculating replica count".into());
    }
    let g = group(pods, &metrics, resource, now);
    metrics.retain(|name, _| !g.ignored.contains(name) && !g.unready.contains(name));
    if metrics.is_empty() {
        return Err("did not receive metrics for targeted pods (pods might be unready)".into());
    }
    let requests = match target {
        Target::Utilization(_) => requests(pods, container, resource)?,
        Target::Average(_) => BTreeMap::new(),
    };
    let (first, utilization, average) = ratio(&metrics, &requests, target)?;
    let answer = |replicas: i64| Ok(Proposal { replicas, utilization, average });
    let up_with_unready = !g.unready.is_empty() && first > 1.0;
    if !up_with_unready && g.missing.is_empty() {
        return answer(if tolerances.has(first) { current } else { times(first, g.ready) });
    }
    let assumed = |value: i64| PodMetric { at: now, window: 0, value };
    for name in &g.missing {
        if first < 1.0 {
            let full = match target {
                Target::Utilization(want) => requests.get(name).copied().unwrap_or(0) * want.max(100) / 100,
                Target::Average(want) => want,
            };
            metrics.insert(name.clone(), assumed(full));
        } else if first > 1.0 {
            metrics.insert(name.clone(), assumed(0));
        }
    }
    if up_with_unready {
        metrics.extend(g.unready.iter().map(|name| (name.clone(), assumed(0))));
    }
    let (second, _, _) = ratio(&metrics, &requests, target)?;
    let turned = (first < 1.0 && second > 1.0) || (first > 1.0 && second < 1.0);
    if tolerances.has(second) || turned {
        return answer(current);
    }
    let replicas = times(second, metrics.len());
    let turned = (second < 1.0 && replicas > current) || (second > 1.0 && replicas < current);
    answer(if turned { current } else { replicas })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn usage_becomes_replicas() {
        let now: Timestamp = "2026-01-01T01:00:00Z".parse().expect("a time");
        let pod = |name: &str, phase: &str, ready: &str| {
            let p = json!({"metadata": {"name": name}, "spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": "1"}}}]},
                "status": {"phase": phase, "startTime": "2026-01-01T00:00:00Z",
                    "conditions": [{"type": "Ready", "status": ready, "lastTransitionTime": "2026-01-01T00:00:05Z"}]}});
            Arc::new(serde_json::from_value::<Pod>(p).expect("a pod"))
        };
        let tolerances = Tolerances { down: 0.1, up: 0.1 };
        let half = Target::Utilization(50);
        for (name, pods, used, target, want) in [
            ("above", vec![("a", "Running", "True"), ("b", "Running", "True")], vec![1000, 1000], half, Ok(4)),
            ("within tolerance", vec![("a", "Running", "True"), ("b", "Running", "True")], vec![540, 500], half, Ok(2)),
            ("below", vec![("a", "Running", "True"), ("b", "Running", "True")], vec![100, 100], half, Ok(1)),
            (
                "missing counts as full when less is needed",
                vec![("a", "Running", "True"), ("b", "Running", "True")],
                vec![200],
                half,
                Ok(2),
            ),
            (
                "pending counts as idle when more is needed",
                vec![("a", "Running", "True"), ("b", "Pending", "False")],
                vec![2000],
                half,
                Ok(4),
            ),
            ("never ready", vec![("a", "Running", "False")], vec![2000], half, Err("pods might be unready")),
            ("average", vec![("a", "Running", "True")], vec![900], Target::Average(300), Ok(3)),
            ("no pods", vec![], vec![], half, Err("no pods returned by selector")),
        ] {
            let list: Vec<_> = pods.iter().map(|(n, p, r)| pod(n, p, r)).collect();
            let metrics = pods
                .iter()
                .zip(used)
                .map(|((n, _, _), value)| ((*n).to_owned(), PodMetric { at: now, window: 30, value }))
                .collect();
            let current = i64::try_from(list.len()).expect("few");
            let got = propose(&list, metrics, Question { resource: "cpu", container: "", target, current, tolerances, now })
                .map(|p| p.replicas);
            match want {
                Ok(n) => assert_eq!(got, Ok(n), "{name}"),
                Err(e) => assert!(got.clone().is_err_and(|g| g.contains(e)), "{name}: {got:?}"),
            }
        }
    }
}
