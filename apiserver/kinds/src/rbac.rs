//! rbac.authorization.k8s.io: roles, and bindings whose role never changes.

use crate::at::{At, list_mut, same_at, set_default};
use crate::names::{self, NameRule};
use crate::print::{self, AGE, NAME, cells, col, wide};
use crate::rules::Rules;
use crate::selectors;
use crate::strategy::Column;
use machinery::field::{Error, ErrorList};
use machinery::{Value, meta};

const GROUP: &str = "rbac.authorization.k8s.io";

static ROLE_COLUMNS: [Column; 2] = [NAME, col("Created At", crate::table::CREATED_DESCRIPTION)];
static BINDING_COLUMNS: [Column; 6] = [
    NAME,
    col("Role", ""),
    AGE,
    wide("Users", "Users in the roleBinding"),
    wide("Groups", "Groups in the roleBinding"),
    wide("ServiceAccounts", "ServiceAccounts in the roleBinding"),
];
static CLUSTER_BINDING_COLUMNS: [Column; 6] = [
    NAME,
    col("Role", ""),
    AGE,
    wide("Users", "Users in the clusterRoleBinding"),
    wide("Groups", "Groups in the clusterRoleBinding"),
    wide("ServiceAccounts", "ServiceAccounts in the clusterRoleBinding"),
];

const BASE: Rules = Rules { name: NameRule::PathSegment, create_on_update: true, ..Rules::BASE };

pub static ROLE: Rules = Rules {
    validate: |root, _, e| policy_rules(root.get("rules"), e, true),
    columns: &ROLE_COLUMNS,
    cells: |obj, _| cells([print::name(obj), print::text(obj, &["metadata", "creationTimestamp"])]),
    ..BASE
};

pub static CLUSTER_ROLE: Rules = Rules {
    validate: |root, _, e| {
        policy_rules(root.get("rules"), e, false);
        if let Some(rule) = root.get("aggregationRule").some() {
            let all = rule.get("clusterRoleSelectors");
            all.need(e, "at least one clusterRoleSelector required if aggregationRule is non-nil");
            all.items().for_each(|s| selectors::label_selector(s, e));
        }
    },
    ..ROLE_BASE
};
const ROLE_BASE: Rules = Rules {
    columns: &ROLE_COLUMNS,
    cells: |obj, _| cells([print::name(obj), print::text(obj, &["metadata", "creationTimestamp"])]),
    ..BASE
};

pub static ROLE_BINDING: Rules =
    Rules { validate: |root, old, e| binding(root, old, e, &["Role", "ClusterRole"]), columns: &BINDING_COLUMNS, ..BINDING_BASE };
pub static CLUSTER_ROLE_BINDING: Rules =
    Rules { validate: |root, old, e| binding(root, old, e, &["ClusterRole"]), columns: &CLUSTER_BINDING_COLUMNS, ..BINDING_BASE };

const BINDING_BASE: Rules = Rules {
    default: |obj| {
        set_default(obj, &["roleRef", "apiGroup"], GROUP);
        for s in list_mut(obj, &["subjects"]) {
            if matches!(meta::str_at(s, &["kind"]), "User" | "Group") {
                set_default(s, &["apiGroup"], GROUP);
            }
        }
    },
    cells: |obj, now| {
        let [users, groups, accounts] = subjects(obj);
        let role = format!("{}/{}", meta::str_at(obj, &["roleRef", "kind"]), meta::str_at(obj, &["roleRef", "name"]));
        cells([print::name(obj), role.into(), print::age(obj, now), users, groups, accounts])
    },
    ..BASE
};

fn policy_rules(rules: At, e: &mut ErrorList, namespaced: bool) {
    for r in rules.items() {
        r.get("verbs").need(e, "verbs must contain at least one value");
        let urls = r.get("nonResourceURLs");
        if !urls.is_empty() {
            if namespaced {
                urls.invalid(e, "namespaced rules cannot apply to non-resource URLs");
            }
            if ["apiGroups", "resources", "resourceNames"].iter().any(|f| !r.get(f).is_empty()) {
                urls.invalid(e, "rules cannot apply to both regular resources and non-resource URLs");
            }
            continue;
        }
        r.get("apiGroups").need(e, "resource rules must supply at least one api group");
        r.get("resources").need(e, "resource rules must supply at least one resource");
    }
}

fn binding(root: At, old: Option<&Value>, e: &mut ErrorList, kinds: &[&str]) {
    let role = root.get("roleRef");
    role.get("apiGroup").one_of(e, &[GROUP]);
    role.get("kind").one_of_in_order(e, kinds);
    if role.get("name").need(e, "") {
        let name = role.get("name");
        name.messages(e, machinery::validation::path_segment_name(name.str(), false));
    }
    for s in root.get("subjects").items() {
        subject(s, e, kinds.len() > 1);
    }
    if old.is_some_and(|o| !same_at(root.v, o, &["roleRef"])) {
        role.invalid(e, "cannot change roleRef");
    }
}

fn subject(s: At, e: &mut ErrorList, namespaced: bool) {
    let (name, group) = (s.get("name"), s.get("apiGroup"));
    name.need(e, "");
    match s.get("kind").str() {
        "ServiceAccount" => {
            name.check_if_set(e, names::subdomain);
            if !group.is_empty() {
                e.push(Error::not_supported(&group.path(), group.str(), &[""]));
            }
            if !namespaced {
                s.get("namespace").need(e, "");
            }
        }
        "User" | "Group" => {
            group.one_of(e, &[GROUP]);
        }
        _ => {
            s.get("kind").one_of_in_order(e, &["ServiceAccount", "User", "Group"]);
        }
    }
}

/// Users, groups and `namespace/name` of service accounts.
fn subjects(obj: &Value) -> [Value; 3] {
    let list = |kind: &str| {
        let of_kind = meta::list_at(obj, &["subjects"]).iter().filter(|s| meta::str_at(s, &["kind"]) == kind);
        let text = of_kind.map(|s| match (kind, meta::str_at(s, &["namespace"])) {
            ("ServiceAccount", ns) if !ns.is_empty() => format!("{ns}/{}", meta::str_at(s, &["name"])),
            _ => meta::str_at(s, &["name"]).to_owned(),
        });
        Value::from(text.collect::<Vec<_>>().join(", "))
    };
    [list("User"), list("Group"), list("ServiceAccount")]
}
