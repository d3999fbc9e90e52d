//! Job conditions.

use jiff::Timestamp;
use k8s_openapi::api::batch::v1::{Job, JobCondition};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

/// The true condition of a type.
pub fn get<'a>(job: &'a Job, kind: &str) -> Option<&'a JobCondition> {
    job.status.as_ref()?.conditions.as_ref()?.iter().find(|c| c.type_ == kind && c.status == "True")
}

pub fn new(kind: &str, status: &str, reason: &str, message: &str, now: Timestamp) -> JobCondition {
    let time = Time(Timestamp::from_second(now.as_second()).unwrap_or(now));
    JobCondition {
        type_: kind.to_owned(),
        status: status.to_owned(),
        reason: Some(reason.to_owned()),
        message: Some(message.to_owned()),
        last_probe_time: Some(time.clone()),
        last_transition_time: Some(time),
    }
}

/// Sets a condition unless it is so already; a false one is not added anew. True if changed.
pub fn ensure(list: &mut Vec<JobCondition>, c: JobCondition) -> bool {
    match list.iter_mut().find(|o| o.type_ == c.type_) {
        Some(old) if old.status == c.status && old.reason == c.reason && old.message == c.message => false,
        Some(old) => {
            *old = c;
            true
        }
        None if c.status == "False" => false,
        None => {
            list.push(c);
            true
        }
    }
}

/// `Failed` with the words of a `FailureTarget`, and so on.
pub fn final_of(target: &JobCondition, kind: &str, now: Timestamp) -> JobCondition {
    new(kind, "True", target.reason.as_deref().unwrap_or(""), target.message.as_deref().unwrap_or(""), now)
}
