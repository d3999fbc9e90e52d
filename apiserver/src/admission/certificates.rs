//! CertificateApproval, CertificateSigning, ClusterTrustBundleAttest and CertificateSubjectRestriction: who may approve and sign for which
//! signer. Upstream: plugin/pkg/admission/certificates.

use super::{Attributes, Lister, Operation, Plugin};
use async_trait::async_trait;
use auth::authz;
use base64::Engine;
use machinery::meta::{at, str_at};
use machinery::{Status, Value};

const GROUP: &str = "certificates.k8s.io";
const REQUESTS: &str = "certificatesigningrequests";

/// The user may do `verb` on the signer itself or on all of its domain (`example.com/*`).
async fn authorized(a: &Attributes, cx: &dyn Lister, verb: &str, signer: &str) -> bool {
    let domain = signer.split('/').next().unwrap_or("");
    for name in [signer.to_owned(), format!("{domain}/*")] {
        let ask = authz::Attributes::resource(&a.user, verb, GROUP, "signers", "", &name);
        if cx.authorizer().authorize(&ask).await.allowed() {
            return true;
        }
    }
    false
}

pub struct CertificateApproval;

#[async_trait]
impl Plugin for CertificateApproval {
    fn name(&self) -> &'static str {
        "CertificateApproval"
    }

    fn handles(&self, a: &Attributes) -> bool {
        a.is(GROUP, REQUESTS) && a.subresource == "approval" && a.operation == Operation::Update
    }

    async fn validate(&self, a: &Attributes, obj: &Value, cx: &dyn Lister) -> Result<(), Status> {
        let signer = str_at(a.old(), &["spec", "signerName"]);
        if authorized(a, cx, "approve", signer).await {
            return Ok(());
        }
        Err(a.forbid(obj, format!("user not permitted to approve requests with signerName {signer:?}")))
    }
}

pub struct CertificateSigning;

#[async_trait]
impl Plugin for CertificateSigning {
    fn name(&self) -> &'static str {
        "CertificateSigning"
    }

    fn handles(&self, a: &Attributes) -> bool {
        a.is(GROUP, REQUESTS) && a.subresource == "status" && a.operation == Operation::Update
    }

    async fn validate(&self, a: &Attributes, obj: &Value, cx: &dyn Lister) -> Result<(), Status> {
        let unchanged = |f: &str| at(a.old(), &["status", f]) == at(obj, &["status", f]);
        if unchanged("certificate") && unchanged("conditions") {
            return Ok(());
        }
        let signer = str_at(a.old(), &["spec", "signerName"]);
        if authorized(a, cx, "sign", signer).await {
            return Ok(());
        }
        Err(a.forbid(obj, format!("user not permitted to sign requests with signerName {signer:?}")))
    }
}

pub struct ClusterTrustBundleAttest;

#[async_trait]
impl Plugin for ClusterTrustBundleAttest {
    fn name(&self) -> &'static str {
        "ClusterTrustBundleAttest"
    }

    fn handles(&self, a: &Attributes) -> bool {
        a.is_main(GROUP, "clustertrustbundles") && matches!(a.operation, Operation::Create | Operation::Update)
    }

    async fn validate(&self, a: &Attributes, obj: &Value, cx: &dyn Lister) -> Result<(), Status> {
        let signer = str_at(obj, &["spec", "signerName"]);
        if signer.is_empty() || authorized(a, cx, "attest", signer).await {
            return Ok(());
        }
        Err(a.forbid(obj, format!("user not permitted to attest for signerName {signer:?}")))
    }
}

pub struct CertificateSubjectRestriction;

#[async_trait]
impl Plugin for CertificateSubjectRestriction {
    fn name(&self) -> &'static str {
        "CertificateSubjectRestriction"
    }

    fn handles(&self, a: &Attributes) -> bool {
        a.is_main(GROUP, REQUESTS) && a.operation == Operation::Create
    }

    async fn validate(&self, a: &Attributes, obj: &Value, _: &dyn Lister) -> Result<(), Status> {
        if str_at(obj, &["spec", "signerName"]) != pki::csr::KUBE_APISERVER_CLIENT {
            return Ok(());
        }
        let pem = base64::engine::general_purpose::STANDARD.decode(str_at(obj, &["spec", "request"])).unwrap_or_default();
        let request = pki::csr::Request::parse(&pem).map_err(|e| a.forbid(obj, format!("failed to parse CSR: {e}")))?;
        if request.organizations.iter().any(|o| o == auth::user::MASTERS) {
            let why = format!("use of {} signer with system:masters group is not allowed", pki::csr::KUBE_APISERVER_CLIENT);
            return Err(a.forbid(obj, why));
        }
        Ok(())
    }
}
