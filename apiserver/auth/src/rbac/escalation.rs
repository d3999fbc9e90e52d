//! Nobody grants what they do not have. Upstream: pkg/registry/rbac/*/policybased and escalation_check.go.

use super::{GROUP, RbacStore, Rule, uncovered};
use crate::UserInfo;
use crate::authz::{Attributes, Authorizer};
use crate::user::MASTERS;
use machinery::meta::{list_at, str_at};
use machinery::{GroupResource, Status, Value, meta};

/// Checks a create (`old` is `None`) or update of a role or binding: its writer must hold every permission that it grants, or be
/// allowed to `escalate` the role or `bind` to it. `resource` is one of `RbacStore::RESOURCES`.
pub async fn check_write(
    store: &RbacStore,
    authorizer: &dyn Authorizer,
    user: &UserInfo,
    resource: &str,
    namespace: &str,
    object: &Value,
    old: Option<&Value>,
) -> Result<(), Status> {
    if user.in_group(MASTERS) || old.is_some_and(|o| same_but_for_gc(o, object)) {
        return Ok(());
    }
    let name = meta::name(object);
    let forbid = |why: String| Status::forbidden(&GroupResource::new(GROUP, resource), name, why);
    let rules = if resource.ends_with("bindings") {
        let (kind, role) = (str_at(object, &["roleRef", "kind"]), str_at(object, &["roleRef", "name"]));
        let roles = if kind == "ClusterRole" { "clusterroles" } else { "roles" };
        let bind = Attributes::resource(user, "bind", str_at(object, &["roleRef", "apiGroup"]), roles, namespace, role);
        if matches!(kind, "ClusterRole" | "Role") && authorizer.authorize(&bind).await.allowed() {
            return Ok(());
        }
        store.referenced(kind, role, namespace)?
    } else {
        // The name is part of the request's path only in an update.
        let requested = if old.is_some() { name } else { "" };
        let escalate = Attributes::resource(user, "escalate", GROUP, resource, namespace, requested);
        if authorizer.authorize(&escalate).await.allowed() {
            return Ok(());
        }
        list_at(object, &["rules"]).iter().map(Rule::from_value).collect()
    };
    confirm(store, user, namespace, &rules).map_err(forbid)?;
    if has_aggregation(object) || old.is_some_and(has_aggregation) {
        let all = |r: Rule| -> Vec<Rule> {
            vec![
                Rule { non_resource_urls: Vec::new(), ..r.clone() },
                Rule { verbs: r.verbs, non_resource_urls: r.non_resource_urls, ..Rule::default() },
            ]
        };
        confirm(store, user, namespace, &all(Rule::everything()))
            .map_err(|_| forbid("must have cluster-admin privileges to use the aggregationRule".into()))?;
    }
    Ok(())
}

fn has_aggregation(role: &Value) -> bool {
    !list_at(role, &["aggregationRule", "clusterRoleSelectors"]).is_empty()
}

/// Only what the garbage collector changes differs: finalizers and owner references.
fn same_but_for_gc(old: &Value, new: &Value) -> bool {
    let strip = |v: &Value| {
        let mut v = v.clone();
        for f in ["finalizers", "ownerReferences", "managedFields", "resourceVersion", "generation"] {
            meta::remove(&mut v, &["metadata", f]);
        }
        v
    };
    strip(old) == strip(new)
}

fn confirm(store: &RbacStore, user: &UserInfo, namespace: &str, wanted: &[Rule]) -> Result<(), String> {
    let (owned, errors) = store.rules(user, namespace);
    let owned: Vec<Rule> = owned.iter().map(|r| Rule::clone(r)).collect();
    let missing = uncovered(&owned, wanted);
    if missing.is_empty() {
        return Ok(());
    }
    let mut texts: Vec<String> = compact(missing).iter().map(Rule::compact).collect();
    texts.sort();
    texts.dedup();
    let groups: Vec<String> = user.groups.iter().map(|g| format!("{g:?}")).collect();
    let mut why = format!(
        "user {:?} (groups=[{}]) is attempting to grant RBAC permissions not currently held:\n{}",
        user.name,
        groups.join(" "),
        texts.join("\n")
    );
    if !errors.is_empty() {
        why += &format!("; resolution errors: [{}]", errors.join(", "));
    }
    Err(why)
}

/// Joins rules that differ by verb alone.
fn compact(rules: Vec<Rule>) -> Vec<Rule> {
    let mut out: Vec<Rule> = Vec::new();
    for r in rules {
        let same = |o: &&mut Rule| {
            r.non_resource_urls.is_empty()
                && o.non_resource_urls.is_empty()
                && (&o.api_groups, &o.resources, &o.resource_names) == (&r.api_groups, &r.resources, &r.resource_names)
        };
        match out.iter_mut().find(same) {
            Some(o) => o.verbs.extend(r.verbs),
            None => out.push(r),
        }
    }
    out
}
