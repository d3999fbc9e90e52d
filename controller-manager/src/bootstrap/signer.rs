//! Signs the ConfigMap `cluster-info` in kube-public with every token that may be used for it, so that who holds a token can trust
//! what anybody can read.

use super::{NAMESPACE, expiration, text, tokens};
use crate::manager::forever;
use crate::{Context, Error, Result, synced};
use client::{InformerEvent, ListOptions, Object, WorkQueue};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use pki::bootstrap::Token;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

const PUBLIC: &str = "kube-public";
const NAME: &str = "cluster-info";
const CONTENT: &str = "kubeconfig";
const SIGNATURE: &str = "jws-kubeconfig-";

pub async fn run(ctx: Context) {
    let secrets = tokens(&ctx.informers);
    let only = ListOptions { field_selector: format!("metadata.name={NAME}"), ..Default::default() };
    let maps = ctx.informers.with::<ConfigMap>(PUBLIC, only);
    let queue = WorkQueue::new();
    let q = queue.clone();
    maps.add_handler(move |e| {
        if let InformerEvent::Added(_) | InformerEvent::Updated { .. } = e {
            q.add(());
        }
    });
    let q = queue.clone();
    secrets.add_handler(move |_| q.add(()));
    synced!(secrets, maps);
    let again = queue.clone();
    forever(queue.run("bootstrap-signer", 1, move |()| {
        let (ctx, secrets, maps, again) = (ctx.clone(), secrets.clone(), maps.clone(), again.clone());
        async move {
            let Some(map) = maps.get(PUBLIC, NAME) else { return Result::Ok(()) };
            let secrets = secrets.list();
            let now = ctx.now();
            // A token that ends while nobody changes anything must lose its signature, too.
            if let Some(next) = secrets.iter().filter_map(|s| expiration(s).ok().flatten()).filter(|t| *t > now).min() {
                again.add_after((), Duration::try_from(next.duration_since(now)).unwrap_or_default());
            }
            match signed(&map, &secrets, now)? {
                Some(data) => {
                    let mut map = ConfigMap::clone(&map);
                    map.data = Some(data);
                    match ctx.client.update(&map).await {
                        // Whoever changed it wakes us again.
                        Err(e) if !e.is_conflict() && !e.is_not_found() => Err(e.into()),
                        _ => Ok(()),
                    }
                }
                None => Ok(()),
            }
        }
    }))
    .await;
}

/// The token that a secret holds, if it may sign.
fn signing_token(s: &Secret, now: Timestamp) -> Option<Token> {
    let token = Token { id: text(s, "token-id"), secret: text(s, "token-secret") };
    let named = s.namespace() == NAMESPACE && s.name() == format!("bootstrap-token-{}", token.id);
    let alive = expiration(s).is_ok_and(|t| t.is_none_or(|t| t > now));
    (named && alive && !token.id.is_empty() && !token.secret.is_empty() && text(s, "usage-bootstrap-signing") == "true")
        .then_some(token)
}

/// The map's data with the signatures as they should be; `None` where they are.
fn signed(map: &ConfigMap, secrets: &[Arc<Secret>], now: Timestamp) -> Result<Option<BTreeMap<String, String>>> {
    let old = map.data.clone().unwrap_or_default();
    let Some(content) = old.get(CONTENT) else { return Ok(None) };
    let mut new = old.clone();
    new.retain(|k, _| !k.starts_with(SIGNATURE));
    for token in secrets.iter().filter_map(|s| signing_token(s, now)) {
        let signature = token.sign(content).map_err(|e| Error::other(format!("cannot sign {NAME}: {e}")))?;
        new.insert(format!("{SIGNATURE}{}", token.id), signature);
    }
    Ok((new != old).then_some(new))
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::ByteString;

    #[test]
    fn signatures() {
        let now: Timestamp = "2024-01-01T00:00:00Z".parse().expect("a time");
        let secret = |id: &str, extra: &[(&str, &str)]| {
            let mut data =
                BTreeMap::from([("token-id", id), ("token-secret", "0123456789abcdef"), ("usage-bootstrap-signing", "true")]);
            data.extend(extra.iter().copied());
            let mut s = Secret::default();
            s.metadata.name = Some(format!("bootstrap-token-{id}"));
            s.metadata.namespace = Some(NAMESPACE.into());
            s.data = Some(data.into_iter().map(|(k, v)| (k.to_owned(), ByteString(v.into()))).collect());
            Arc::new(s)
        };
        let map = |keys: &[&str]| {
            let data = keys.iter().map(|k| ((*k).to_owned(), "x".to_owned())).collect();
            ConfigMap { data: Some(data), ..Default::default() }
        };
        for (name, keys, secrets, want) in [
            ("no content", &["other"][..], vec![secret("aaaaaa", &[])], None),
            ("no tokens", &["kubeconfig"], vec![], None),
            ("one", &["kubeconfig"], vec![secret("aaaaaa", &[])], Some(vec!["jws-kubeconfig-aaaaaa", "kubeconfig"])),
            ("stale", &["jws-kubeconfig-bbbbbb", "kubeconfig", "z"], vec![], Some(vec!["kubeconfig", "z"])),
            ("not for signing", &["kubeconfig"], vec![secret("aaaaaa", &[("usage-bootstrap-signing", "false")])], None),
            ("expired", &["kubeconfig"], vec![secret("aaaaaa", &[("expiration", "2023-12-31T00:00:00Z")])], None),
            ("no time", &["kubeconfig"], vec![secret("aaaaaa", &[("expiration", "soon")])], None),
        ] {
            let got = signed(&map(keys), &secrets, now).expect("signs");
            let got = got.map(|d| d.into_keys().collect::<Vec<_>>());
            assert_eq!(got, want.map(|w| w.into_iter().map(str::to_owned).collect()), "{name}");
        }
    }
}
