//! A joined machine's identity: by the bootstrap token the first time, by its own certificate from then on.

use crate::layout::Layout;
use crate::settings::Settings;
use client::{Client, Clock, HttpsTransport, Replaceable};
use kubelet::certificates::{client_certificate, rotation};
use pki::Pair;
use pki::kubeconfig::Kubeconfig;
use std::sync::Arc;

/// What the machine is to the cluster.
pub struct Membership {
    pub client: Client,
    transport: Arc<Replaceable>,
    ca: String,
    pair: Pair,
}

fn transport(server: &str, ca: &str, pair: &Pair) -> Result<Arc<HttpsTransport>, String> {
    let tls = pki::tls::client_config(ca, Some(pair)).map_err(|e| e.to_string())?;
    HttpsTransport::with_tls(server, tls).map(Arc::new).map_err(|e| e.to_string())
}

/// The certificate in the node's kubeconfig, if it is of this node and has not ended.
fn stored(layout: &Layout, settings: &Settings) -> Option<Pair> {
    let config = client::kubeconfig::load(&layout.node_kubeconfig()).ok()?;
    let text = |pem: Option<Vec<u8>>| String::from_utf8(pem?).ok();
    let pair = Pair { cert: text(config.client_cert_pem)?, key: text(config.client_key_pem)? };
    let identity = pki::Identity::client(&kubelet::certificates::user(&settings.node_name), &["system:nodes"]);
    let good = rotation::is_valid(&pair.cert, Clock::System.now()) && pair.is_for(&identity).unwrap_or(false);
    good.then_some(pair)
}

fn write(layout: &Layout, server: &str, ca: &str, pair: &Pair) -> Result<(), String> {
    Kubeconfig::new("skiff", server, ca, pair).write(&layout.node_kubeconfig()).map_err(|e| e.to_string())
}

/// Takes up the identity of an earlier run, or asks for one.
pub async fn enroll(layout: &Layout, settings: &Settings, server: &str) -> Result<Membership, String> {
    let ca = pki::files::read(&layout.pki().join("ca.crt")).map_err(|e| e.to_string())?;
    let pair = match stored(layout, settings) {
        Some(p) => p,
        None => {
            let bootstrap = layout.bootstrap_kubeconfig();
            let client = client::kubeconfig::client(&bootstrap)
                .map_err(|e| format!("this node has no valid certificate, and no token to get one: {e}; join again"))?;
            let pair = client_certificate(&client.with_user_agent("kubelet/v1.36.3"), &settings.node_name).await;
            let pair = pair.map_err(|e| format!("asking for the node's certificate: {e}"))?;
            write(layout, server, &ca, &pair)?;
            pair
        }
    };
    // It has served its purpose, and is a secret.
    let _ = std::fs::remove_file(layout.bootstrap_kubeconfig());
    let transport = Arc::new(Replaceable::new(transport(server, &ca, &pair)?));
    Ok(Membership { client: Client::new(transport.clone()), transport, ca, pair })
}

impl Membership {
    /// Renews the certificate in time, for as long as it is polled.
    pub async fn keep(self, layout: Layout, settings: Settings, server: String) {
        let Self { client, transport: current, ca, pair } = self;
        rotation::renew_client(client, settings.node_name, pair, Clock::System, move |new| {
            write(&layout, &server, &ca, new)?;
            current.replace(transport(&server, &ca, new)?);
            Ok(())
        })
        .await;
    }
}
