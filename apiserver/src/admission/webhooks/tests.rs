//! Which requests a webhook is asked about.

use crate::admission::matching::Rule;
use crate::admission::{Operation, Reinvocation};
use machinery::{GroupVersionResource, json};

#[test]
fn rules() {
    let rule = |ops: &[&str], groups: &[&str], versions: &[&str], resources: &[&str], scope: &str| {
        Rule::parse(
            &json!({"operations": ops, "apiGroups": groups, "apiVersions": versions, "resources": resources, "scope": scope}),
        )
    };
    let all = ["*"];
    let pods = rule(&["CREATE", "DELETE"], &[""], &["v1"], &["pods"], "*");
    let subs = rule(&all, &all, &all, &["pods/*", "*/scale"], "*");
    let everything = rule(&all, &all, &all, &["*/*"], "*");
    let main = rule(&all, &all, &all, &["*"], "*");
    let cluster = rule(&all, &all, &all, &all, "Cluster");
    let namespaced = rule(&all, &all, &all, &all, "Namespaced");
    use Operation::*;
    for (case, rule, op, resource, namespace, want) in [
        ("pod", &pods, Create, "v1/pods", "n", true),
        ("operation", &pods, Update, "v1/pods", "n", false),
        ("group", &pods, Create, "apps/v1/pods", "n", false),
        ("version", &pods, Create, "v2/pods", "n", false),
        ("resource", &pods, Create, "v1/services", "n", false),
        ("subresource", &pods, Create, "v1/pods:exec", "n", false),
        ("any subresource", &subs, Connect, "v1/pods:attach", "n", true),
        ("any includes none", &subs, Create, "v1/pods", "n", true),
        ("of any resource", &subs, Update, "apps/v1/deployments:scale", "n", true),
        ("another", &subs, Update, "apps/v1/deployments:status", "n", false),
        ("all", &everything, Delete, "apps/v1/deployments:status", "n", true),
        ("all without subresources", &main, Delete, "apps/v1/deployments:status", "n", false),
        ("all resources", &main, Delete, "apps/v1/deployments", "n", true),
        ("cluster", &cluster, Create, "v1/nodes", "", true),
        ("cluster, in a namespace", &cluster, Create, "v1/pods", "n", false),
        ("a namespace is of the cluster", &cluster, Create, "v1/namespaces", "n", true),
        ("namespaced", &namespaced, Create, "v1/pods", "n", true),
        ("a namespace is in none", &namespaced, Create, "v1/namespaces", "n", false),
    ] {
        let (path, sub) = resource.split_once(':').unwrap_or((resource, ""));
        let parts: Vec<&str> = path.rsplitn(3, '/').collect();
        let gvr = GroupVersionResource::new(parts.get(2).copied().unwrap_or(""), parts[1], parts[0]);
        assert_eq!(rule.matches(op, &gvr, sub, namespace), want, "{case}");
    }
}

#[test]
fn second_rounds() {
    let (a, b) = (json!({"a": 1}), json!({"a": 2}));
    // Whether a later hook changed the object, whether a plugin changed it between the rounds, and who is called again.
    for (case, changes, between, again) in [
        ("nothing changed", false, false, None),
        ("a later hook changed it", true, false, Some((true, false))),
        ("a plugin changed it too", true, true, Some((true, true))),
    ] {
        let mut r = Reinvocation::default();
        r.begin("p", &a);
        assert!(r.wants("p", "first") && r.wants("p", "second"), "{case}");
        r.invoked("p", "first");
        if changes {
            r.changed("p");
        }
        r.invoked("p", "second");
        r.end("p", &a);
        assert_eq!(r.start_second(), again.is_some(), "{case}");
        let Some((first, second)) = again else { continue };
        r.begin("p", if between { &b } else { &a });
        assert_eq!((r.wants("p", "first"), r.wants("p", "second")), (first, second), "{case}");
    }
}
