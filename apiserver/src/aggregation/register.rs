//! APIServices of what this server serves itself: the built-in groups, made at the start, and those of CustomResourceDefinitions,
//! which come and go with them. Upstream: pkg/controlplane/apiserver/aggregator.go, …/controller/crdregistration.

use super::GROUP;
use crate::registry::store_new;
use crate::server::Inner;
use machinery::{Status, Value, json, meta};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use storage::Preconditions;

const MANAGED: &str = "kube-aggregator.kubernetes.io/automanaged";

fn api_service(group: &str, version: &str, (g, v): (i32, i32), managed: &str) -> Value {
    json!({"apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService",
        "metadata": {"name": format!("{version}.{group}"), "labels": {MANAGED: managed}},
        "spec": {"group": group, "version": version, "groupPriorityMinimum": g, "versionPriority": v}})
}

/// Makes those of the built-in groups.
pub async fn builtin(server: &Arc<Inner>) -> Result<(), Status> {
    let table = server.table.load_full();
    let served: BTreeSet<(&str, &str)> =
        table.entries().iter().map(|e| (&*e.row.group, &*e.row.version)).filter(|(g, _)| *g != GROUP).collect();
    // At once, so that they share a transaction of the store.
    let made = served.into_iter().map(|(group, version)| {
        let priority = if group.is_empty() { (18000, 1) } else { crate::discovery::priority(group, version) };
        store_new(server, GROUP, "apiservices", api_service(group, version, priority, "onstart"))
    });
    futures::future::try_join_all(made).await.map(|_| ())
}

/// Groups and versions by CustomResourceDefinition.
#[derive(Default)]
pub struct Custom(BTreeMap<String, Vec<(String, String)>>);

impl Custom {
    /// A definition as it is now, or `None` when it was deleted. Returns what is to be made, and what removed.
    pub fn apply(&mut self, name: &str, definition: Option<&Value>) -> (Vec<(String, String)>, Vec<(String, String)>) {
        let now: Vec<(String, String)> = definition.map_or(Vec::new(), |d| {
            let group = meta::str_at(d, &["spec", "group"]);
            let served = meta::list_at(d, &["spec", "versions"]).iter().filter(|v| meta::bool_at(v, &["served"]));
            served.map(|v| (group.to_owned(), meta::str_at(v, &["name"]).to_owned())).collect()
        });
        let before = if now.is_empty() { self.0.remove(name) } else { self.0.insert(name.to_owned(), now.clone()) };
        let wanted = |gv: &(String, String)| self.0.values().flatten().any(|x| x == gv);
        let gone = before.unwrap_or_default().into_iter().filter(|gv| !wanted(gv)).collect();
        (now, gone)
    }
}

/// Makes and removes the APIServices of custom resources.
pub async fn custom(server: &Arc<Inner>, make: Vec<(String, String)>, remove: Vec<(String, String)>) {
    for (group, version) in make {
        let made = store_new(server, GROUP, "apiservices", api_service(&group, &version, (1000, 100), "true")).await;
        if let Err(error) = made {
            tracing::warn!(group, version, %error, "making the APIService of a custom resource");
        }
    }
    let Ok(entry) = server.entry(GROUP, "apiservices") else { return };
    let Some(storage) = &entry.storage else { return };
    for (group, version) in remove {
        let name = format!("{version}.{group}");
        // One that somebody else made stays.
        let ours = |o: &Value| meta::str_at(o, &["metadata", "labels", MANAGED]) == "true";
        match storage.get("", &name, "").await {
            Ok(o) if ours(&o.value()) => {
                if let Err(error) = storage.delete("", &name, &Preconditions::default(), |_| Ok(())).await {
                    tracing::warn!(name, %error, "removing the APIService of a custom resource");
                }
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn custom_groups_stay_while_somebody_serves_them() {
        let definition = |versions: &[&str]| {
            let versions: Vec<Value> = versions.iter().map(|v| json!({"name": v, "served": true})).collect();
            json!({"spec": {"group": "g", "versions": versions}})
        };
        let gv = |v: &str| ("g".to_owned(), v.to_owned());
        let mut c = Custom::default();
        assert_eq!(c.apply("a", Some(&definition(&["v1", "v2"]))), (vec![gv("v1"), gv("v2")], vec![]));
        assert_eq!(c.apply("b", Some(&definition(&["v1"]))), (vec![gv("v1")], vec![]));
        assert_eq!(c.apply("a", None), (vec![], vec![gv("v2")]));
        assert_eq!(c.apply("b", None), (vec![], vec![gv("v1")]));
    }
}
