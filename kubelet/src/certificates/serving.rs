//! The serving certificate by request (`serverTLSBootstrap`): for the addresses that the Node object reports, kept on disk, renewed in
//! time and when addresses change. Until the first one is issued, connections to the node's port fail.

use super::rotation::{due, is_valid, sleep_until};
use super::{Error, request, user};
use crate::context::Context;
use client::InformerEvent;
use k8s_openapi::api::core::v1::Node;
use pki::tls::ServerCertificate;
use pki::{Identity, Pair, files};
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// Names and addresses that the certificate is for.
#[derive(Clone, Debug, Default, PartialEq)]
struct Names {
    dns: Vec<String>,
    ips: Vec<IpAddr>,
}

impl Names {
    fn of(node: &Node) -> Self {
        let mut names = Self::default();
        for a in node.status.iter().flat_map(|s| s.addresses.iter().flatten()) {
            match (a.type_.as_str(), a.address.parse()) {
                ("InternalIP" | "ExternalIP", Ok(ip)) => names.ips.push(ip),
                ("Hostname" | "InternalDNS" | "ExternalDNS", Err(_)) => names.dns.push(a.address.clone()),
                _ => {}
            }
        }
        names.dns.sort();
        names.dns.dedup();
        names.ips.sort();
        names.ips.dedup();
        names
    }
    fn is_empty(&self) -> bool {
        self.dns.is_empty() && self.ips.is_empty()
    }
    fn identity(&self, node_name: &str) -> Identity {
        Identity::server(&user(node_name), &self.dns, &self.ips).with_organization("system:nodes")
    }
}

/// Certificate and key in one file, as upstream names it.
fn path(ctx: &Context) -> PathBuf {
    ctx.config.root_dir.join("pki/kubelet-server-current.pem")
}

fn stored(ctx: &Context, names: &Names) -> Option<Pair> {
    let text = files::read_if_present(&path(ctx)).ok().flatten()?;
    let pair = Pair { cert: text.clone(), key: text };
    let identity = names.identity(&ctx.config.node_name);
    (is_valid(&pair.cert, ctx.clock.now()) && pair.is_for(&identity).unwrap_or(false)).then_some(pair)
}

fn store(ctx: &Context, pair: &Pair) -> Result<(), Error> {
    let path = path(ctx);
    if let Some(dir) = path.parent() {
        files::ensure_dir(dir)?;
    }
    Ok(files::write_atomic(&path, format!("{}{}", pair.cert, pair.key).as_bytes(), files::PRIVATE)?)
}

/// Keeps `certificate` current; says so on `ready` once there is one.
pub async fn run(ctx: Arc<Context>, certificate: Arc<ServerCertificate>, ready: watch::Sender<bool>) {
    let (tx, mut names) = watch::channel(Names::default());
    ctx.node.add_handler(move |e| {
        if let InformerEvent::Added(n) | InformerEvent::Updated { new: n, .. } = e {
            let new = Names::of(n);
            tx.send_if_modified(|old| {
                let changed = *old != new && !new.is_empty();
                if changed {
                    *old = new;
                }
                changed
            });
        }
    });
    let mut retry = client::retry::Backoff::new(Duration::from_secs(1), Duration::from_secs(300));
    let mut renew = false;
    loop {
        let wanted = match names.wait_for(|n| !n.is_empty()).await {
            Ok(n) => n.clone(),
            Err(_) => return,
        };
        match obtain(&ctx, &certificate, &wanted, renew).await {
            Ok(pair) => {
                ready.send_replace(true);
                retry.reset();
                let at = due(&pair.cert).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
                tokio::select! {
                    () = sleep_until(ctx.clock, at) => renew = true,
                    changed = names.changed() => {
                        renew = false;
                        if changed.is_err() {
                            return;
                        }
                    }
                }
            }
            Err(e) => {
                tracing::warn!(error = %e, "no serving certificate");
                tokio::time::sleep(retry.step()).await;
            }
        }
    }
}

/// The stored certificate if it fits, or a new one; in use when this returns.
async fn obtain(ctx: &Context, certificate: &ServerCertificate, names: &Names, renew: bool) -> Result<Pair, Error> {
    if let Some(pair) = stored(ctx, names).filter(|_| !renew) {
        certificate.set(&pair)?;
        return Ok(pair);
    }
    let identity = names.identity(&ctx.config.node_name);
    let pair = request(&ctx.client, "csr-", pki::csr::KUBELET_SERVING, &identity, "server auth").await?;
    certificate.set(&pair)?;
    store(ctx, &pair)?;
    tracing::info!("new serving certificate");
    Ok(pair)
}
