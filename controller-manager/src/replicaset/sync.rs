//! One sync of one ReplicaSet or ReplicationController.

use super::BURST;
use super::kinds::Replicated;
use super::status;
use crate::core::claim::{self, Claim};
use crate::core::expectations::Expectations;
use crate::core::pod_control::{PodControl, about, from_template};
use crate::core::{batch, pod, pod_ranking, selectors};
use crate::{Context, Result};
use client::{Informer, Object, WorkQueue};
use futures::future::join_all;
use k8s_openapi::api::core::v1::Pod;
use std::sync::Arc;
use std::time::Duration;

pub struct Sync<K> {
    pub ctx: Context,
    pub owners: Arc<Informer<K>>,
    pub pods: Arc<Informer<Pod>>,
    pub queue: WorkQueue<String>,
    pub expectations: Arc<Expectations>,
    pub control: PodControl,
}

impl<K: Replicated> Sync<K> {
    pub async fn sync(&self, key: &str) -> Result {
        let Some(owner) = self.owners.get_key(key) else {
            self.expectations.forget(key);
            return Ok(());
        };
        let may_manage = self.expectations.satisfied(key);
        let Some(selector) = owner.pod_selector() else { return Ok(()) };
        let (mut active, mut terminating) = (Vec::new(), 0);
        for p in claim::candidates(&self.pods, &*owner) {
            if pod::is_active(&p) {
                active.push(p);
            } else if pod::is_terminating(&p)
                && p.controller().is_some_and(|r| r.uid == owner.uid())
                && selectors::matches(&selector, p.metadata.labels.as_ref())
            {
                terminating += 1;
            }
        }
        let active = Claim::new(&self.ctx.client, &*owner, &selector).run(active, |_| true).await?;
        let managed = if may_manage && !owner.is_terminating() { self.manage(key, &owner, &active).await } else { Ok(()) };
        let now = self.ctx.now();
        let mut status = status::calculate(&*owner, &active, terminating, managed.as_ref().err(), now, self.ctx.clock.time());
        status.observed_generation = owner.meta().generation.unwrap_or(0);
        if status != owner.status() {
            self.update_status(&owner, status.clone()).await?;
        }
        managed?;
        let min_ready = owner.min_ready_seconds();
        if min_ready > 0 && status.ready != status.available {
            let fallback = Duration::from_secs(u64::try_from(min_ready).unwrap_or(0));
            let next = pod::next_available(active.iter().map(|p| &**p), min_ready, now).unwrap_or(fallback);
            self.queue.add_after(key.to_owned(), next);
        }
        Ok(())
    }

    async fn manage(&self, key: &str, owner: &Arc<K>, active: &[Arc<Pod>]) -> Result {
        let want = usize::try_from(owner.replicas()).unwrap_or(0);
        if active.len() < want {
            self.create(key, owner, (want - active.len()).min(BURST)).await
        } else {
            self.delete(key, owner, active, want).await
        }
    }

    async fn create(&self, key: &str, owner: &Arc<K>, count: usize) -> Result {
        self.expectations.expect(key, count, []);
        let reference = about(&**owner);
        let new =
            from_template(&owner.template(), owner.name(), owner.namespace(), client::object::controller_reference(&**owner));
        let (created, result) = batch::slow_start(count, |_| async {
            match self.control.create(&new, &reference).await {
                Ok(_) => Ok(()),
                // Every further creation will fail too, and a retry would not help.
                Err(e) if e.is_namespace_terminating() => {
                    self.expectations.creation_observed(key);
                    Ok(())
                }
                Err(e) => Err(e),
            }
        })
        .await;
        for _ in created..count {
            self.expectations.creation_observed(key);
        }
        result
    }

    async fn delete(&self, key: &str, owner: &Arc<K>, active: &[Arc<Pod>], want: usize) -> Result {
        let count = (active.len() - want).min(BURST);
        if count == 0 {
            return Ok(());
        }
        let doomed = pod_ranking::pods_to_delete(active, &self.related(owner), count, self.ctx.now());
        self.expectations.expect(key, 0, doomed.iter().map(|p| p.key()));
        let reference = about(&**owner);
        let results = join_all(doomed.iter().map(|p| async {
            let result = self.control.delete(p.namespace(), p.name(), &reference).await;
            if result.is_err() {
                self.expectations.deletion_observed(key, &p.key());
            }
            result
        }))
        .await;
        results.into_iter().find(|r| r.as_ref().is_err_and(|e| !e.is_not_found())).unwrap_or(Ok(()))
    }

    /// Pods of all sets with the same controller (the revisions of one Deployment).
    fn related(&self, owner: &Arc<K>) -> Vec<Arc<Pod>> {
        let siblings = match owner.controller() {
            Some(r) => self.owners.by_index(claim::CONTROLLER_INDEX, &r.uid),
            None => vec![owner.clone()],
        };
        siblings.iter().flat_map(|s| claim::controlled(&self.pods, &**s)).collect()
    }

    async fn update_status(&self, owner: &K, status: super::kinds::Status) -> Result {
        let mut new = owner.clone();
        new.set_status(status.clone());
        match self.ctx.client.update_status(&new).await {
            Ok(_) => Ok(()),
            // One more try on the newest version; after that the queue's back-off.
            Err(e) if e.is_conflict() => {
                let mut fresh: K = self.ctx.client.get(owner.namespace(), owner.name()).await?;
                if fresh.uid() != owner.uid() {
                    return Ok(());
                }
                fresh.set_status(status);
                self.ctx.client.update_status(&fresh).await?;
                Ok(())
            }
            Err(e) if e.is_not_found() => Ok(()),
            Err(e) => Err(e.into()),
        }
    }
}
