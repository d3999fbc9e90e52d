//! ClusterRoles made of others (pkg/controller/clusterroleaggregation): `admin`, `edit` and `view` gather the rules of all roles that
//! carry their labels.

use crate::core::selectors;
use crate::manager::forever;
use crate::{Context, Result, synced};
use client::{Informer, InformerEvent, Object, WorkQueue};
use k8s_openapi::api::rbac::v1::{ClusterRole, PolicyRule};

fn is_aggregate(r: &ClusterRole) -> bool {
    r.aggregation_rule.is_some()
}

pub async fn run(ctx: Context) {
    let roles = ctx.informers.of::<ClusterRole>();
    let queue = WorkQueue::new();
    let (q, all) = (queue.clone(), std::sync::Arc::downgrade(&roles));
    roles.add_handler(move |e| {
        let role = match e {
            InformerEvent::Added(r) | InformerEvent::Deleted(r) => r,
            InformerEvent::Updated { old, new } if old.rules != new.rules || old.metadata.labels != new.metadata.labels => new,
            InformerEvent::Updated { old, new } if old.aggregation_rule != new.aggregation_rule => new,
            InformerEvent::Updated { .. } => return,
        };
        if is_aggregate(role) {
            q.add(role.name().to_owned());
        }
        // Any of them may select this one, or have done so.
        all.upgrade().into_iter().flat_map(|r| r.list()).filter(|r| is_aggregate(r)).for_each(|r| q.add(r.name().to_owned()));
    });
    synced!(roles);
    forever(queue.run("clusterrole-aggregation", 1, move |name: String| {
        let (ctx, roles) = (ctx.clone(), roles.clone());
        async move { sync(&ctx, &roles, &name).await }
    }))
    .await;
}

async fn sync(ctx: &Context, roles: &Informer<ClusterRole>, name: &str) -> Result {
    let Some(role) = roles.get("", name) else { return Ok(()) };
    let Some(rule) = &role.aggregation_rule else { return Ok(()) };
    let mut rules: Vec<PolicyRule> = Vec::new();
    for selector in rule.cluster_role_selectors.iter().flatten() {
        let selector = selectors::from_label_selector(Some(selector)).map_err(|e| crate::Error::other(e.to_string()))?;
        // Listed by name: the order is stable.
        for other in roles.list() {
            if other.name() == name || !selectors::matches(&selector, other.metadata.labels.as_ref()) {
                continue;
            }
            for r in other.rules.iter().flatten() {
                if !rules.contains(r) {
                    rules.push(r.clone());
                }
            }
        }
    }
    if role.rules.as_deref().unwrap_or_default() == rules {
        return Ok(());
    }
    let new = ClusterRole { rules: (!rules.is_empty()).then_some(rules), ..(*role).clone() };
    match ctx.client.update(&new).await {
        Err(e) if !e.is_not_found() => Err(e.into()),
        _ => Ok(()),
    }
}
