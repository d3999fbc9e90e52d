//! Every active namespace has the ConfigMap `kube-root-ca.crt` (pkg/controller/certificates/rootcacertpublisher).

use crate::manager::forever;
use crate::serviceaccount::is_active;
use crate::{Context, Result, synced};
use client::{Informer, InformerEvent, ListOptions, Object, WorkQueue};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use std::collections::BTreeMap;
use std::sync::Arc;

const NAME: &str = "kube-root-ca.crt";
const DESCRIPTION: (&str, &str) = (
    "kubernetes.io/description",
    "Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints such as the internal \
     service IP or kubernetes.default.svc. No other usage is guaranteed across distributions of Kubernetes clusters.",
);

pub async fn run(ctx: Context) {
    if ctx.config.root_ca_pem.is_empty() {
        return;
    }
    let namespaces = ctx.informers.of::<Namespace>();
    let only = ListOptions { field_selector: format!("metadata.name={NAME}"), ..Default::default() };
    let maps = ctx.informers.with::<ConfigMap>("", only);
    let queue = WorkQueue::new();
    let q = queue.clone();
    namespaces.add_handler(move |e| {
        if let InformerEvent::Added(n) | InformerEvent::Updated { new: n, .. } = e {
            q.add(n.name().to_owned());
        }
    });
    let q = queue.clone();
    maps.add_handler(move |e| {
        if let InformerEvent::Deleted(m) | InformerEvent::Updated { new: m, .. } = e {
            q.add(m.namespace().to_owned());
        }
    });
    synced!(namespaces, maps);
    forever(queue.run("root-ca-certificate-publisher", 1, move |namespace: String| {
        let (ctx, namespaces, maps) = (ctx.clone(), namespaces.clone(), maps.clone());
        async move {
            if namespaces.get("", &namespace).is_some_and(|n| is_active(&n)) {
                publish(&ctx, &maps, &namespace).await
            } else {
                Ok(())
            }
        }
    }))
    .await;
}

async fn publish(ctx: &Context, maps: &Arc<Informer<ConfigMap>>, namespace: &str) -> Result {
    let data = BTreeMap::from([("ca.crt".to_owned(), ctx.config.root_ca_pem.clone())]);
    let describe = |m: &mut ObjectMeta| {
        m.annotations.get_or_insert_default().insert(DESCRIPTION.0.into(), DESCRIPTION.1.into());
    };
    let result = match maps.get(namespace, NAME) {
        Some(m) if m.data.as_ref() == Some(&data) && m.annotation(DESCRIPTION.0) == Some(DESCRIPTION.1) => return Ok(()),
        Some(m) => {
            let mut m = ConfigMap::clone(&m);
            m.data = Some(data);
            describe(&mut m.metadata);
            ctx.client.update(&m).await
        }
        None => {
            let mut metadata =
                ObjectMeta { name: Some(NAME.into()), namespace: Some(namespace.to_owned()), ..Default::default() };
            describe(&mut metadata);
            ctx.client.create(namespace, &ConfigMap { metadata, data: Some(data), ..Default::default() }).await
        }
    };
    match result {
        Err(e) if !e.is_already_exists() && !e.is_namespace_terminating() && !e.is_not_found() => Err(e.into()),
        _ => Ok(()),
    }
}
