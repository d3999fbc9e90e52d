//! Tests of `rbac`.

use super::bootstrap::{Action, Policy, reconcile};
use super::*;
use crate::UserInfo;
use crate::authz::{Attributes, Authorizer, check};
use machinery::json;

fn bootstrapped() -> RbacStore {
    let store = RbacStore::default();
    for (resource, o) in Policy::load().objects() {
        store.apply(resource, machinery::meta::namespace(o), machinery::meta::name(o), Some(o));
    }
    store
}

#[tokio::test]
async fn default_policy() {
    let store = bootstrapped();
    let p = Policy::load();
    assert!(p.cluster_roles.len() > 60, "{}", p.cluster_roles.len());
    let anonymous = UserInfo::anonymous();
    let someone = UserInfo::new("jane", &["system:authenticated"]);
    let scheduler = UserInfo::new("system:kube-scheduler", &["system:authenticated"]);
    let gc = UserInfo::service_account("kube-system", "generic-garbage-collector", "");
    let cases = [
        ("anonymous version", Attributes::path(&anonymous, "get", "/version"), true),
        ("anonymous readyz", Attributes::path(&anonymous, "get", "/readyz"), true),
        ("anonymous api", Attributes::path(&anonymous, "get", "/api"), false),
        ("discovery", Attributes::path(&someone, "get", "/apis/apps/v1"), true),
        ("discovery write", Attributes::path(&someone, "post", "/apis/apps/v1"), false),
        ("pods of jane", Attributes::resource(&someone, "list", "", "pods", "default", ""), false),
        (
            "own access",
            Attributes::resource(&someone, "create", "authorization.k8s.io", "selfsubjectaccessreviews", "", ""),
            true,
        ),
        ("bind pods", Attributes::resource(&scheduler, "create", "", "pods", "ns", "p").with_subresource("binding"), true),
        (
            "its lock",
            Attributes::resource(&scheduler, "update", "coordination.k8s.io", "leases", "kube-system", "kube-scheduler"),
            true,
        ),
        ("its secrets", Attributes::resource(&scheduler, "get", "", "secrets", "kube-system", "x"), false),
        ("collector", Attributes::resource(&gc, "delete", "any", "things", "ns", "x"), true),
    ];
    for (case, attrs, want) in cases {
        assert_eq!(store.authorize(&attrs).await.allowed(), want, "{case}");
    }
    let denied = check(&store, &Attributes::resource(&someone, "list", "", "pods", "default", "")).await.unwrap_err();
    assert_eq!(
        denied.message,
        "pods is forbidden: User \"jane\" cannot list resource \"pods\" in API group \"\" in the namespace \"default\""
    );
    let denied = check(&store, &Attributes::path(&anonymous, "get", "/api")).await.unwrap_err();
    assert_eq!(denied.message, "forbidden: User \"system:anonymous\" cannot get path \"/api\"");
}

#[tokio::test]
async fn bindings_come_and_go() {
    let store = RbacStore::default();
    let binding = json!({"roleRef": {"apiGroup": GROUP, "kind": "Role", "name": "reader"},
        "subjects": [{"kind": "ServiceAccount", "name": "sa"}, {"kind": "Group", "name": "devs", "apiGroup": GROUP}]});
    store.apply("rolebindings", "ns", "b", Some(&binding));
    let sa = UserInfo::service_account("ns", "sa", "");
    let get = |u: &UserInfo, ns: &str| Attributes::resource(u, "get", "", "configmaps", ns, "only");
    let v = store.authorize(&get(&sa, "ns")).await;
    assert_eq!(v.reason, "RBAC: role.rbac.authorization.k8s.io \"reader\" not found");
    let role = json!({"rules": [{"verbs": ["get"], "apiGroups": [""], "resources": ["configmaps", "pods/*"], "resourceNames": ["only"]}]});
    store.apply("roles", "ns", "reader", Some(&role));
    let v = store.authorize(&get(&sa, "ns")).await;
    assert_eq!(v.reason, "RBAC: allowed by RoleBinding \"b/ns\" of Role \"reader\" to ServiceAccount \"sa/ns\"");
    assert!(store.authorize(&get(&UserInfo::new("x", &["devs"]), "ns")).await.allowed());
    assert!(!store.authorize(&get(&sa, "other")).await.allowed());
    assert!(!store.authorize(&get(&UserInfo::service_account("other", "sa", ""), "ns")).await.allowed());
    store.apply("rolebindings", "ns", "b", None);
    assert!(!store.authorize(&get(&sa, "ns")).await.allowed());
}

#[tokio::test]
async fn escalation() {
    let store = RbacStore::default();
    let rule = |verbs: &[&str], resource: &str| json!({"verbs": verbs, "apiGroups": ["apps"], "resources": [resource]});
    store.apply(
        "clusterroles",
        "",
        "mine",
        Some(&json!({"rules": [rule(&["get", "list"], "deployments"), rule(&["update"], "*/scale")]})),
    );
    store.apply("clusterroles", "", "strong", Some(&json!({"rules": [rule(&["*"], "deployments")]})));
    let role_ref = |n: &str| json!({"apiGroup": GROUP, "kind": "ClusterRole", "name": n});
    let binding =
        |n: &str| json!({"metadata": {"name": "b"}, "roleRef": role_ref(n), "subjects": [{"kind": "User", "name": "jane"}]});
    store.apply("clusterrolebindings", "", "b", Some(&binding("mine")));
    let jane = UserInfo::new("jane", &["g1", "g2"]);
    let role = |r: Value| json!({"metadata": {"name": "r"}, "rules": [r]});
    use machinery::Value;
    let head = "user \"jane\" (groups=[\"g1\" \"g2\"]) is attempting to grant RBAC permissions not currently held:\n";
    let cases = [
        ("what she has", "roles", role(rule(&["get"], "deployments")), None),
        ("a subresource", "roles", role(rule(&["update"], "deployments/scale")), None),
        (
            "more verbs",
            "roles",
            role(rule(&["get", "update", "delete"], "deployments")),
            Some(format!(
                "roles.{GROUP} \"r\" is forbidden: {head}{{APIGroups:[\"apps\"], Resources:[\"deployments\"], Verbs:[\"update\" \"delete\"]}}"
            )),
        ),
        ("bind what she has", "rolebindings", binding("mine"), None),
        (
            "bind more",
            "rolebindings",
            binding("strong"),
            Some(format!(
                "rolebindings.{GROUP} \"b\" is forbidden: {head}{{APIGroups:[\"apps\"], Resources:[\"deployments\"], Verbs:[\"*\"]}}"
            )),
        ),
        ("bind nothing", "rolebindings", binding("none"), Some(format!("clusterrole.{GROUP} \"none\" not found"))),
        (
            "aggregation",
            "clusterroles",
            json!({"metadata": {"name": "agg"}, "aggregationRule": {"clusterRoleSelectors": [{}]}}),
            Some(format!(
                "clusterroles.{GROUP} \"agg\" is forbidden: must have cluster-admin privileges to use the aggregationRule"
            )),
        ),
    ];
    for (case, resource, object, refused) in cases {
        let namespace = if resource.starts_with("cluster") { "" } else { "ns" };
        let got = check_write(&store, &store, &jane, resource, namespace, &object, None).await.err().map(|s| s.message);
        assert_eq!(got, refused, "{case}");
        let root = UserInfo::new("root", &["system:masters"]);
        assert!(check_write(&store, &store, &root, resource, namespace, &object, None).await.is_ok(), "{case}");
    }
}

#[test]
fn reconciliation() {
    let expected = json!({"metadata": {"name": "r", "labels": {"a": "b"}}, "rules": [{"verbs": ["get", "list"], "apiGroups": [""], "resources": ["pods"]}]});
    assert_eq!(reconcile(None, &expected), Action::Create);
    assert_eq!(reconcile(Some(&expected), &expected), Action::Keep);
    let mut less = expected.clone();
    less["rules"] = json!([{"verbs": ["get", "watch"], "apiGroups": [""], "resources": ["pods"]}]);
    let Action::Update(fixed) = reconcile(Some(&less), &expected) else { panic!("an update") };
    assert_eq!(fixed["rules"][0], less["rules"][0], "what was added stays");
    assert_eq!(fixed["rules"][1], json!({"verbs": ["list"], "apiGroups": [""], "resources": ["pods"]}));
    less["metadata"]["annotations"] = json!({"rbac.authorization.kubernetes.io/autoupdate": "false"});
    assert_eq!(reconcile(Some(&less), &expected), Action::Keep);
    let binding = |role: &str| json!({"metadata": {"name": "b"}, "roleRef": {"name": role}, "subjects": [{"name": role}]});
    assert!(matches!(reconcile(Some(&binding("x")), &binding("y")), Action::Recreate(_)));
}
