//! CertificateSigningRequests: which are approved without a person, how approved ones are signed, when old ones go
//! (pkg/controller/certificates).

pub mod approver;
pub mod cleaner;
pub mod serving;
pub mod signer;

use client::{Informer, InformerEvent, Object, WorkQueue};
use k8s_openapi::api::certificates::v1::{CertificateSigningRequest, CertificateSigningRequestCondition};

const APPROVED: &str = "Approved";
const DENIED: &str = "Denied";
const FAILED: &str = "Failed";

fn conditions(csr: &CertificateSigningRequest) -> &[CertificateSigningRequestCondition] {
    csr.status.as_ref().and_then(|s| s.conditions.as_deref()).unwrap_or_default()
}

fn has(csr: &CertificateSigningRequest, kind: &str) -> bool {
    conditions(csr).iter().any(|c| c.type_ == kind)
}

fn is_issued(csr: &CertificateSigningRequest) -> bool {
    csr.status.as_ref().and_then(|s| s.certificate.as_ref()).is_some_and(|c| !c.0.is_empty())
}

/// Nobody has decided on it yet.
fn is_pending(csr: &CertificateSigningRequest) -> bool {
    !is_issued(csr) && !has(csr, APPROVED) && !has(csr, DENIED)
}

fn condition(kind: &str, reason: &str, message: String) -> CertificateSigningRequestCondition {
    CertificateSigningRequestCondition {
        type_: kind.into(),
        status: "True".into(),
        reason: Some(reason.into()),
        message: Some(message),
        ..Default::default()
    }
}

/// Queues requests that have no certificate yet, as they come and change.
fn follow(
    requests: &Informer<CertificateSigningRequest>,
    queue: &WorkQueue<String>,
    wanted: fn(&CertificateSigningRequest) -> bool,
) {
    let q = queue.clone();
    requests.add_handler(move |e| {
        if let InformerEvent::Added(r) | InformerEvent::Updated { new: r, .. } = e
            && wanted(r)
        {
            q.add(r.name().to_owned());
        }
    });
}

/// The request with an approval, for the `approval` subresource.
async fn approve(client: &client::Client, csr: &CertificateSigningRequest, message: &str) -> crate::Result {
    let mut csr = csr.clone();
    let approval = condition(APPROVED, "AutoApproved", message.into());
    csr.status.get_or_insert_default().conditions.get_or_insert_default().push(approval);
    match client.update_subresource(&csr, "approval").await {
        Err(e) if !e.is_not_found() => Err(crate::Error::other(format!("error updating approval for csr: {e}"))),
        _ => Ok(()),
    }
}

fn parse(csr: &CertificateSigningRequest) -> crate::Result<pki::csr::Request> {
    pki::csr::Request::parse(&csr.spec.request.0)
        .map_err(|e| crate::Error::other(format!("unable to parse csr {:?}: {e}", csr.name())))
}
