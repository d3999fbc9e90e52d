//! Jobs and CronJobs.

use crate::harness::Cluster;
use client::{Clock, Object};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::batch::v1::{CronJob, Job};
use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};

const JOBS: &str = "/apis/batch/v1/namespaces/default/jobs";

fn job(name: &str, exit: &str, spec: Value) -> Value {
    let mut all = json!({"template": {"metadata": {"labels": {"exit": exit}},
        "spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]}}});
    all.as_object_mut().expect("object").extend(spec.as_object().expect("object").clone());
    json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name}, "spec": all})
}

fn has(j: &Job, kind: &str, reason: &str) -> bool {
    let all = j.status.as_ref().and_then(|s| s.conditions.clone()).unwrap_or_default();
    all.iter().any(|c| c.type_ == kind && c.status == "True" && c.reason.as_deref() == Some(reason))
}

#[tokio::test]
async fn jobs_end_as_they_should() {
    let mut c = Cluster::start().await;
    c.run_pods().await;
    for (name, exit, spec, kind, reason, succeeded, failed, indexes) in [
        ("plain", "0", json!({}), "Complete", "CompletionsReached", 1, 0, None),
        ("several", "0", json!({"completions": 5, "parallelism": 2}), "Complete", "CompletionsReached", 5, 0, None),
        (
            "indexed",
            "0",
            json!({"completions": 3, "parallelism": 3, "completionMode": "Indexed"}),
            "Complete",
            "CompletionsReached",
            3,
            0,
            Some("0-2"),
        ),
        ("failing", "1", json!({"backoffLimit": 0}), "Failed", "BackoffLimitExceeded", 0, 1, None),
        (
            "indexes fail",
            "1",
            json!({"completions": 2, "parallelism": 2, "completionMode": "Indexed", "backoffLimitPerIndex": 0}),
            "Failed",
            "FailedIndexes",
            0,
            2,
            None,
        ),
    ] {
        let id = name.replace(' ', "-");
        c.apply(JOBS, job(&id, exit, spec)).await;
        let j = c.until_one::<Job>(&id, name, |j| has(j, kind, reason)).await;
        let s = j.status.clone().expect("status");
        assert_eq!((s.succeeded.unwrap_or(0), s.failed.unwrap_or(0)), (succeeded, failed), "{name}");
        assert_eq!(s.completed_indexes.as_deref(), indexes, "{name}");
        assert_eq!(s.completion_time.is_some(), kind == "Complete", "{name}");
        c.until::<Pod>(&format!("{name}: no finalizer is left"), |l| {
            l.iter().all(|p| p.metadata.finalizers.as_ref().is_none_or(Vec::is_empty))
        })
        .await;
    }
    c.until_event("Completed", "Job completed").await;
    c.until_event("BackoffLimitExceeded", "Job has reached the specified backoff limit").await;
    c.stop().await;
}

#[tokio::test]
async fn a_suspended_job_waits_and_an_old_one_goes() {
    let mut c = Cluster::start().await;
    c.run_pods().await;
    c.apply(JOBS, job("later", "0", json!({"suspend": true, "ttlSecondsAfterFinished": 0}))).await;
    c.until_one::<Job>("later", "suspended", |j| has(j, "Suspended", "JobSuspended")).await;
    c.until::<Pod>("no pods", <[_]>::is_empty).await;
    c.patch::<Job>("later", json!({"spec": {"suspend": false}})).await;
    c.until_event("Completed", "Job completed").await;
    c.until::<Job>("deleted after its time", <[_]>::is_empty).await;
    c.until::<Pod>("with its pods", <[_]>::is_empty).await;
    c.stop().await;
}

#[tokio::test]
async fn a_cron_job_starts_what_is_due() {
    // The controllers' clock is an hour ahead: sixty starts were missed, one is made up for.
    let ahead = Timestamp::now() + SignedDuration::from_hours(1);
    let mut c = Cluster::start_at(Clock::starting_at(ahead)).await;
    c.run_pods().await;
    let template = job("", "0", json!({}))["spec"].clone();
    let cron = json!({"apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": "tick"},
        "spec": {"schedule": "* * * * *", "concurrencyPolicy": "Forbid", "jobTemplate": {"spec": template}}});
    c.apply("/apis/batch/v1/namespaces/default/cronjobs", cron).await;
    let t = c
        .until_one::<CronJob>("tick", "run once", |t| {
            let s = t.status.clone().unwrap_or_default();
            s.last_schedule_time.is_some() && s.last_successful_time.is_some() && s.active.is_none()
        })
        .await;
    let at = t.status.as_ref().and_then(|s| s.last_schedule_time.as_ref()).expect("a time").0;
    assert_eq!(at.as_second() % 60, 0);
    let jobs = c.until::<Job>("its job", |l| !l.is_empty()).await;
    assert_eq!(jobs[0].name(), format!("tick-{}", at.as_second() / 60));
    c.until_event("SawCompletedJob", "condition: Complete").await;
    c.stop().await;
}
