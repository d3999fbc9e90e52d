//! Tests of `node`.

use super::*;
use machinery::json;

#[tokio::test]
async fn a_node_sees_its_own() {
    let graph = Arc::new(NodeGraph::default());
    let pod = |node: &str, secret: &str| {
        json!({"metadata": {"name": "p", "namespace": "ns"}, "spec": {"nodeName": node, "serviceAccountName": "sa",
            "containers": [{"name": "c", "env": [{"name": "E", "valueFrom": {"configMapKeyRef": {"name": "cm", "key": "k"}}}]}],
            "volumes": [{"name": "s", "secret": {"secretName": secret}}, {"name": "d", "persistentVolumeClaim": {"claimName": "pvc"}}]}})
    };
    graph.apply("pods", "ns", "p", Some(&pod("a", "s")));
    graph.apply("pods", "ns", "q", Some(&pod("a", "s")));
    graph.apply("pods", "ns", "q", None);
    let pv = json!({"spec": {"claimRef": {"namespace": "ns", "name": "pvc"}, "csi": {"nodeStageSecretRef": {"name": "stage", "namespace": "x"}}}});
    graph.apply("persistentvolumes", "", "pv", Some(&pv));
    graph.apply("volumeattachments", "", "va", Some(&json!({"spec": {"nodeName": "a"}})));
    let rules = crate::rbac::bootstrap::Policy::load().node_rules();
    let authorizer = NodeAuthorizer::new(graph.clone(), rules);
    let none = "no relationship found between node 'b' and this object";
    // node, verb, group, resource/subresource, namespace, name, reason if refused
    let cases = [
        ("a", "get", "", "secrets", "ns", "s", None),
        ("b", "get", "", "secrets", "ns", "s", Some(none)),
        ("a", "update", "", "secrets", "ns", "s", Some("can only read resources of this type")),
        ("a", "list", "", "secrets", "ns", "", Some("No Object name found")),
        ("a", "get", "", "secrets", "x", "stage", None),
        ("b", "get", "", "secrets", "x", "stage", Some(none)),
        ("a", "watch", "", "configmaps", "ns", "cm", None),
        ("a", "get", "", "persistentvolumeclaims", "ns", "pvc", None),
        ("a", "get", "", "persistentvolumes", "", "pv", None),
        ("b", "get", "", "persistentvolumes", "", "pv", Some(none)),
        ("a", "get", "storage.k8s.io", "volumeattachments", "", "va", None),
        ("a", "create", "", "serviceaccounts/token", "ns", "sa", None),
        ("b", "create", "", "serviceaccounts/token", "ns", "sa", Some(none)),
        ("a", "get", "", "pods", "ns", "p", None),
        ("b", "get", "", "pods", "ns", "p", Some(none)),
        ("a", "list", "", "pods", "", "", Some("can only list/watch pods with spec.nodeName field selector")),
        ("a", "update", "", "pods/status", "ns", "p", None),
        ("a", "get", "", "nodes", "", "a", None),
        ("a", "get", "", "nodes", "", "b", Some("node 'a' cannot read 'b', only its own Node object")),
        ("a", "list", "", "nodes", "", "", Some("node 'a' cannot read all nodes, only its own Node object")),
        ("a", "update", "coordination.k8s.io", "leases", "kube-node-lease", "a", None),
        (
            "a",
            "update",
            "coordination.k8s.io",
            "leases",
            "kube-system",
            "a",
            Some("can only access leases in the \"kube-node-lease\" system namespace"),
        ),
        ("a", "list", "", "services", "", "", None),
        ("a", "create", "", "events", "ns", "", None),
        ("a", "delete", "", "services", "ns", "x", Some("")),
    ];
    for (node, verb, group, resource, namespace, name, refused) in cases {
        let user = UserInfo::new(format!("system:node:{node}"), &["system:nodes"]);
        let (main, sub) = resource.split_once('/').unwrap_or((resource, ""));
        let attrs = Attributes::resource(&user, verb, group, main, namespace, name).with_subresource(sub);
        let v = authorizer.authorize(&attrs).await;
        assert_eq!((!v.allowed()).then_some(v.reason.as_str()), refused, "{node} {verb} {resource} {namespace}/{name}");
    }
    let user = UserInfo::new("system:node:a", &["system:nodes"]);
    let mut attrs = Attributes::resource(&user, "watch", "", "pods", "", "");
    attrs.field_selector = "spec.nodeName=a,status.phase!=Failed".into();
    assert!(authorizer.authorize(&attrs).await.allowed());
    attrs.field_selector = "spec.nodeName!=a".into();
    assert!(!authorizer.authorize(&attrs).await.allowed());
    attrs.user.groups.clear();
    attrs.field_selector = "spec.nodeName=a".into();
    assert!(!authorizer.authorize(&attrs).await.allowed(), "a name alone makes no node");
    graph.apply("pods", "ns", "p", Some(&pod("", "s")));
    assert!(!graph.reaches(Kind::Secret, "ns", "s", "a"));
}
