//! A definition goes when its objects are gone: they are deleted, with their finalizers respected, and then the definition's own
//! finalizer is removed. Upstream: apiextensions-apiserver/pkg/controller/finalizer.

use super::controller::{GROUP, RESOURCE};
use crate::context::RequestCx;
use crate::http::{Query, RequestInfo};
use crate::registry::delete::delete_one;
use crate::registry::options::DeleteOptions;
use crate::resources::Entry;
use crate::server::Inner;
use auth::UserInfo;
use extensions::definition;
use http::{HeaderMap, Method};
use machinery::{Status, Value, meta};
use std::sync::Arc;
use std::time::Duration;
use storage::{ListOptions, Preconditions, Update, WatchOptions};

/// Between attempts after a failure.
const RETRY: Duration = Duration::from_secs(1);

/// Sees a definition out. Ends when it is gone, or no longer this one.
pub async fn run(server: Arc<Inner>, name: String, uid: String, entry: Option<Arc<Entry>>) {
    loop {
        let done = async {
            if let Some(e) = &entry {
                condition(
                    &server,
                    &name,
                    &uid,
                    "True",
                    "InstanceDeletionInProgress",
                    "CustomResource deletion is in progress",
                    false,
                )
                .await?;
                empty(&server, e).await?;
            }
            condition(&server, &name, &uid, "False", "InstanceDeletionCompleted", "removed all instances", true).await
        };
        let outcome = tokio::select! {
            d = done => d,
            () = server.shutdown.cancelled() => return,
        };
        match outcome {
            Ok(()) => return,
            Err(s) if s.is_not_found() => return,
            Err(s) => tracing::warn!(crd = name, error = %s, "deleting the objects of a definition"),
        }
        tokio::time::sleep(RETRY).await;
    }
}

/// Deletes all objects and waits until they are gone.
async fn empty(server: &Arc<Inner>, entry: &Arc<Entry>) -> Result<(), Status> {
    let Some(storage) = &entry.storage else { return Ok(()) };
    let user = UserInfo::new("system:apiserver", &["system:masters", "system:authenticated"]);
    let cx = RequestCx::new(Method::DELETE, RequestInfo::default(), Query::parse(""), HeaderMap::new(), user);
    let options = DeleteOptions::parse(&Query::parse(""), &Value::Null)?;
    loop {
        let list = storage.list(ListOptions::default()).await?;
        if list.items.is_empty() {
            return Ok(());
        }
        for o in list.items.iter().filter(|o| !o.deleting()) {
            match delete_one(server, &cx, entry, o.namespace(), o.name(), &options).await {
                Ok(_) => {}
                Err(s) if s.is_not_found() || s.is_conflict() => {}
                Err(s) => return Err(s),
            }
        }
        if storage.list(ListOptions::default()).await?.items.is_empty() {
            return Ok(());
        }
        // Finalizers hold the rest: any change may be the last one's end.
        let version = list.revision.to_string();
        let mut watcher = storage.watch(WatchOptions { resource_version: version, ..WatchOptions::default() }).await?;
        if watcher.next().await.is_none() {
            tokio::time::sleep(RETRY).await;
        }
    }
}

/// Sets the condition Terminating; with `finish`, removes the finalizer, and with the last one the definition.
async fn condition(
    server: &Arc<Inner>,
    name: &str,
    uid: &str,
    status: &str,
    reason: &str,
    message: &str,
    finish: bool,
) -> Result<(), Status> {
    let storage = server.entry(GROUP, RESOURCE)?.storage.clone().ok_or_else(|| Status::internal("no storage"))?;
    let now = crate::registry::metadata::now();
    let preconditions = Preconditions { uid: Some(uid.to_owned()), ..Preconditions::default() };
    let round = |old: Option<Value>| {
        let now = now.clone();
        async move {
            let mut crd = old.unwrap_or_default();
            definition::set_condition(&mut crd, "Terminating", status, reason, message, &now);
            if finish {
                let left: Vec<Value> = meta::finalizers(&crd).iter().filter(|f| *f != definition::FINALIZER).cloned().collect();
                if left.is_empty() {
                    meta::remove(&mut crd, &["metadata", "finalizers"]);
                } else {
                    meta::set(&mut crd, &["metadata", "finalizers"], left.into());
                }
            }
            Ok(Update { value: crd, ttl: None })
        }
    };
    let stored = match storage.guaranteed_update("", name, &preconditions, false, round).await {
        Ok(o) => o,
        // Another one of its name is there now.
        Err(s) if s.is_conflict() => return Ok(()),
        Err(s) => return Err(s),
    };
    if finish && meta::finalizers(&stored.value()).is_empty() {
        match storage.delete("", name, &preconditions, |_| Ok(())).await {
            Ok(_) => {}
            Err(s) if s.is_not_found() || s.is_conflict() => {}
            Err(s) => return Err(s),
        }
    }
    Ok(())
}
