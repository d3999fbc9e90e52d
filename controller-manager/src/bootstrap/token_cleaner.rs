//! Deletes bootstrap tokens when they expire.

use super::{expiration, tokens};
use crate::manager::forever;
use crate::{Context, Result, synced};
use client::{DeleteOptions, InformerEvent, Object, WorkQueue};
use k8s_openapi::api::core::v1::Secret;
use std::time::Duration;

pub async fn run(ctx: Context) {
    let secrets = tokens(&ctx.informers);
    let queue = WorkQueue::new();
    let q = queue.clone();
    secrets.add_handler(move |e| {
        if let InformerEvent::Added(s) | InformerEvent::Updated { new: s, .. } = e {
            q.add(s.key());
        }
    });
    synced!(secrets);
    let again = queue.clone();
    forever(queue.run("token-cleaner", 1, move |key: String| {
        let (ctx, secrets, again) = (ctx.clone(), secrets.clone(), again.clone());
        async move {
            let Some(s) = secrets.get_key(&key) else { return Result::Ok(()) };
            match expiration(&s) {
                Ok(None) => return Ok(()),
                Ok(Some(end)) if end > ctx.now() => {
                    again.add_after(key, Duration::try_from(end.duration_since(ctx.now())).unwrap_or_default());
                    return Ok(());
                }
                Ok(Some(_)) => {}
                Err(why) => tracing::warn!(why, "bootstrap token counts as expired"),
            }
            let options = DeleteOptions { uid: s.metadata.uid.clone(), ..Default::default() };
            match ctx.client.delete::<Secret>(s.namespace(), s.name(), &options).await {
                Err(e) if !e.is_not_found() && !e.is_conflict() => Err(e.into()),
                _ => Ok(()),
            }
        }
    }))
    .await;
}
