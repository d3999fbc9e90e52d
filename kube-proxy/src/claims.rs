//! Whose an address with its port is when several Service ports ask for it. Nothing keeps two Services from naming one external
//! IP, or the cluster IP of another; the kernel's maps take a key once. A cluster IP comes before an external one, the older Service
//! before the younger, so that all nodes agree and nobody can take what another has; the rest of the loser works.

use crate::model::ServicePort;
use std::collections::{BTreeSet, HashMap};
use std::net::Ipv4Addr;

/// A key of the kernel's maps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Place {
    Address(Ipv4Addr, u8, u16),
    Node(u8, u16),
}

/// Who asks, in the order of who gets it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Claim {
    external: bool,
    created: i64,
    name: String,
}

/// All that is asked for.
#[derive(Debug, Default)]
pub struct Claims(HashMap<Place, BTreeSet<Claim>>);

fn claims(name: &str, p: &ServicePort) -> Vec<(Place, Claim)> {
    let claim = |external| Claim { external, created: p.created, name: name.to_owned() };
    let at = |ip| Place::Address(ip, p.protocol, p.port);
    let mut all: Vec<(Place, Claim)> = p.cluster_ip.into_iter().map(|ip| (at(ip), claim(false))).collect();
    all.extend(p.external_ips.iter().filter(|ip| p.cluster_ip != Some(**ip)).map(|ip| (at(*ip), claim(true))));
    if p.node_port != 0 {
        all.push((Place::Node(p.protocol, p.node_port), claim(true)));
    }
    all
}

impl Claims {
    /// Replaces what a Service port asks for. Returns the others that got or lost something by it.
    pub fn put(&mut self, name: &str, old: Option<&ServicePort>, new: Option<&ServicePort>) -> Vec<String> {
        let [old, new] = [old, new].map(|p| p.map(|p| claims(name, p)).unwrap_or_default());
        let (gone, come): (Vec<_>, Vec<_>) =
            (old.iter().filter(|c| !new.contains(c)).collect(), new.iter().filter(|c| !old.contains(c)).collect());
        let mut touched = Vec::new();
        for (place, claim) in gone {
            let Some(set) = self.0.get_mut(place) else { continue };
            set.remove(claim);
            touched.extend(set.first().filter(|next| claim < *next).map(|next| next.name.clone()));
            if set.is_empty() {
                self.0.remove(place);
            }
        }
        for (place, claim) in come {
            let set = self.0.entry(*place).or_default();
            touched.extend(set.first().filter(|had| claim < *had).map(|had| had.name.clone()));
            set.insert(claim.clone());
        }
        touched.retain(|n| n != name);
        touched
    }

    /// What a Service port gets of what it asks for; `None` is all of it.
    pub fn granted(&self, name: &str, p: &ServicePort) -> Option<ServicePort> {
        let has = |place| self.0.get(&place).and_then(BTreeSet::first).is_some_and(|c| c.name == name);
        let at = |ip: Ipv4Addr| has(Place::Address(ip, p.protocol, p.port));
        let cluster_ip = p.cluster_ip.filter(|ip| at(*ip));
        let external_ips: BTreeSet<Ipv4Addr> =
            p.external_ips.iter().filter(|ip| p.cluster_ip != Some(**ip) && at(**ip)).copied().collect();
        let node_port = if has(Place::Node(p.protocol, p.node_port)) { p.node_port } else { 0 };
        let all = cluster_ip == p.cluster_ip && external_ips.len() == p.external_ips.len() && node_port == p.node_port;
        (!all).then(|| ServicePort { cluster_ip, external_ips, node_port, ..p.clone() })
    }
}
