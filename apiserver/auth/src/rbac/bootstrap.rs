//! The roles and bindings that every cluster starts with (manifests/rbac/bootstrap-policy.json, written by hack/rbac-gen), and
//! how they are reconciled at start: what is missing is added, what an administrator added stays. Upstream:
//! plugin/pkg/auth/authorizer/rbac/bootstrappolicy and component-helpers/auth/rbac/reconciliation.

use super::{Rule, uncovered};
use machinery::meta::{list_at, map_at, str_at};
use machinery::{Map, Value, meta};
use serde::Deserialize;

const POLICY: &str = include_str!("../../../../manifests/rbac/bootstrap-policy.json");
const AUTOUPDATE: &str = "rbac.authorization.kubernetes.io/autoupdate";

/// The default policy: complete objects, to be reconciled in the order of the fields.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Policy {
    pub cluster_roles: Vec<Value>,
    pub cluster_role_bindings: Vec<Value>,
    pub roles: Vec<Value>,
    pub role_bindings: Vec<Value>,
    node_rules: Vec<Value>,
}

impl Policy {
    /// Reads the policy built into the program. Held only while needed.
    pub fn load() -> Self {
        let mut p: Self =
            serde_json::from_str(POLICY).unwrap_or_else(|e| unreachable!("the built-in policy is tested to parse: {e}"));
        for (objects, kind) in [
            (&mut p.cluster_roles, "ClusterRole"),
            (&mut p.cluster_role_bindings, "ClusterRoleBinding"),
            (&mut p.roles, "Role"),
            (&mut p.role_bindings, "RoleBinding"),
        ] {
            for o in objects {
                meta::set(o, &["apiVersion"], "rbac.authorization.k8s.io/v1".into());
                meta::set(o, &["kind"], kind.into());
            }
        }
        p
    }

    /// What the Node authorizer allows every node, besides its own objects.
    pub fn node_rules(&self) -> Vec<Rule> {
        self.node_rules.iter().map(Rule::from_value).collect()
    }

    /// Resource and object, in the order of creation.
    pub fn objects(&self) -> impl Iterator<Item = (&'static str, &Value)> {
        (self.cluster_roles.iter().map(|o| ("clusterroles", o)))
            .chain(self.cluster_role_bindings.iter().map(|o| ("clusterrolebindings", o)))
            .chain(self.roles.iter().map(|o| ("roles", o)))
            .chain(self.role_bindings.iter().map(|o| ("rolebindings", o)))
    }
}

/// What to do so that the stored object grants what it should.
#[derive(Debug, PartialEq)]
pub enum Action {
    Keep,
    Create,
    Update(Value),
    /// The role that a binding refers to is immutable: delete the binding and create it anew.
    Recreate(Value),
}

/// Compares what is stored with what should be.
pub fn reconcile(existing: Option<&Value>, expected: &Value) -> Action {
    let Some(existing) = existing else { return Action::Create };
    if str_at(existing, &["metadata", "annotations", AUTOUPDATE]) == "false" {
        return Action::Keep;
    }
    let mut want = existing.clone();
    for field in ["labels", "annotations"] {
        merge_missing(&mut want, expected, field);
    }
    if expected.get("roleRef").is_some() {
        if existing.get("roleRef") != expected.get("roleRef") {
            let mut fresh = expected.clone();
            fresh["subjects"] = existing.get("subjects").cloned().unwrap_or_default();
            add_missing(&mut fresh, &["subjects"], expected);
            return Action::Recreate(fresh);
        }
        add_missing(&mut want, &["subjects"], expected);
    } else {
        let rules = |o: &Value| list_at(o, &["rules"]).iter().map(Rule::from_value).collect::<Vec<_>>();
        let missing = uncovered(&rules(existing), &rules(expected));
        if !missing.is_empty() {
            let mut all = list_at(existing, &["rules"]).to_vec();
            all.extend(missing.iter().map(Rule::to_value));
            meta::set(&mut want, &["rules"], all.into());
        }
        if expected.get("aggregationRule").is_some() {
            add_missing(&mut want, &["aggregationRule", "clusterRoleSelectors"], expected);
        }
    }
    if want == *existing { Action::Keep } else { Action::Update(want) }
}

fn merge_missing(want: &mut Value, expected: &Value, field: &str) {
    let add: Map<String, Value> = map_at(expected, &["metadata", field]).clone();
    if add.is_empty() {
        return;
    }
    let target = meta::entry(want, &["metadata", field]);
    for (k, v) in add {
        target.entry(k).or_insert(v);
    }
}

fn add_missing(want: &mut Value, path: &[&str], expected: &Value) {
    let mut all = list_at(want, path).to_vec();
    let before = all.len();
    for e in list_at(expected, path) {
        if !all.contains(e) {
            all.push(e.clone());
        }
    }
    if all.len() != before {
        meta::set(want, path, all.into());
    }
}
