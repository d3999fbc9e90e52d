//! Who owns whom. Pure data: changes go in, the UIDs to look at come out.

use crate::core::discovery::ApiResource;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

pub type Uid = Arc<str>;

pub const FOREGROUND: &str = "foregroundDeletion";
pub const ORPHAN: &str = "orphan";

/// One object.
#[derive(Clone, Debug)]
pub struct Node {
    pub resource: Arc<ApiResource>,
    pub namespace: Arc<str>,
    pub name: Box<str>,
    pub owners: Vec<OwnerReference>,
    pub being_deleted: bool,
    /// Being deleted in the foreground: waits for its dependents.
    pub deleting_dependents: bool,
    orphaning: bool,
}

impl Node {
    pub fn path(&self) -> String {
        self.resource.path(&self.namespace, &self.name)
    }
    /// The reference names this object as it is.
    fn is_named_by(&self, r: &OwnerReference, dependent_namespace: &str) -> bool {
        self.resource.kind == r.kind
            && *self.name == *r.name
            && group_of(&r.api_version) == self.resource.gvr.group
            && (self.namespace.is_empty() || *self.namespace == *dependent_namespace)
    }
}

fn group_of(api_version: &str) -> &str {
    api_version.split_once('/').map_or("", |(g, _)| g)
}

/// What a change asks for.
#[derive(Debug, Default, PartialEq)]
pub struct Work {
    pub delete: Vec<Uid>,
    pub orphan: Vec<Uid>,
}

#[derive(Default)]
pub struct Graph {
    nodes: HashMap<Uid, Node>,
    /// Dependents by owner, seen or not.
    dependents: HashMap<Uid, HashSet<Uid>>,
}

fn has(meta: &ObjectMeta, finalizer: &str) -> bool {
    meta.finalizers.iter().flatten().any(|f| f == finalizer)
}

impl Graph {
    pub fn get(&self, uid: &str) -> Option<&Node> {
        self.nodes.get(uid)
    }
    pub fn dependents_of(&self, uid: &str) -> Vec<Uid> {
        self.dependents.get(uid).into_iter().flatten().cloned().collect()
    }
    /// Dependents whose reference blocks the owner's foreground deletion.
    pub fn blocking(&self, uid: &str) -> Vec<Uid> {
        let blocks = |d: &Uid| {
            let node = self.nodes.get(d);
            node.is_some_and(|n| n.owners.iter().any(|o| o.uid == uid && o.block_owner_deletion == Some(true)))
        };
        self.dependents_of(uid).into_iter().filter(blocks).collect()
    }
    /// Every owner was seen as the object's references name it, and stays for now.
    pub fn is_settled(&self, node: &Node) -> bool {
        !node.deleting_dependents
            && node
                .owners
                .iter()
                .all(|r| self.nodes.get(&*r.uid).is_some_and(|o| !o.deleting_dependents && o.is_named_by(r, &node.namespace)))
    }

    /// An object was added or changed.
    pub fn put(&mut self, resource: &Arc<ApiResource>, meta: ObjectMeta) -> Work {
        let mut work = Work::default();
        let uid: Uid = meta.uid.as_deref().unwrap_or("").into();
        let being_deleted = meta.deletion_timestamp.is_some();
        let node = Node {
            resource: resource.clone(),
            namespace: meta.namespace.as_deref().unwrap_or("").into(),
            name: meta.name.as_deref().unwrap_or("").into(),
            being_deleted,
            deleting_dependents: being_deleted && has(&meta, FOREGROUND),
            orphaning: being_deleted && has(&meta, ORPHAN),
            owners: meta.owner_references.unwrap_or_default(),
        };
        let old = self.nodes.insert(uid.clone(), node.clone());
        let old_owners = old.as_ref().map(|o| o.owners.clone()).unwrap_or_default();
        for gone in old_owners.iter().filter(|o| node.owners.iter().all(|n| n.uid != o.uid)) {
            self.unfile(&gone.uid, &uid);
        }
        for o in &node.owners {
            self.dependents.entry(o.uid.as_str().into()).or_default().insert(uid.clone());
        }
        // An owner that this object no longer blocks may be able to go.
        for o in old_owners.iter().filter(|o| o.block_owner_deletion == Some(true)) {
            let still = node.owners.iter().any(|n| n.uid == o.uid && n.block_owner_deletion == Some(true));
            if !still && self.nodes.contains_key(&*o.uid) {
                work.delete.push(o.uid.as_str().into());
            }
        }
        if old_owners != node.owners && !self.is_settled(&node) {
            work.delete.push(uid.clone());
        }
        if old.is_none() {
            // References that name this object wrongly were not known to be wrong before.
            let wrong = self.dependents_of(&uid).into_iter().filter(|d| {
                let dep = self.nodes.get(d);
                dep.is_some_and(|dep| dep.owners.iter().any(|r| *r.uid == *uid && !node.is_named_by(r, &dep.namespace)))
            });
            work.delete.extend(wrong);
        }
        if node.orphaning && !old.as_ref().is_some_and(|o| o.orphaning) {
            work.orphan.push(uid);
        } else if node.deleting_dependents && !old.as_ref().is_some_and(|o| o.deleting_dependents) {
            work.delete.extend(self.dependents_of(&uid));
            work.delete.push(uid);
        }
        work
    }

    /// An object is gone.
    pub fn remove(&mut self, uid: &str) -> Work {
        let mut work = Work::default();
        let Some(node) = self.nodes.remove(uid) else { return work };
        for o in &node.owners {
            self.unfile(&o.uid, uid);
            if self.nodes.get(&*o.uid).is_some_and(|n| n.deleting_dependents) {
                work.delete.push(o.uid.as_str().into());
            }
        }
        work.delete.extend(self.dependents_of(uid));
        work
    }

    /// All objects of a resource that is served no more.
    pub fn of_resource(&self, resource: &ApiResource) -> Vec<Uid> {
        self.nodes.iter().filter(|(_, n)| *n.resource == *resource).map(|(u, _)| u.clone()).collect()
    }

    fn unfile(&mut self, owner: &str, dependent: &str) {
        if let Some(set) = self.dependents.get_mut(owner) {
            set.remove(dependent);
            if set.is_empty() {
                self.dependents.remove(owner);
            }
        }
    }
}

/// Owners known not to exist: namespace (empty for cluster-scoped owners), apiVersion, kind, name, UID. UIDs are never used again, so entries never turn wrong.
#[derive(Default)]
pub struct AbsentOwners {
    set: HashSet<AbsentKey>,
    order: VecDeque<AbsentKey>,
}

pub type AbsentKey = (String, String, String, String, String);

impl AbsentOwners {
    const MAX: usize = 500;

    pub fn contains(&self, key: &AbsentKey) -> bool {
        self.set.contains(key)
    }
    pub fn add(&mut self, key: AbsentKey) {
        if self.set.insert(key.clone()) {
            self.order.push_back(key);
            if self.order.len() > Self::MAX
                && let Some(old) = self.order.pop_front()
            {
                self.set.remove(&old);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use machinery::GroupVersionResource;
    use serde_json::{Value, json};

    fn pods() -> Arc<ApiResource> {
        let gvr = GroupVersionResource::new("", "v1", "pods");
        Arc::new(ApiResource { gvr, kind: "Pod".into(), namespaced: true, verbs: vec![], preferred: true })
    }
    fn meta(uid: &str, rest: Value) -> ObjectMeta {
        let mut v = json!({"uid": uid, "name": uid, "namespace": "ns"});
        v.as_object_mut().expect("object").extend(rest.as_object().expect("object").clone());
        serde_json::from_value(v).expect("metadata")
    }
    fn owned_by(owner: &str, block: bool) -> Value {
        json!({"ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": owner, "uid": owner, "blockOwnerDeletion": block}]})
    }
    fn uids(work: &[Uid]) -> Vec<&str> {
        let mut v: Vec<&str> = work.iter().map(|u| &**u).collect();
        v.sort_unstable();
        v
    }

    #[test]
    fn dependents_wait_for_owners_in_any_order() {
        let mut g = Graph::default();
        assert_eq!(uids(&g.put(&pods(), meta("dep", owned_by("own", true))).delete), ["dep"], "an unseen owner is looked up");
        assert_eq!(g.put(&pods(), meta("own", json!({}))), Work::default());
        assert!(g.is_settled(g.get("dep").expect("there")));
        assert_eq!(g.put(&pods(), meta("two", owned_by("own", false))), Work::default(), "a seen owner is not");
        assert_eq!(uids(&g.blocking("own")), ["dep"]);
        assert_eq!(uids(&g.remove("own").delete), ["dep", "two"], "an owner's end concerns its dependents");
    }

    #[test]
    fn foreground_owner_is_looked_at_when_its_last_dependent_goes() {
        let mut g = Graph::default();
        g.put(&pods(), meta("own", json!({})));
        g.put(&pods(), meta("dep", owned_by("own", true)));
        let going = json!({"deletionTimestamp": "2026-01-01T00:00:00Z", "finalizers": [FOREGROUND]});
        assert_eq!(uids(&g.put(&pods(), meta("own", going.clone())).delete), ["dep", "own"]);
        assert_eq!(g.put(&pods(), meta("own", going)), Work::default(), "only the transition counts");
        assert_eq!(uids(&g.put(&pods(), meta("dep", owned_by("own", false))).delete), ["dep", "own"], "unblocked");
        assert_eq!(uids(&g.remove("dep").delete), ["own"]);
    }

    #[test]
    fn orphaning_starts_once() {
        let mut g = Graph::default();
        let going = json!({"deletionTimestamp": "2026-01-01T00:00:00Z", "finalizers": [ORPHAN]});
        assert_eq!(uids(&g.put(&pods(), meta("own", going.clone())).orphan), ["own"]);
        assert_eq!(g.put(&pods(), meta("own", going)), Work::default());
    }

    #[test]
    fn a_reference_with_the_wrong_name_is_checked() {
        let mut g = Graph::default();
        g.put(&pods(), meta("own", json!({})));
        let wrong = json!({"ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": "other", "uid": "own"}]});
        assert_eq!(uids(&g.put(&pods(), meta("dep", wrong)).delete), ["dep"]);
    }
}
