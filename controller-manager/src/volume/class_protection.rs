//! VolumeAttributesClasses stay while a claim or a volume names them (pkg/controller/volume/vacprotection).

use super::protection::with_finalizer;
use crate::core::error::ignore_not_found;
use crate::manager::forever;
use crate::{Context, Result, synced};
use client::{Informer, InformerEvent, ListOptions, Object, WorkQueue};
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use k8s_openapi::api::storage::v1::VolumeAttributesClass;
use std::sync::Arc;

const FINALIZER: &str = "kubernetes.io/vac-protection";

/// The classes that a claim has, had last, or is on its way to.
fn of_claim(c: &PersistentVolumeClaim) -> Vec<&str> {
    let status = c.status.as_ref();
    let names = [
        c.spec.as_ref().and_then(|s| s.volume_attributes_class_name.as_deref()),
        status.and_then(|s| s.current_volume_attributes_class_name.as_deref()),
        status.and_then(|s| s.modify_volume_status.as_ref()?.target_volume_attributes_class_name.as_deref()),
    ];
    names.into_iter().flatten().filter(|n| !n.is_empty()).collect()
}

fn of_volume(v: &PersistentVolume) -> Vec<&str> {
    v.spec.iter().filter_map(|s| s.volume_attributes_class_name.as_deref()).filter(|n| !n.is_empty()).collect()
}

/// Looks at the classes again that an object does not name any more.
fn follow<K: Object>(informer: &Informer<K>, queue: &WorkQueue<String>, classes: fn(&K) -> Vec<&str>) {
    let queue = queue.clone();
    informer.add_handler(move |e| {
        let gone: Vec<&str> = match e {
            InformerEvent::Added(_) => return,
            InformerEvent::Updated { old, new } => {
                let now = classes(new);
                classes(old).into_iter().filter(|c| !now.contains(c)).collect()
            }
            InformerEvent::Deleted(k) => classes(k),
        };
        gone.into_iter().for_each(|c| queue.add(c.to_owned()));
    });
}

pub async fn run(ctx: Context) {
    let classes = ctx.informers.of::<VolumeAttributesClass>();
    let claims = ctx.informers.of::<PersistentVolumeClaim>();
    let volumes = ctx.informers.of::<PersistentVolume>();
    let queue = WorkQueue::new();
    let q = queue.clone();
    classes.add_handler(move |e| {
        if let InformerEvent::Added(c) | InformerEvent::Updated { new: c, .. } = e {
            q.add(c.name().to_owned());
        }
    });
    follow(&claims, &queue, of_claim);
    follow(&volumes, &queue, of_volume);
    synced!(classes, claims, volumes);
    forever(queue.run("vac-protection", 1, move |name: String| {
        let (ctx, classes) = (ctx.clone(), classes.clone());
        let used = Uses { claims: claims.clone(), volumes: volumes.clone() };
        async move {
            let Some(class) = classes.get("", &name) else { return Result::Ok(()) };
            if class.is_terminating() && (used.cached(&name) || used.live(&ctx, &name).await?) {
                return Ok(());
            }
            if let Some(new) = with_finalizer(&*class, FINALIZER, !class.is_terminating()) {
                ignore_not_found(ctx.client.update(&new).await)?;
            }
            Ok(())
        }
    }))
    .await;
}

/// What may name a class.
struct Uses {
    claims: Arc<Informer<PersistentVolumeClaim>>,
    volumes: Arc<Informer<PersistentVolume>>,
}

impl Uses {
    fn cached(&self, class: &str) -> bool {
        self.volumes.list().iter().any(|v| of_volume(v).contains(&class))
            || self.claims.list().iter().any(|c| of_claim(c).contains(&class))
    }

    /// The cache may lag behind a claim made just now.
    async fn live(&self, ctx: &Context, class: &str) -> Result<bool> {
        let volumes = ctx.client.list::<PersistentVolume>("", &ListOptions::default()).await?;
        let claims = ctx.client.list::<PersistentVolumeClaim>("", &ListOptions::default()).await?;
        Ok(volumes.items.iter().any(|v| of_volume(v).contains(&class))
            || claims.items.iter().any(|c| of_claim(c).contains(&class)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn classes_of_a_claim() {
        for (name, claim, want) in [
            ("none", json!({"spec": {}}), &[][..]),
            ("wanted", json!({"spec": {"volumeAttributesClassName": "a"}}), &["a"]),
            (
                "changing",
                json!({"spec": {"volumeAttributesClassName": "c"}, "status": {"currentVolumeAttributesClassName": "a",
                    "modifyVolumeStatus": {"status": "InProgress", "targetVolumeAttributesClassName": "b"}}}),
                &["c", "a", "b"],
            ),
        ] {
            let claim = serde_json::from_value(claim).expect("claim");
            assert_eq!(of_claim(&claim), want, "{name}");
        }
    }
}
