//! Approved requests to Kubernetes' own signers are signed by the cluster's authority (pkg/controller/certificates/signer).

use super::{APPROVED, DENIED, FAILED, condition, conditions, follow, has, is_issued, parse};
use crate::manager::forever;
use crate::{Context, Error, Result, synced};
use client::{Client, Object, WorkQueue};
use k8s_openapi::ByteString;
use k8s_openapi::api::certificates::v1::CertificateSigningRequest;
use pki::csr::{KUBE_APISERVER_CLIENT, KUBE_APISERVER_CLIENT_KUBELET, KUBELET_SERVING, LEGACY_UNKNOWN};
use std::sync::Arc;
use std::time::Duration;

const SIGNERS: [&str; 4] = [KUBE_APISERVER_CLIENT, KUBE_APISERVER_CLIENT_KUBELET, KUBELET_SERVING, LEGACY_UNKNOWN];
/// No certificate is shorter: it is dated back by five minutes.
const SHORTEST: Duration = Duration::from_secs(600);

pub async fn run(ctx: Context) {
    let c = &ctx.config;
    if c.signing_cert_pem.is_empty() || c.signing_key_pem.is_empty() {
        return;
    }
    let pair = pki::Pair { cert: c.signing_cert_pem.clone(), key: c.signing_key_pem.clone() };
    let authority = match pki::Authority::from_pair(pair) {
        Ok(a) => Arc::new(a),
        Err(e) => {
            tracing::error!(error = %e, "requests for certificates are not signed: --cluster-signing-cert-file");
            return;
        }
    };
    let requests = ctx.informers.of::<CertificateSigningRequest>();
    let queue = WorkQueue::new();
    follow(&requests, &queue, is_due);
    synced!(requests);
    forever(queue.run("csr-signer", 2, move |name: String| {
        let (ctx, requests, authority) = (ctx.clone(), requests.clone(), authority.clone());
        async move {
            match requests.get("", &name).filter(|r| is_due(r)) {
                Some(r) => sign(&ctx.client, &authority, ctx.config.signing_duration, &r).await,
                None => Ok(()),
            }
        }
    }))
    .await;
}

fn is_due(csr: &CertificateSigningRequest) -> bool {
    let failed = conditions(csr).iter().any(|c| c.type_ == FAILED && c.status == "True");
    has(csr, APPROVED) && !has(csr, DENIED) && !failed && !is_issued(csr) && SIGNERS.contains(&csr.spec.signer_name.as_str())
}

async fn sign(client: &Client, authority: &pki::Authority, longest: Duration, csr: &CertificateSigningRequest) -> Result {
    let request = parse(csr)?;
    let usages = csr.spec.usages.clone().unwrap_or_default();
    let mut csr = csr.clone();
    let lifetime = lifetime(csr.spec.expiration_seconds, longest);
    let status = csr.status.get_or_insert_default();
    if let Some(why) = request.refusal(&csr.spec.signer_name, &usages) {
        status.conditions.get_or_insert_default().push(condition(FAILED, "SignerValidationFailure", why));
    } else {
        let signed =
            request.sign(authority, &usages, lifetime).map_err(|e| Error::other(format!("error auto signing csr: {e}")))?;
        status.certificate = Some(ByteString(signed.into_bytes()));
    }
    match client.update_status(&csr).await {
        Err(e) if !e.is_not_found() => Err(Error::other(format!("error updating signature for csr {:?}: {e}", csr.name()))),
        _ => Ok(()),
    }
}

/// What was asked for, within the bounds.
fn lifetime(asked: Option<i32>, longest: Duration) -> Duration {
    let asked = asked.map(|s| Duration::from_secs(u64::try_from(s).unwrap_or(0)));
    asked.map_or(longest, |d| d.max(SHORTEST).min(longest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lifetimes() {
        let year = Duration::from_secs(365 * 24 * 3600);
        for (name, asked, want) in [
            ("nothing asked", None, year),
            ("too long", Some(i32::MAX), year),
            ("too short", Some(60), SHORTEST),
            ("as asked", Some(3600), Duration::from_secs(3600)),
        ] {
            assert_eq!(lifetime(asked, year), want, "{name}");
        }
    }
}
