//! Requests that are over go: an hour after the decision, a day after nobody decided, or with their certificate's end
//! (pkg/controller/certificates/cleaner). Each is looked at when it is due, not on a timer.

use super::{APPROVED, DENIED, FAILED, conditions, is_issued};
use crate::core::error::ignore_not_found;
use crate::manager::forever;
use crate::{Context, Result, synced};
use client::{DeleteOptions, InformerEvent, Object, WorkQueue};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::certificates::v1::CertificateSigningRequest;
use std::time::Duration;

const DECIDED: SignedDuration = SignedDuration::from_hours(1);
const UNDECIDED: SignedDuration = SignedDuration::from_hours(24);

pub async fn run(ctx: Context) {
    let requests = ctx.informers.of::<CertificateSigningRequest>();
    let queue = WorkQueue::new();
    let q = queue.clone();
    requests.add_handler(move |e| {
        if let InformerEvent::Added(r) | InformerEvent::Updated { new: r, .. } = e {
            q.add(r.name().to_owned());
        }
    });
    synced!(requests);
    let again = queue.clone();
    forever(queue.run("csr-cleaner", 1, move |name: String| {
        let (ctx, requests, again) = (ctx.clone(), requests.clone(), again.clone());
        async move {
            let Some(csr) = requests.get("", &name) else { return Result::Ok(()) };
            let Some(end) = end(&csr) else { return Ok(()) };
            let left = end.duration_since(ctx.now());
            if left.is_positive() {
                again.add_after(name, Duration::try_from(left).unwrap_or_default());
                return Ok(());
            }
            let options = DeleteOptions { uid: csr.metadata.uid.clone(), ..Default::default() };
            Ok(ignore_not_found(ctx.client.delete::<CertificateSigningRequest>("", &name, &options).await)?)
        }
    }))
    .await;
}

/// When the request is to go.
fn end(csr: &CertificateSigningRequest) -> Option<Timestamp> {
    let issued = is_issued(csr);
    let mut ends: Vec<Timestamp> = Vec::new();
    if conditions(csr).is_empty() {
        ends.extend(csr.metadata.creation_timestamp.as_ref().and_then(|t| t.0.checked_add(UNDECIDED).ok()));
    }
    for c in conditions(csr) {
        let patience = match c.type_.as_str() {
            APPROVED if !issued => UNDECIDED,
            APPROVED | DENIED | FAILED => DECIDED,
            _ => continue,
        };
        ends.extend(c.last_update_time.as_ref().and_then(|t| t.0.checked_add(patience).ok()));
        if c.type_ == APPROVED
            && let Some(cert) = csr.status.as_ref().and_then(|s| s.certificate.as_ref())
            && let Ok(seconds) = pki::authority::not_after(&String::from_utf8_lossy(&cert.0))
        {
            ends.extend(Timestamp::from_second(seconds).ok());
        }
    }
    ends.into_iter().min()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn ends() {
        let at = "2024-01-01T00:00:00Z";
        let hours = |h: i64| Some(at.parse::<Timestamp>().expect("a time") + SignedDuration::from_hours(h));
        let decided = |kind: &str| json!({"conditions": [{"type": kind, "status": "True", "lastUpdateTime": at}]});
        let mut issued = decided("Approved");
        issued["certificate"] = "eA==".into();
        for (name, status, want) in [
            ("pending", json!({}), hours(24)),
            ("approved, not signed", decided("Approved"), hours(24)),
            ("issued", issued, hours(1)),
            ("denied", decided("Denied"), hours(1)),
            ("failed", decided("Failed"), hours(1)),
            ("somebody's own condition", decided("Other"), None),
        ] {
            let csr = json!({"metadata": {"name": "r", "creationTimestamp": at}, "spec": {"request": "", "signerName": "x/y"}, "status": status});
            let csr: CertificateSigningRequest = serde_json::from_value(csr).expect("a request");
            assert_eq!(end(&csr), want, "{name}");
        }
    }
}
