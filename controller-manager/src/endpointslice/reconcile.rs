//! Fitting desired endpoints into slices with as few writes as possible, and remembering writes until the informer shows them.

use crate::Result;
use crate::core::error::ignore_not_found;
use crate::endpoints::TRIGGER_TIME;
use client::{Client, DeleteOptions, Object};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointPort, EndpointSlice};
use parking_lot::Mutex;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// Endpoints per slice.
pub const MAX_ENDPOINTS: usize = 100;

/// Name, number, protocol, application protocol of each port, sorted.
pub type PortKey = Vec<(String, Option<i32>, String, Option<String>)>;
/// Address type → ports → endpoints.
pub type Desired = BTreeMap<String, BTreeMap<PortKey, Vec<Endpoint>>>;

#[derive(Default, Debug)]
pub struct Plan {
    pub create: Vec<EndpointSlice>,
    pub update: Vec<EndpointSlice>,
    pub delete: Vec<EndpointSlice>,
}

fn port_key(s: &EndpointSlice) -> PortKey {
    let mut key: PortKey = s
        .ports
        .iter()
        .flatten()
        .map(|p| {
            let protocol = p.protocol.clone().unwrap_or_else(|| "TCP".into());
            (p.name.clone().unwrap_or_default(), p.port, protocol, p.app_protocol.clone())
        })
        .collect();
    key.sort();
    key
}

fn ports(key: &PortKey) -> Vec<EndpointPort> {
    let port = |(name, port, protocol, app_protocol): &(String, Option<i32>, String, Option<String>)| EndpointPort {
        name: Some(name.clone()),
        port: *port,
        protocol: Some(protocol.clone()),
        app_protocol: app_protocol.clone(),
    };
    key.iter().map(port).collect()
}

/// What makes two endpoints the same one, whatever its condition.
fn identity(e: &Endpoint) -> String {
    let t = e.target_ref.as_ref();
    let part = |s: Option<&String>| s.map_or("", String::as_str).to_owned();
    format!(
        "{}|{}|{}|{}|{}",
        e.addresses.join(","),
        part(e.hostname.as_ref()),
        part(t.and_then(|t| t.namespace.as_ref())),
        part(t.and_then(|t| t.name.as_ref())),
        part(t.and_then(|t| t.uid.as_ref()))
    )
}

fn len(s: &EndpointSlice) -> usize {
    s.endpoints.as_ref().map_or(0, Vec::len)
}

/// Decides the writes. `dress` brings labels and owner up to date and says whether they changed.
pub fn plan(
    existing: Vec<Arc<EndpointSlice>>,
    desired: Desired,
    dress: &dyn Fn(&mut EndpointSlice) -> bool,
    time: Option<&str>,
) -> Plan {
    let mut plan = Plan::default();
    let mut groups: BTreeMap<(String, PortKey), Vec<EndpointSlice>> = BTreeMap::new();
    for s in existing {
        if desired.contains_key(&s.address_type) {
            groups.entry((s.address_type.clone(), port_key(&s))).or_default().push(EndpointSlice::clone(&s));
        } else {
            plan.delete.push(EndpointSlice::clone(&s));
        }
    }
    for (family, by_ports) in desired {
        let mut kept = 0;
        let mut made = 0;
        for (key, endpoints) in by_ports {
            let old = groups.remove(&(family.clone(), key.clone())).unwrap_or_default();
            let before = plan.create.len();
            kept += fit(&family, &key, old, endpoints, dress, &mut plan);
            made += plan.create.len() - before;
        }
        let mut rest: Vec<EndpointSlice> = Vec::new();
        groups.retain(|(f, _), list| {
            let leave = *f != family;
            if !leave {
                rest.append(list);
            }
            leave
        });
        if kept + made == 0 {
            // A Service without endpoints keeps one empty slice, so that it is known to have none.
            let mut placeholder = match rest.iter().position(|s| s.ports.as_ref().is_none_or(Vec::is_empty)) {
                Some(i) => rest.swap_remove(i),
                None => EndpointSlice { address_type: family.clone(), ..Default::default() },
            };
            let had = len(&placeholder) > 0;
            let fresh = placeholder.metadata.name.is_none();
            placeholder.endpoints = Some(Vec::new());
            if dress(&mut placeholder) || had || fresh {
                if fresh { plan.create.push(placeholder) } else { plan.update.push(placeholder) }
            }
        }
        plan.delete.append(&mut rest);
    }
    for s in plan.create.iter_mut().chain(&mut plan.update) {
        let annotations = s.metadata.annotations.get_or_insert_default();
        match time {
            Some(t) => drop(annotations.insert(TRIGGER_TIME.into(), t.to_owned())),
            None => drop(annotations.remove(TRIGGER_TIME)),
        }
    }
    plan
}

/// One family and port set. Returns how many existing slices stay.
fn fit(
    family: &str,
    key: &PortKey,
    old: Vec<EndpointSlice>,
    endpoints: Vec<Endpoint>,
    dress: &dyn Fn(&mut EndpointSlice) -> bool,
    plan: &mut Plan,
) -> usize {
    let mut wanted: BTreeMap<String, Endpoint> = endpoints.into_iter().map(|e| (identity(&e), e)).collect();
    let mut kept: Vec<(EndpointSlice, bool)> = Vec::new();
    for mut s in old {
        let mut changed = dress(&mut s);
        let mut list = Vec::new();
        for e in s.endpoints.take().unwrap_or_default() {
            match wanted.remove(&identity(&e)) {
                Some(new) => {
                    changed |= e != new;
                    list.push(new);
                }
                None => changed = true,
            }
        }
        if list.is_empty() && wanted.is_empty() {
            plan.delete.push(s);
            continue;
        }
        s.endpoints = Some(list);
        kept.push((s, changed));
    }
    let mut left: Vec<Endpoint> = wanted.into_values().collect();
    // Slices that are written anyway are filled first, the fullest of them first.
    kept.sort_by(|a, b| b.1.cmp(&a.1).then(len(&b.0).cmp(&len(&a.0))));
    for (s, changed) in kept.iter_mut().filter(|(_, changed)| *changed) {
        let room = MAX_ENDPOINTS.saturating_sub(len(s)).min(left.len());
        s.endpoints.get_or_insert_default().extend(left.drain(..room));
        *changed = true;
    }
    // What is left goes whole into the one slice with the least sufficient room, else into new ones.
    while !left.is_empty() {
        let chunk = left.len().min(MAX_ENDPOINTS);
        let fitting = kept.iter_mut().filter(|(s, _)| len(s) + chunk <= MAX_ENDPOINTS).max_by_key(|(s, _)| len(s));
        let part = left.drain(..chunk);
        match fitting {
            Some((s, changed)) => {
                s.endpoints.get_or_insert_default().extend(part);
                *changed = true;
            }
            None => {
                let mut s = EndpointSlice {
                    address_type: family.to_owned(),
                    ports: Some(ports(key)),
                    endpoints: Some(part.collect()),
                    ..Default::default()
                };
                dress(&mut s);
                plan.create.push(s);
            }
        }
    }
    let mut stay = 0;
    for (s, changed) in kept {
        if len(&s) == 0 {
            plan.delete.push(s);
            continue;
        }
        stay += 1;
        if changed {
            plan.update.push(s);
        }
    }
    stay
}

/// The versions written of each Service's slices, until the informer has them: a sync on an older view would create doubles.
#[derive(Default)]
pub struct Written {
    by_service: Mutex<HashMap<String, HashMap<String, Option<i64>>>>,
}

impl Written {
    /// Whether the informer's view is older than our writes. Forgets what has arrived.
    pub fn is_stale(&self, key: &str, existing: &[Arc<EndpointSlice>]) -> bool {
        let mut map = self.by_service.lock();
        let Some(pending) = map.get_mut(key) else { return false };
        pending.retain(|name, generation| {
            let seen = existing.iter().find(|s| s.name() == name).map(|s| s.metadata.generation.unwrap_or(0));
            match (seen, *generation) {
                (None, None) => false,
                (Some(seen), Some(wanted)) => seen < wanted,
                _ => true,
            }
        });
        let stale = !pending.is_empty();
        if !stale {
            map.remove(key);
        }
        stale
    }
    pub fn forget(&self, key: &str) {
        self.by_service.lock().remove(key);
    }
    fn note(&self, key: &str, name: &str, generation: Option<i64>) {
        self.by_service.lock().entry(key.to_owned()).or_default().insert(name.to_owned(), generation);
    }

    /// Writes a plan for the Service `key`.
    pub async fn apply(&self, client: &Client, key: &str, plan: Plan) -> Result {
        let (namespace, _) = client::object::split_key(key);
        for s in plan.create {
            let created = client.create(namespace, &s).await?;
            self.note(key, created.name(), created.metadata.generation.or(Some(0)));
        }
        for s in plan.update {
            match client.update(&s).await {
                Ok(updated) => self.note(key, updated.name(), updated.metadata.generation.or(Some(0))),
                Err(e) => {
                    // Someone else's change or deletion: what we waited for may never come.
                    self.forget(key);
                    return Err(e.into());
                }
            }
        }
        for s in plan.delete {
            let options = DeleteOptions { uid: s.metadata.uid.clone(), ..Default::default() };
            ignore_not_found(client.delete::<EndpointSlice>(namespace, s.name(), &options).await)?;
            self.note(key, s.name(), None);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(n: usize) -> Endpoint {
        Endpoint { addresses: vec![format!("10.0.{}.{}", n / 250, n % 250)], ..Default::default() }
    }
    fn slice(name: &str, range: std::ops::Range<usize>) -> Arc<EndpointSlice> {
        let key: PortKey = vec![("http".into(), Some(80), "TCP".into(), None)];
        let mut s = EndpointSlice {
            address_type: "IPv4".into(),
            ports: Some(ports(&key)),
            endpoints: Some(range.map(endpoint).collect()),
            ..Default::default()
        };
        s.metadata.name = Some(name.into());
        Arc::new(s)
    }
    fn want(range: std::ops::Range<usize>) -> Desired {
        let key: PortKey = vec![("http".into(), Some(80), "TCP".into(), None)];
        let mut groups = BTreeMap::new();
        if !range.is_empty() {
            groups.insert(key, range.map(endpoint).collect());
        }
        BTreeMap::from([("IPv4".to_owned(), groups)])
    }
    fn sizes(list: &[EndpointSlice]) -> Vec<usize> {
        list.iter().map(len).collect()
    }

    #[test]
    fn plans() {
        type Case<'a> = (&'a str, Vec<Arc<EndpointSlice>>, Desired, Vec<usize>, Vec<usize>, usize);
        let cases: Vec<Case> = vec![
            ("no endpoints: one placeholder", vec![], want(0..0), vec![0], vec![], 0),
            ("250 endpoints: three slices", vec![], want(0..250), vec![100, 100, 50], vec![], 0),
            ("nothing changed", vec![slice("a", 0..50)], want(0..50), vec![], vec![], 0),
            ("one more fits", vec![slice("a", 0..50)], want(0..51), vec![], vec![51], 0),
            ("one more into the fuller slice", vec![slice("a", 0..50), slice("b", 50..120)], want(0..121), vec![], vec![71], 0),
            ("full slice: a new one", vec![slice("a", 0..100)], want(0..101), vec![1], vec![], 0),
            ("all gone: a placeholder instead", vec![slice("a", 0..50)], want(0..0), vec![0], vec![], 1),
            ("emptied slice goes", vec![slice("a", 0..50), slice("b", 50..60)], want(0..50), vec![], vec![], 1),
        ];
        for (name, existing, desired, create, update, delete) in cases {
            let p = plan(existing, desired, &|_| false, None);
            assert_eq!((sizes(&p.create), sizes(&p.update), p.delete.len()), (create, update, delete), "{name}");
        }
    }

    #[test]
    fn own_writes_are_waited_for() {
        let w = Written::default();
        w.note("ns/s", "a", Some(2));
        w.note("ns/s", "b", None);
        let at = |generation| {
            let mut s = EndpointSlice::clone(&slice("a", 0..1));
            s.metadata.generation = Some(generation);
            Arc::new(s)
        };
        assert!(w.is_stale("ns/s", &[at(1)]), "update not seen");
        assert!(w.is_stale("ns/s", &[]), "creation not seen");
        assert!(!w.is_stale("ns/s", &[at(2)]));
        assert!(!w.is_stale("ns/s", &[]), "arrived: forgotten");
    }
}
