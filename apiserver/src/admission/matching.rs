//! What webhooks and policies match requests by: rules (which operations on which resources), and selectors of objects and
//! namespaces. Upstream: apiserver/pkg/admission/plugin/webhook/predicates.

use super::{Attributes, Lister, Operation};
use machinery::labels::Selector;
use machinery::{GroupResource, GroupVersionResource, Status, Value, meta};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scope {
    All,
    Cluster,
    Namespaced,
}

/// One rule; in each list `*` is all.
#[derive(Clone, Debug)]
pub struct Rule {
    operations: Vec<String>,
    groups: Vec<String>,
    versions: Vec<String>,
    /// `pods`, `pods/log`, `*/scale`, `pods/*`, `*`, `*/*`.
    resources: Vec<String>,
    scope: Scope,
}

/// The strings of a list.
pub fn strings(v: &Value, field: &str) -> Vec<String> {
    meta::list_at(v, &[field]).iter().filter_map(|s| s.as_str().map(str::to_owned)).collect()
}

impl Rule {
    pub fn parse(v: &Value) -> Self {
        Self {
            operations: strings(v, "operations"),
            groups: strings(v, "apiGroups"),
            versions: strings(v, "apiVersions"),
            resources: strings(v, "resources"),
            scope: match meta::str_at(v, &["scope"]) {
                "Cluster" => Scope::Cluster,
                "Namespaced" => Scope::Namespaced,
                _ => Scope::All,
            },
        }
    }

    /// `namespace` is empty for objects of the cluster, and of a Namespace its own name.
    pub fn matches(&self, operation: Operation, gvr: &GroupVersionResource, subresource: &str, namespace: &str) -> bool {
        let cluster = namespace.is_empty() || gvr.group.is_empty() && gvr.version == "v1" && gvr.resource == "namespaces";
        let scope = match self.scope {
            Scope::All => true,
            Scope::Cluster => cluster,
            Scope::Namespaced => !cluster,
        };
        scope
            && any(&self.operations, operation.as_str())
            && any(&self.groups, &gvr.group)
            && any(&self.versions, &gvr.version)
            && self.resources.iter().any(|r| {
                let (r, s) = r.split_once('/').unwrap_or((r, ""));
                (r == "*" || r == gvr.resource) && (s == "*" || s == subresource)
            })
    }
}

fn any(list: &[String], wanted: &str) -> bool {
    list.iter().any(|x| x == "*" || x == wanted)
}

/// Whether the request's object is selected, or the one that is stored.
pub fn selects(objects: &Selector, attrs: &Attributes, obj: &Value) -> bool {
    let selected = |o: &Value| o.get("metadata").is_some() && objects.matches(meta::labels(o));
    objects.is_everything() || selected(obj) || selected(attrs.old())
}

/// Whether the request's namespace is selected. What is in none always is; a Namespace is by its own labels.
pub async fn in_namespaces(selector: &Selector, attrs: &Attributes, obj: &Value, cx: &dyn Lister) -> Result<bool, Status> {
    let own = attrs.is_main("", "namespaces");
    if selector.is_everything() || attrs.namespace.is_empty() && !own {
        return Ok(true);
    }
    if own && matches!(attrs.operation, Operation::Create | Operation::Update) {
        return Ok(selector.matches(meta::labels(obj)));
    }
    let name = if attrs.namespace.is_empty() { &attrs.name } else { &attrs.namespace };
    let found = match cx.get("", "namespaces", "", name) {
        Some(found) => Some(found),
        None => cx.get_live("", "namespaces", "", name).await?,
    };
    let found = found.ok_or_else(|| Status::not_found(&GroupResource::new("", "namespaces"), name))?;
    Ok(selector.matches(meta::labels(&found)))
}
