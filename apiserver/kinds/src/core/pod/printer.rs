//! Columns of pods: readiness, a one-word status, restarts.

use crate::print::{self, AGE, NAME, col, since, wide};
use crate::strategy::{Column, PrinterRow};
use machinery::{Value, json, meta};

pub static COLUMNS: [Column; 9] = [
    NAME,
    col("Ready", "The aggregate readiness state of this pod for accepting traffic."),
    col("Status", "The aggregate status of the containers in this pod."),
    col(
        "Restarts",
        "The number of times the containers in this pod have been restarted and when the last container in this pod has restarted.",
    ),
    AGE,
    wide("IP", ""),
    wide("Node", ""),
    wide("Nominated Node", ""),
    wide("Readiness Gates", ""),
];

fn is_sidecar(c: &Value) -> bool {
    meta::str_at(c, &["restartPolicy"]) == "Always"
}

fn condition_true(pod: &Value, kind: &str) -> bool {
    let list = meta::list_at(pod, &["status", "conditions"]);
    list.iter().any(|c| meta::str_at(c, &["type"]) == kind && meta::str_at(c, &["status"]) == "True")
}

/// Restarts so far and when the last one was.
#[derive(Clone, Copy, Default)]
struct Restarts {
    count: i64,
    last: Option<i64>,
}

impl Restarts {
    fn add(&mut self, status: &Value) {
        self.count = self.count.saturating_add(meta::i64_at(status, &["restartCount"]).unwrap_or(0));
        let finished = meta::str_at(status, &["lastState", "terminated", "finishedAt"]);
        self.last = self.last.max(print::seconds(finished));
    }
}

/// `Reason`, `Signal:9` or `ExitCode:1`.
fn terminated_reason(t: &Value) -> String {
    let signal = meta::i64_at(t, &["signal"]).unwrap_or(0);
    match meta::str_at(t, &["reason"]) {
        "" if signal != 0 => format!("Signal:{signal}"),
        "" => format!("ExitCode:{}", meta::i64_at(t, &["exitCode"]).unwrap_or(0)),
        reason => reason.to_owned(),
    }
}

pub fn row(pod: &Value, now: i64) -> PrinterRow {
    let containers = meta::list_at(pod, &["spec", "containers"]);
    let init = meta::list_at(pod, &["spec", "initContainers"]);
    let phase = meta::str_at(pod, &["status", "phase"]);
    let status_reason = meta::str_at(pod, &["status", "reason"]);
    let mut reason = if status_reason.is_empty() { phase } else { status_reason }.to_owned();
    for c in meta::list_at(pod, &["status", "conditions"]) {
        if meta::str_at(c, &["type"]) == "PodScheduled" && meta::str_at(c, &["reason"]) == "SchedulingGated" {
            reason = "SchedulingGated".into();
        }
    }
    let total = containers.len() + init.iter().filter(|c| is_sidecar(c)).count();
    let mut ready = 0;
    let (mut all, mut sidecars) = (Restarts::default(), Restarts::default());
    let mut initializing = false;
    for (i, s) in meta::list_at(pod, &["status", "initContainerStatuses"]).iter().enumerate() {
        all.add(s);
        let name = meta::str_at(s, &["name"]);
        let sidecar = init.iter().rfind(|c| meta::str_at(c, &["name"]) == name).is_some_and(is_sidecar);
        if sidecar {
            sidecars.add(s);
        }
        let terminated = meta::at(s, &["state", "terminated"]);
        if terminated.is_some_and(|t| meta::i64_at(t, &["exitCode"]).unwrap_or(0) == 0) {
            continue;
        }
        if sidecar && meta::bool_at(s, &["started"]) {
            ready += usize::from(meta::bool_at(s, &["ready"]));
            continue;
        }
        let waiting = meta::str_at(s, &["state", "waiting", "reason"]);
        reason = match terminated {
            Some(t) => format!("Init:{}", terminated_reason(t)),
            None if !waiting.is_empty() && waiting != "PodInitializing" => format!("Init:{waiting}"),
            None => format!("Init:{i}/{}", init.len()),
        };
        initializing = true;
        break;
    }
    if !initializing || condition_true(pod, "Initialized") {
        all = sidecars;
        let (mut running, mut error) = (false, String::new());
        for s in meta::list_at(pod, &["status", "containerStatuses"]).iter().rev() {
            all.add(s);
            let waiting = meta::str_at(s, &["state", "waiting", "reason"]);
            if !waiting.is_empty() {
                reason = waiting.into();
            } else if let Some(t) = meta::at(s, &["state", "terminated"]) {
                reason = terminated_reason(t);
                if meta::i64_at(t, &["exitCode"]).unwrap_or(0) != 0 {
                    error.clone_from(&reason);
                }
            } else if meta::bool_at(s, &["ready"]) && meta::at(s, &["state", "running"]).is_some() {
                running = true;
                ready += 1;
            }
        }
        if reason == "Completed" {
            if running && condition_true(pod, "Ready") {
                reason = "Running".into();
            } else if !error.is_empty() {
                reason = error;
            } else if running {
                reason = "NotReady".into();
            }
        }
    }
    if meta::deletion_timestamp(pod).is_some() {
        if status_reason == "NodeLost" {
            reason = "Unknown".into();
        } else if !matches!(phase, "Failed" | "Succeeded") {
            reason = "Terminating".into();
        }
    }
    let restarts = match all.last {
        Some(t) if all.count != 0 => format!("{} ({} ago)", all.count, machinery::duration::human(now.saturating_sub(t))),
        _ => all.count.to_string(),
    };
    let ip = meta::list_at(pod, &["status", "podIPs"]).first().map_or("", |ip| meta::str_at(ip, &["ip"]));
    let cells = vec![
        print::name(pod),
        format!("{ready}/{total}").into(),
        reason.into(),
        restarts.into(),
        since(meta::str_at(pod, &["metadata", "creationTimestamp"]), now).into(),
        print::or_none(ip).into(),
        print::text_or_none(pod, &["spec", "nodeName"]),
        print::text_or_none(pod, &["status", "nominatedNodeName"]),
        readiness_gates(pod).into(),
    ];
    let done =
        |reason: &str, message: &str| vec![json!({"type": "Completed", "status": "True", "reason": reason, "message": message})];
    let conditions = match phase {
        "Succeeded" => done("Succeeded", "The pod has completed successfully."),
        "Failed" => done("Failed", "The pod failed."),
        _ => Vec::new(),
    };
    (cells, conditions)
}

fn readiness_gates(pod: &Value) -> String {
    let gates = meta::list_at(pod, &["spec", "readinessGates"]);
    if gates.is_empty() {
        return print::NONE.into();
    }
    let conditions = meta::list_at(pod, &["status", "conditions"]);
    let met = |g: &&Value| {
        let kind = meta::str_at(g, &["conditionType"]);
        conditions.iter().find(|c| meta::str_at(c, &["type"]) == kind).is_some_and(|c| meta::str_at(c, &["status"]) == "True")
    };
    format!("{}/{}", gates.iter().filter(met).count(), gates.len())
}
