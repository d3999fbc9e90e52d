//! The node's certificates by request: a first client certificate in exchange for a bootstrap token, its renewal, and the serving
//! certificate (upstream pkg/kubelet/certificate, client-go/util/certificate).

pub mod rotation;
pub(crate) mod serving;

use client::{Client, InformerEvent, Informers, ListOptions, Object};
use k8s_openapi::ByteString;
use k8s_openapi::api::certificates::v1::{CertificateSigningRequest, CertificateSigningRequestSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use pki::{Identity, Pair};
use std::time::Duration;
use tokio::sync::watch;

/// How long a request may wait for its certificate before another is made.
const PATIENCE: Duration = Duration::from_secs(15 * 60);

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{0}")]
    Client(#[from] client::Error),
    #[error("{0}")]
    Pki(#[from] pki::Error),
    #[error("certificate request {name} was {what}: {message}")]
    Refused { name: String, what: &'static str, message: String },
    #[error("certificate request {0} was neither approved nor denied in 15 minutes (`kubectl certificate approve {0}`)")]
    Undecided(String),
}

/// What a node calls itself as a user.
pub fn user(node_name: &str) -> String {
    format!("system:node:{node_name}")
}

/// A client certificate of the node, asked for under whatever identity `client` has: a bootstrap token's or the node's own.
pub async fn client_certificate(client: &Client, node_name: &str) -> Result<Pair, Error> {
    let identity = Identity::client(&user(node_name), &["system:nodes"]);
    request(client, "node-csr-", pki::csr::KUBE_APISERVER_CLIENT_KUBELET, &identity, "client auth").await
}

/// What has become of a request.
#[derive(Clone, Debug, PartialEq)]
enum Outcome {
    Waiting,
    Issued(String),
    Refused(&'static str, String),
}

fn outcome(r: &CertificateSigningRequest) -> Outcome {
    let status = r.status.as_ref();
    for c in status.and_then(|s| s.conditions.as_ref()).into_iter().flatten() {
        let message = || c.message.clone().or_else(|| c.reason.clone()).unwrap_or_default();
        match c.type_.as_str() {
            "Denied" => return Outcome::Refused("denied", message()),
            "Failed" => return Outcome::Refused("refused by the signer", message()),
            _ => {}
        }
    }
    match status.and_then(|s| s.certificate.as_ref()) {
        Some(c) if !c.0.is_empty() => Outcome::Issued(String::from_utf8_lossy(&c.0).into_owned()),
        _ => Outcome::Waiting,
    }
}

/// Makes a key and a request for it, and waits for the certificate.
async fn request(client: &Client, prefix: &str, signer: &str, identity: &Identity, usage: &str) -> Result<Pair, Error> {
    let (pem, key) = pki::csr::generate(identity)?;
    let wanted = CertificateSigningRequest {
        metadata: ObjectMeta { generate_name: Some(prefix.into()), ..Default::default() },
        spec: CertificateSigningRequestSpec {
            request: ByteString(pem.into_bytes()),
            signer_name: signer.into(),
            usages: Some(vec!["digital signature".into(), usage.into()]),
            ..Default::default()
        },
        status: None,
    };
    let made = client.create("", &wanted).await?;
    let name = made.name().to_owned();
    let informers = Informers::new(client.clone());
    let only = ListOptions { field_selector: format!("metadata.name={name}"), ..Default::default() };
    let informer = informers.with::<CertificateSigningRequest>("", only);
    let (tx, mut rx) = watch::channel(Outcome::Waiting);
    informer.add_handler(move |e| {
        tx.send_replace(match e {
            InformerEvent::Added(r) | InformerEvent::Updated { new: r, .. } => outcome(r),
            InformerEvent::Deleted(_) => Outcome::Refused("deleted", String::new()),
        });
    });
    let waited = tokio::time::timeout(PATIENCE, rx.wait_for(|o| *o != Outcome::Waiting)).await;
    let end = waited.map_or(Outcome::Waiting, |r| r.map_or(Outcome::Waiting, |o| o.clone()));
    match end {
        Outcome::Issued(cert) => Ok(Pair { cert, key }),
        Outcome::Refused(what, message) => Err(Error::Refused { name, what, message }),
        Outcome::Waiting => Err(Error::Undecided(name)),
    }
}
