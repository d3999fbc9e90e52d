//! `skiff token`: the tokens by which machines join. They are kubeadm's: Secrets of type bootstrap.kubernetes.io/token.

use crate::cli::{Instance, TokenCreate, TokenDelete, TokenList};
use crate::layout::Layout;
use crate::settings::Settings;
use client::k8s_openapi::api::core::v1::{ConfigMap, Secret};
use client::{Client, DeleteOptions, InformerEvent, Informers, ListOptions};
use jiff::{SignedDuration, Timestamp};
use machinery::json;
use pki::bootstrap::{Invitation, Token};
use std::io::IsTerminal;
use std::time::Duration;

const SECRETS: &str = "/api/v1/namespaces/kube-system/secrets";
const TYPE: &str = "bootstrap.kubernetes.io/token";
/// The group that kubeadm's permissions are for.
const GROUP: &str = "system:bootstrappers:kubeadm:default-node-token";

/// The cluster that runs here, as its administrator.
fn cluster(instance: &Instance) -> Result<(Layout, Settings, Client), String> {
    let layout = instance.layout()?;
    let settings =
        Settings::load(&layout)?.ok_or_else(|| format!("no cluster in {}: `skiff up` makes one", layout.data.display()))?;
    if let Some(server) = &settings.server {
        return Err(format!("this machine is a node of {server}: tokens are made where the control plane runs"));
    }
    let client = client::kubeconfig::client(&layout.admin_kubeconfig()).map_err(|e| e.to_string())?;
    Ok((layout, settings, client))
}

fn run<T>(work: impl Future<Output = Result<T, String>>) -> Result<T, String> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|e| e.to_string())?.block_on(work)
}

pub fn create(args: &TokenCreate) -> Result<(), String> {
    let (layout, settings, _) = cluster(&args.instance)?;
    let ttl =
        kubelet::config::parse_duration(&args.ttl).ok_or_else(|| format!("--ttl {}: no duration like 30m or 24h", args.ttl))?;
    let invitation = invite(&layout, &settings, ttl, &args.description)?;
    println!("{invitation}");
    if std::io::stdout().is_terminal() {
        eprintln!("\nOn the other machine: sudo skiff join {invitation}");
    }
    Ok(())
}

/// A new token with what a machine must know beside it.
pub fn invite(layout: &Layout, settings: &Settings, ttl: Duration, description: &str) -> Result<Invitation, String> {
    let client = client::kubeconfig::client(&layout.admin_kubeconfig()).map_err(|e| e.to_string())?;
    let ca = pki::files::read(&layout.pki().join("ca.crt")).map_err(|e| e.to_string())?;
    let invitation = Invitation {
        token: Token::generate(),
        server: settings.server_url()?,
        pin: pki::bootstrap::pin(&ca).map_err(|e| e.to_string())?,
    };
    run(make(&client, &invitation.token, ttl, description))?;
    Ok(invitation)
}

/// Makes the token, and waits until it vouches for the cluster's description: from then on it works.
async fn make(client: &Client, token: &Token, ttl: Duration, description: &str) -> Result<(), String> {
    let mut data = json!({
        "token-id": token.id, "token-secret": token.secret, "usage-bootstrap-authentication": "true",
        "usage-bootstrap-signing": "true", "auth-extra-groups": GROUP,
    });
    if !ttl.is_zero() {
        let end = Timestamp::now() + SignedDuration::try_from(ttl).map_err(|e| format!("--ttl: {e}"))?;
        data["expiration"] = Timestamp::from_second(end.as_second()).unwrap_or(end).to_string().into();
    }
    if !description.is_empty() {
        data["description"] = description.into();
    }
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "type": TYPE,
        "metadata": {"name": format!("bootstrap-token-{}", token.id)}, "stringData": data});
    client.post_path(SECRETS, &secret).await.map_err(|e| format!("making a token: {e}"))?;
    let informers = Informers::new(client.clone());
    let only = ListOptions { field_selector: "metadata.name=cluster-info".into(), ..Default::default() };
    let info = informers.with::<ConfigMap>("kube-public", only);
    let (tx, mut rx) = tokio::sync::watch::channel(false);
    let key = format!("jws-kubeconfig-{}", token.id);
    info.add_handler(move |e| {
        if let InformerEvent::Added(m) | InformerEvent::Updated { new: m, .. } = e
            && m.data.as_ref().is_some_and(|d| d.contains_key(&key))
        {
            tx.send_replace(true);
        }
    });
    match tokio::time::timeout(Duration::from_secs(30), rx.wait_for(|signed| *signed)).await {
        Ok(Ok(_)) => Ok(()),
        _ => Err("the token was made, but nobody signed the ConfigMap kube-public/cluster-info with it; do the controllers run?"
            .into()),
    }
}

fn text(s: &Secret, key: &str) -> String {
    s.data.as_ref().and_then(|d| d.get(key)).map(|v| String::from_utf8_lossy(&v.0).into_owned()).unwrap_or_default()
}

pub fn list(args: &TokenList) -> Result<(), String> {
    let (_, _, client) = cluster(&args.instance)?;
    let only = ListOptions { field_selector: format!("type={TYPE}"), ..Default::default() };
    let found = run(async { client.list::<Secret>("kube-system", &only).await.map_err(|e| e.to_string()) })?;
    println!("{:<8} {:<21} DESCRIPTION", "ID", "EXPIRES");
    for s in found.items {
        let expires = Some(text(&s, "expiration")).filter(|t| !t.is_empty()).unwrap_or_else(|| "never".into());
        println!("{:<8} {expires:<21} {}", text(&s, "token-id"), text(&s, "description"));
    }
    Ok(())
}

pub fn delete(args: &TokenDelete) -> Result<(), String> {
    let (_, _, client) = cluster(&args.instance)?;
    run(async {
        for t in &args.tokens {
            let id = t.split('.').next().unwrap_or_default();
            let deleted =
                client.delete::<Secret>("kube-system", &format!("bootstrap-token-{id}"), &DeleteOptions::default()).await;
            match deleted {
                Err(e) if e.is_not_found() => return Err(format!("there is no token {id}")),
                other => other.map_err(|e| format!("deleting token {id}: {e}"))?,
            }
            println!("token {id} deleted");
        }
        Ok(())
    })
}
