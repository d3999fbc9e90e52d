//! One step of a StatefulSet: make what is missing, in order or at once, remove what is too much, roll to the update revision.

use super::identity::{self, in_range, ordinal, revision, start};
use super::revisions::Revisions;
use super::status::is_created;
use super::{Controller, min_ready, replicas, spec};
use crate::core::{batch, intstr, pod};
use crate::{Error, Result};
use client::{DeleteOptions, Object};
use k8s_openapi::api::apps::v1::{ControllerRevision, StatefulSet, StatefulSetStatus};
use k8s_openapi::api::core::v1::Pod;
use std::sync::Arc;

/// Whether an ordered pass goes on to the next pod.
#[derive(PartialEq)]
enum Step {
    Next,
    Wait,
}

impl Controller {
    pub(super) async fn update(
        &self,
        set: &Arc<StatefulSet>,
        pods: Vec<Arc<Pod>>,
        revisions: Vec<ControllerRevision>,
    ) -> Result<StatefulSetStatus> {
        let r = self.find_revisions(set, revisions).await?;
        let mut status = self.count(set, &r, pods.iter().map(|p| &**p));
        let result = self.converge(set, &pods, &r, &mut status).await;
        let written = self.write_status(set, &mut status).await;
        let truncated = self.truncate(set, &pods, &r).await;
        result.and(written).and(truncated).map(|()| status)
    }

    async fn converge(&self, set: &StatefulSet, pods: &[Arc<Pod>], r: &Revisions, status: &mut StatefulSetStatus) -> Result {
        if set.is_terminating() {
            return Ok(());
        }
        let first = start(set);
        let mut wanted: Vec<Arc<Pod>> = Vec::new();
        for n in first..first + replicas(set) {
            wanted.push(match pods.iter().find(|p| ordinal(p) == n) {
                Some(p) => p.clone(),
                None => Arc::new(self.versioned_pod(set, r, n)),
            });
        }
        let mut condemned: Vec<Arc<Pod>> =
            pods.iter().filter(|p| ordinal(p) >= 0 && !in_range(set, ordinal(p))).cloned().collect();
        condemned.sort_by_key(|p| std::cmp::Reverse(ordinal(p)));
        let unavailable = |p: &Pod| self.is_unavailable(set, p);
        let first_unhealthy = wanted.iter().chain(condemned.iter().rev()).find(|p| unavailable(p)).map(|p| p.name().to_owned());
        let ordered = spec(set).pod_management_policy.as_deref() != Some("Parallel");

        if self.for_all(&wanted, ordered, |p| self.process_replica(set, p, ordered)).await? == Step::Wait {
            return Ok(());
        }
        for p in &condemned {
            if !self.retention_matches(set, p) {
                self.apply_retention(set, p).await?;
            }
        }
        let unhealthy = first_unhealthy.as_deref();
        if self.for_all(&condemned, ordered, |p| self.process_condemned(set, p, unhealthy, ordered)).await? == Step::Wait {
            return Ok(());
        }
        let strategy = spec(set).update_strategy.as_ref();
        if strategy.and_then(|u| u.type_.as_deref()) == Some("OnDelete") {
            return Ok(());
        }
        self.roll(set, &wanted, r, status).await
    }

    async fn for_all<F>(&self, pods: &[Arc<Pod>], ordered: bool, work: impl Fn(Arc<Pod>) -> F) -> Result<Step>
    where
        F: Future<Output = Result<Step>>,
    {
        if ordered {
            for p in pods {
                if work(p.clone()).await? == Step::Wait {
                    return Ok(Step::Wait);
                }
            }
            return Ok(Step::Next);
        }
        let (_, result) = batch::slow_start(pods.len(), |i| {
            let one = work(pods[i].clone());
            async move { one.await.map(drop) }
        })
        .await;
        result.map(|()| Step::Next)
    }

    fn is_unavailable(&self, set: &StatefulSet, p: &Pod) -> bool {
        p.is_terminating() || !pod::is_available(p, min_ready(set), self.ctx.now())
    }

    /// A pod of the current revision below the partition (or as many as there were), else of the update revision.
    fn versioned_pod(&self, set: &StatefulSet, r: &Revisions, n: i32) -> Pod {
        let strategy = spec(set).update_strategy.as_ref();
        let rolling = strategy.and_then(|u| u.rolling_update.as_ref());
        let bound = match rolling {
            Some(u) => u.partition.unwrap_or(0),
            None if strategy.and_then(|u| u.type_.as_deref()) == Some("OnDelete") => 0,
            None => set.status.as_ref().and_then(|s| s.current_replicas).unwrap_or(0),
        };
        if n < start(set) + bound {
            identity::new_pod(set, &r.current_template(set), r.current.name(), n)
        } else {
            identity::new_pod(set, &spec(set).template, r.update.name(), n)
        }
    }

    async fn process_replica(&self, set: &StatefulSet, p: Arc<Pod>, ordered: bool) -> Result<Step> {
        if pod::is_terminal(&p) {
            if !p.is_terminating() {
                self.delete_pod(set, &p).await?;
            }
            return Ok(Step::Wait);
        }
        if !is_created(&p) && p.metadata.uid.is_none() {
            if self.claim_is_stale(set, &p) {
                return Ok(Step::Wait);
            }
            self.create_pod(set, &p).await?;
            return Ok(if ordered { Step::Wait } else { Step::Next });
        }
        if pod::phase(&p) == "Pending" {
            self.create_claims(set, &p).await?;
            self.apply_retention(set, &p).await?;
        }
        let ready = pod::phase(&p) == "Running" && pod::is_ready(&p);
        let available = pod::is_available(&p, min_ready(set), self.ctx.now());
        if ordered && (p.is_terminating() || !ready || !available) {
            return Ok(Step::Wait);
        }
        if identity::identity_matches(set, &p) && identity::storage_matches(set, &p) && self.retention_matches(set, &p) {
            return Ok(Step::Next);
        }
        self.update_pod(set, &p).await.map(|()| Step::Next)
    }

    async fn process_condemned(&self, set: &StatefulSet, p: Arc<Pod>, unhealthy: Option<&str>, ordered: bool) -> Result<Step> {
        if p.is_terminating() {
            return Ok(if ordered { Step::Wait } else { Step::Next });
        }
        let ready = pod::phase(&p) == "Running" && pod::is_ready(&p) && pod::is_available(&p, min_ready(set), self.ctx.now());
        if ordered && !ready && unhealthy != Some(p.name()) {
            return Ok(Step::Wait);
        }
        self.delete_pod(set, &p).await.map(|()| Step::Wait)
    }

    /// Highest ordinals first, as many as may be unavailable, down to the partition.
    async fn roll(&self, set: &StatefulSet, wanted: &[Arc<Pod>], r: &Revisions, status: &mut StatefulSetStatus) -> Result {
        let rolling = spec(set).update_strategy.as_ref().and_then(|u| u.rolling_update.as_ref());
        let partition = usize::try_from(rolling.and_then(|u| u.partition).unwrap_or(0)).unwrap_or(0);
        let most = match rolling.and_then(|u| u.max_unavailable.as_ref()) {
            Some(v) => intstr::scaled(v, replicas(set), false).map_err(Error::other)?.max(1),
            None => 1,
        };
        let unavailable = wanted.iter().filter(|p| self.is_unavailable(set, p)).count();
        let mut budget = usize::try_from(most).unwrap_or(1).saturating_sub(unavailable);
        for p in wanted.iter().skip(partition).rev() {
            if budget == 0 {
                break;
            }
            if revision(p) != r.update.name() && !p.is_terminating() {
                self.delete_pod(set, p).await?;
                budget -= 1;
                status.current_replicas = status.current_replicas.map(|n| (n - 1).max(0)).filter(|n| *n > 0);
            }
        }
        Ok(())
    }

    async fn create_pod(&self, set: &StatefulSet, p: &Pod) -> Result {
        let claims = self.create_claims(set, p).await;
        if claims.is_err() {
            self.record(set, "Create", p.name(), &claims);
            return claims;
        }
        let result: Result<Pod> = self.ctx.client.create(p.namespace(), p).await.map_err(Error::from);
        match &result {
            // The name is there already: made and not shown yet, or somebody else's.
            Err(e) if e.is_already_exists() => return result.map(drop),
            Err(e) if e.is_namespace_terminating() => return result.map(drop),
            Ok(created) => {
                let retained = self.apply_retention(set, created).await;
                if retained.is_err() {
                    self.record(set, "Update", p.name(), &retained);
                    return retained;
                }
            }
            Err(_) => {}
        }
        self.record(set, "Create", p.name(), &result);
        result.map(drop)
    }

    async fn update_pod(&self, set: &StatefulSet, p: &Pod) -> Result {
        let mut new = p.clone();
        let n = ordinal(p);
        if !identity::identity_matches(set, p) {
            identity::set_identity(set, &mut new, n);
        }
        if !identity::storage_matches(set, p) {
            identity::set_storage(set, &mut new, n);
            self.create_claims(set, p).await?;
        }
        self.apply_retention(set, p).await?;
        let result = self.ctx.client.update(&new).await.map(drop).map_err(Error::from);
        self.record(set, "Update", p.name(), &result);
        result
    }

    async fn delete_pod(&self, set: &StatefulSet, p: &Pod) -> Result {
        let options = DeleteOptions { uid: p.metadata.uid.clone(), ..Default::default() };
        let result = self.ctx.client.delete::<Pod>(p.namespace(), p.name(), &options).await;
        let result = match result {
            Err(e) if e.is_not_found() || e.is_conflict() => Ok(()),
            other => other.map_err(Error::from),
        };
        self.record(set, "Delete", p.name(), &result);
        result
    }
}
