//! Every active namespace has the ServiceAccount `default` (pkg/controller/serviceaccount).

use crate::manager::forever;
use crate::{Context, Result, synced};
use client::{InformerEvent, ListOptions, Object, WorkQueue};
use k8s_openapi::api::core::v1::{Namespace, ServiceAccount};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

const NAME: &str = "default";

pub async fn run(ctx: Context) {
    let namespaces = ctx.informers.of::<Namespace>();
    let only = ListOptions { field_selector: format!("metadata.name={NAME}"), ..Default::default() };
    let accounts = ctx.informers.with::<ServiceAccount>("", only);
    let queue = WorkQueue::new();
    let q = queue.clone();
    namespaces.add_handler(move |e| {
        if let InformerEvent::Added(n) | InformerEvent::Updated { new: n, .. } = e {
            q.add(n.name().to_owned());
        }
    });
    let q = queue.clone();
    accounts.add_handler(move |e| {
        if let InformerEvent::Deleted(a) = e {
            q.add(a.namespace().to_owned());
        }
    });
    synced!(namespaces, accounts);
    forever(queue.run("serviceaccount", 1, move |namespace: String| {
        let (ctx, namespaces, accounts) = (ctx.clone(), namespaces.clone(), accounts.clone());
        async move {
            let active = namespaces.get("", &namespace).is_some_and(|n| is_active(&n));
            if !active || accounts.get(&namespace, NAME).is_some() {
                return Ok(());
            }
            create(&ctx, &namespace).await
        }
    }))
    .await;
}

/// Not on its way out.
pub fn is_active(n: &Namespace) -> bool {
    n.status.as_ref().and_then(|s| s.phase.as_deref()).unwrap_or("Active") == "Active" && !n.is_terminating()
}

async fn create(ctx: &Context, namespace: &str) -> Result {
    let account = ServiceAccount {
        metadata: ObjectMeta { name: Some(NAME.into()), namespace: Some(namespace.to_owned()), ..Default::default() },
        ..Default::default()
    };
    match ctx.client.create(namespace, &account).await {
        Err(e) if !e.is_already_exists() && !e.is_namespace_terminating() && !e.is_not_found() => Err(e.into()),
        _ => Ok(()),
    }
}
