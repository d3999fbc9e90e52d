//! What each ResourceQuota's namespace uses (pkg/controller/resourcequota). Admission charges what is created; this controller counts
//! anew when a quota comes or its limits change, and when something that it counts goes or costs less.

mod counts;

use crate::manager::forever;
use crate::{Context, Result, synced};
use client::{Informer, InformerEvent, Object, WorkQueue};
use counts::Counts;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, ResourceQuota, ResourceQuotaStatus, Service};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as ApiQuantity;
use machinery::Value;
use machinery::meta::list_at;
use machinery::quantity::{Format, Quantity};
use quota::{Evaluator, Resources, resources, scopes};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// What admission charged for an object that was then not stored is given back so often (upstream's --resource-quota-sync-period).
const RESYNC: Duration = Duration::from_secs(300);

type Limits = BTreeMap<String, ApiQuantity>;

struct Controller {
    ctx: Context,
    quotas: Arc<Informer<ResourceQuota>>,
    pods: Arc<Informer<Pod>>,
    services: Arc<Informer<Service>>,
    claims: Arc<Informer<PersistentVolumeClaim>>,
    counts: Counts,
    queue: WorkQueue<String>,
}

pub async fn run(ctx: Context) {
    let c = Arc::new_cyclic(|me| Controller {
        quotas: ctx.informers.of(),
        pods: ctx.informers.of(),
        services: ctx.informers.of(),
        claims: ctx.informers.of(),
        counts: Counts::new(ctx.client.clone(), me.clone()),
        queue: WorkQueue::new(),
        ctx,
    });
    let q = c.queue.clone();
    c.quotas.add_handler(move |e| match e {
        InformerEvent::Added(new) | InformerEvent::Deleted(new) => q.add(new.key()),
        // Usage is written by admission all the time.
        InformerEvent::Updated { old, new } if hard(old) != hard(new) || old.uid() != new.uid() => q.add(new.key()),
        InformerEvent::Updated { .. } => {}
    });
    c.follow(&c.pods, Evaluator::Pods);
    c.follow(&c.services, Evaluator::Services);
    c.follow(&c.claims, Evaluator::Claims);
    synced!(c.quotas, c.pods, c.services, c.claims);
    let all = c.clone();
    let (queue, syncs) = (c.queue.clone(), c.ctx.config.concurrent_syncs);
    let mut workers = queue.run("resourcequota", syncs, move |key: String| {
        let c = c.clone();
        async move { c.sync(&key).await }
    });
    workers.spawn(async move {
        loop {
            tokio::time::sleep(RESYNC).await;
            all.quotas.list().iter().for_each(|q| all.queue.add(q.key()));
        }
    });
    forever(workers).await;
}

fn hard(q: &ResourceQuota) -> Option<&Limits> {
    q.spec.as_ref().and_then(|s| s.hard.as_ref())
}

fn covers(evaluator: &Evaluator, q: &ResourceQuota) -> bool {
    hard(q).is_some_and(|h| h.keys().any(|name| evaluator.covers(name)))
}

fn value<K: Object>(o: &K) -> Value {
    o.to_json().and_then(|json| serde_json::from_slice(&json)).unwrap_or_default()
}

impl Controller {
    /// Queues the quotas that an object of `informer` concerns, when it goes or its cost changes.
    fn follow<K: Object>(self: &Arc<Self>, informer: &Informer<K>, evaluator: Evaluator) {
        let c = Arc::downgrade(self);
        informer.add_handler(move |e| {
            let Some(c) = c.upgrade() else { return };
            match e {
                InformerEvent::Added(_) => {}
                InformerEvent::Deleted(o) => c.replenish(&evaluator, o.namespace()),
                InformerEvent::Updated { old, new } => {
                    // Few namespaces have quotas; the rest is not looked at.
                    if c.concerned(&evaluator, new.namespace()).is_empty() {
                        return;
                    }
                    let now = c.ctx.now();
                    if evaluator.usage(&value(&**old), now) != evaluator.usage(&value(&**new), now) {
                        c.replenish(&evaluator, new.namespace());
                    }
                }
            }
        });
    }

    /// Quotas of a namespace that count such objects.
    fn concerned(&self, evaluator: &Evaluator, namespace: &str) -> Vec<Arc<ResourceQuota>> {
        self.quotas.list_namespace(namespace).into_iter().filter(|q| covers(evaluator, q)).collect()
    }

    fn replenish(&self, evaluator: &Evaluator, namespace: &str) {
        self.concerned(evaluator, namespace).iter().for_each(|q| self.queue.add(q.key()));
    }

    fn replenish_everywhere(&self, evaluator: &Evaluator) {
        self.quotas.list().iter().filter(|q| covers(evaluator, q)).for_each(|q| self.queue.add(q.key()));
    }

    async fn sync(&self, key: &str) -> Result {
        let Some(found) = self.quotas.get_key(key) else {
            let quotas = self.quotas.list();
            let named = quotas.iter().filter_map(|q| hard(q)).flat_map(|h| h.keys());
            self.counts.keep(&named.filter_map(|n| Evaluator::subject(n)).collect());
            return Ok(());
        };
        let limits = hard(&found).cloned().unwrap_or_default();
        let status = found.status.clone().unwrap_or_default();
        let mut used: Limits = status.used.clone().unwrap_or_default();
        for (name, quantity) in self.usage(&found, &limits).await? {
            let quantity = ApiQuantity(quantity.to_string());
            used.insert(name, quantity);
        }
        used.retain(|name, _| limits.contains_key(name));
        if status.hard.as_ref() == Some(&limits) && status.used.as_ref().is_some_and(|old| same(old, &used)) {
            return Ok(());
        }
        let status = ResourceQuotaStatus { hard: Some(limits), used: Some(used) };
        match self.ctx.client.update_status(&ResourceQuota { status: Some(status), ..(*found).clone() }).await {
            Err(e) if !e.is_not_found() => Err(e.into()),
            _ => Ok(()),
        }
    }

    /// What the namespace uses of all that the quota limits and that is known by now.
    async fn usage(&self, quota: &ResourceQuota, limits: &Limits) -> Result<Resources> {
        let shown = value(quota);
        let subjects: BTreeSet<_> = limits.keys().filter_map(|name| Evaluator::subject(name)).collect();
        let namespace = quota.namespace();
        let mut out = Resources::new();
        for (group, resource) in subjects {
            let evaluator = Evaluator::of(group, resource);
            let names = limits.keys().filter(|n| evaluator.covers(n));
            let mut sum: Resources = names.map(|n| (n.clone(), Quantity::new(0, Format::DecimalSI))).collect();
            match &evaluator {
                Evaluator::Pods => self.add(&mut sum, &evaluator, &shown, &self.pods.list_namespace(namespace)),
                Evaluator::Services => self.add(&mut sum, &evaluator, &shown, &self.services.list_namespace(namespace)),
                Evaluator::Claims => self.add(&mut sum, &evaluator, &shown, &self.claims.list_namespace(namespace)),
                Evaluator::DeviceClaims if scopes(&shown).next().is_some() => {}
                // Seldom limited, so they are not kept: what has been counted tells when to look.
                Evaluator::DeviceClaims => {
                    if self.counts.of(group, resource, namespace).is_none() {
                        continue;
                    }
                    let path = format!("/apis/resource.k8s.io/v1/namespaces/{namespace}/resourceclaims");
                    let claims = self.ctx.client.get_path(&path).await?;
                    for claim in list_at(&claims, &["items"]) {
                        let mut cost = evaluator.usage(claim, self.ctx.now());
                        cost.retain(|name, _| sum.contains_key(name));
                        resources::add(&mut sum, &cost);
                    }
                }
                Evaluator::Count(_) if scopes(&shown).next().is_some() => {}
                Evaluator::Count(_) => {
                    let Some(n) = self.counts.of(group, resource, namespace) else { continue };
                    let n = i64::try_from(n).unwrap_or(i64::MAX);
                    sum.values_mut().for_each(|q| *q = Quantity::new(n, Format::DecimalSI));
                }
            }
            out.append(&mut sum);
        }
        Ok(out)
    }

    fn add<K: Object>(&self, sum: &mut Resources, evaluator: &Evaluator, quota: &Value, objects: &[Arc<K>]) {
        let now = self.ctx.now();
        for o in objects {
            let o = value(&**o);
            if scopes(quota).all(|s| evaluator.in_scope(&s, &o)) {
                let mut cost = evaluator.usage(&o, now);
                cost.retain(|name, _| sum.contains_key(name));
                resources::add(sum, &cost);
            }
        }
    }
}

/// Equal quantities, however written.
fn same(a: &Limits, b: &Limits) -> bool {
    let parse = |q: &ApiQuantity| q.0.parse::<Quantity>().ok();
    a.len() == b.len() && a.iter().all(|(name, q)| b.get(name).is_some_and(|other| q == other || parse(q) == parse(other)))
}
