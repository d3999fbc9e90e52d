//! Claims of generic ephemeral volumes: made with the pod, owned by it (pkg/controller/volume/ephemeral).

use crate::manager::forever;
use crate::{Context, Result, synced};
use client::object::controller_reference;
use client::{EventType, Informer, InformerEvent, Object, Recorder, WorkQueue, reference_to};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

pub async fn run(ctx: Context) {
    let pods = ctx.informers.of::<Pod>();
    let claims = ctx.informers.of::<PersistentVolumeClaim>();
    let queue = WorkQueue::new();
    let q = queue.clone();
    pods.add_handler(move |e| {
        if let InformerEvent::Added(p) | InformerEvent::Updated { new: p, .. } = e
            && !p.is_terminating()
            && p.spec.iter().flat_map(|s| s.volumes.iter().flatten()).any(|v| v.ephemeral.is_some())
        {
            q.add(p.key());
        }
    });
    let (q, all) = (queue.clone(), pods.clone());
    claims.add_handler(move |e| {
        let InformerEvent::Deleted(c) = e else { return };
        if let Some(p) = c.controller().filter(|r| r.kind == "Pod").and_then(|r| all.get(c.namespace(), &r.name)) {
            q.add(p.key());
        }
    });
    synced!(pods, claims);
    let recorder = ctx.recorder("ephemeral_volume");
    forever(queue.run("ephemeral-volume", 1, move |key: String| {
        let (ctx, pods, claims, recorder) = (ctx.clone(), pods.clone(), claims.clone(), recorder.clone());
        async move {
            match pods.get_key(&key).filter(|p| !p.is_terminating()) {
                Some(p) => sync(&ctx, &claims, &recorder, &p).await,
                None => Ok(()),
            }
        }
    }))
    .await;
}

async fn sync(ctx: &Context, claims: &Informer<PersistentVolumeClaim>, recorder: &Recorder, p: &Pod) -> Result {
    for v in p.spec.iter().flat_map(|s| s.volumes.iter().flatten()) {
        let Some(template) = v.ephemeral.as_ref().and_then(|e| e.volume_claim_template.clone()) else { continue };
        let name = format!("{}-{}", p.name(), v.name);
        let fail = |message: String| {
            let m = format!("ephemeral volume {}: {message}", v.name);
            recorder.event(&reference_to(p), EventType::Warning, "FailedToCreate", m.clone());
            Err(crate::Error::other(m))
        };
        if let Some(c) = claims.get(p.namespace(), &name) {
            if c.controller().is_none_or(|r| r.uid != p.uid()) {
                return fail(format!("PVC {} was not created for pod {} (pod is not owner)", c.key(), p.key()));
            }
            continue;
        }
        let meta = template.metadata.unwrap_or_default();
        let claim = PersistentVolumeClaim {
            metadata: ObjectMeta {
                name: Some(name),
                namespace: p.metadata.namespace.clone(),
                labels: meta.labels,
                annotations: meta.annotations,
                owner_references: Some(vec![controller_reference(p)]),
                ..Default::default()
            },
            spec: Some(template.spec),
            status: None,
        };
        match ctx.client.create(p.namespace(), &claim).await {
            Err(e) if e.is_already_exists() || e.is_namespace_terminating() => {}
            Err(e) => return fail(format!("create PVC {}: {e}", claim.name())),
            Ok(_) => {}
        }
    }
    Ok(())
}
