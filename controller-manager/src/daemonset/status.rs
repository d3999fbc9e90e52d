//! Counting nodes into a status.

use super::manage::is_updated;
use super::placement::should_run;
use super::{Controller, min_ready};
use crate::Result;
use crate::core::pod;
use client::Object;
use k8s_openapi::api::apps::v1::{DaemonSet, DaemonSetStatus};
use machinery::labels::Selector;
use std::time::Duration;

impl Controller {
    pub(super) async fn update_status(&self, ds: &DaemonSet, selector: &Selector, hash: &str, observed: bool) -> Result {
        let by_node = self.by_node(ds, selector, false).await?;
        let now = self.ctx.now();
        let old = ds.status.clone().unwrap_or_default();
        let mut s = DaemonSetStatus {
            observed_generation: old.observed_generation,
            collision_count: old.collision_count,
            conditions: old.conditions.clone(),
            ..Default::default()
        };
        let (mut updated, mut available) = (0, 0);
        for n in self.nodes.list() {
            let first = by_node.get(n.name()).and_then(|p| p.first());
            if !should_run(ds, &n).0 {
                s.number_misscheduled += i32::from(first.is_some());
                continue;
            }
            s.desired_number_scheduled += 1;
            let Some(p) = first else { continue };
            s.current_number_scheduled += 1;
            s.number_ready += i32::from(pod::is_ready(p));
            available += i32::from(pod::is_available(p, min_ready(ds), now));
            updated += i32::from(is_updated(ds, p, hash));
        }
        let some = |n: i32| (n != 0).then_some(n);
        s.updated_number_scheduled = some(updated);
        s.number_available = some(available);
        s.number_unavailable = some(s.desired_number_scheduled - available);
        if observed {
            s.observed_generation = ds.metadata.generation;
        }
        if s != old {
            let new = DaemonSet { status: Some(s.clone()), ..ds.clone() };
            match self.ctx.client.update_status(&new).await {
                Err(e) if e.is_conflict() => {
                    let mut fresh: DaemonSet = self.ctx.client.get(ds.namespace(), ds.name()).await?;
                    fresh.status = Some(s.clone());
                    self.ctx.client.update_status(&fresh).await?;
                }
                Err(e) if e.is_not_found() => return Ok(()),
                other => drop(other?),
            }
        }
        if min_ready(ds) > 0 && s.number_ready != available {
            self.queue.add_after(ds.key(), Duration::from_secs(u64::try_from(min_ready(ds)).unwrap_or(0)));
        }
        Ok(())
    }
}
