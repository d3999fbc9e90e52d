//! From a change of Service ports to operations on the table, none of which touches what did not change.
//!
//! Each Service port has a number. Its chains `c<n>` (cluster IP) and `x<n>` (from outside) hold a rule that draws an endpoint's
//! index, looks (n, index) up in the map `endpoints` and rewrites the destination; so a packet costs two hash lookups, however many
//! Services there are.

use crate::claims::Claims;
use crate::model::{Endpoint, ServicePort};
use ipnet::Ipv4Net;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::Hash;
use std::net::Ipv4Addr;
use std::ops::Bound;
use std::time::Duration;

/// Indices of a node's own endpoints begin here, so that both kinds share one map.
pub const LOCAL_BASE: u32 = 1 << 16;

/// Named sets and maps of the table.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Element {
    /// address . protocol . port -> goto chain.
    Service {
        ip: Ipv4Addr,
        protocol: u8,
        port: u16,
        chain: String,
    },
    /// protocol . port -> goto chain.
    NodePort {
        protocol: u8,
        port: u16,
        chain: String,
    },
    /// (service number, index) -> address . port.
    Endpoint {
        service: u32,
        index: u32,
        to: Endpoint,
    },
    /// A pod that may reach itself through a Service.
    Hairpin(Ipv4Addr),
    ClusterIp(Ipv4Addr),
    /// address . protocol . port without endpoints -> reject.
    NoEndpoints {
        ip: Ipv4Addr,
        protocol: u8,
        port: u16,
    },
    NoEndpointsNodePort {
        protocol: u8,
        port: u16,
    },
    /// address . protocol . port -> who may come in.
    Firewall {
        ip: Ipv4Addr,
        protocol: u8,
        port: u16,
        chain: String,
    },
}

/// Whose packets a rule is for.
#[derive(Clone, Debug, PartialEq)]
pub enum From {
    Anyone,
    Net(Ipv4Net),
    /// The node itself.
    Node,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Rule {
    /// Rewrite the source on the way out.
    Masquerade(From),
    /// Stay with the endpoint that this client had.
    Sticky(From, String),
    /// Draw one of `count` endpoints whose indices begin at `first`; remember it in `affinity`.
    Balance {
        from: From,
        service: u32,
        first: u32,
        count: u32,
        affinity: Option<String>,
    },
    Return(From),
    Drop,
}

/// One step of a transaction.
#[derive(Clone, Debug, PartialEq)]
pub enum Op {
    AddChain(String),
    FlushChain(String),
    DeleteChain(String),
    AddRule {
        chain: String,
        rule: Rule,
    },
    Add(Element),
    Delete(Element),
    AddAffinity {
        map: String,
        timeout: Duration,
    },
    DeleteAffinity {
        map: String,
    },
    /// Forget clients of endpoints other than these.
    PruneAffinity {
        map: String,
        keep: BTreeSet<Endpoint>,
    },
}

/// Counts users, so that what two Service ports share goes with the last.
#[derive(Debug)]
struct Counted<T>(HashMap<T, u32>);

impl<T: Hash + Eq> Counted<T> {
    /// True for the first user.
    fn take(&mut self, t: T) -> bool {
        let n = self.0.entry(t).or_insert(0);
        *n += 1;
        *n == 1
    }
    /// True for the last user.
    fn drop(&mut self, t: &T) -> bool {
        match self.0.get_mut(t) {
            Some(n) if *n > 1 => {
                *n -= 1;
                false
            }
            Some(_) => {
                self.0.remove(t);
                true
            }
            None => false,
        }
    }
}

/// What the kernel holds now.
#[derive(Debug)]
pub struct State {
    cluster_cidr: Option<Ipv4Net>,
    /// By `namespace/name:port`; sorted, so that the ports of one Service are found without a look at all others.
    ports: BTreeMap<String, (u32, ServicePort)>,
    claims: Claims,
    /// What those ports asked for that did not get all of it.
    refused: HashMap<String, ServicePort>,
    next: u32,
    cluster_ips: Counted<Ipv4Addr>,
    hairpins: Counted<Ipv4Addr>,
}

impl State {
    pub fn new(cluster_cidr: Option<Ipv4Net>) -> Self {
        Self {
            cluster_cidr,
            ports: BTreeMap::new(),
            claims: Claims::default(),
            refused: HashMap::new(),
            next: 1,
            cluster_ips: Counted(HashMap::new()),
            hairpins: Counted(HashMap::new()),
        }
    }

    /// The Service port known by a name, as it was asked for.
    pub fn get(&self, name: &str) -> Option<&ServicePort> {
        self.refused.get(name).or_else(|| self.ports.get(name).map(|(_, p)| p))
    }

    /// Names of the ports of one Service: those that begin with `namespace/name:`.
    pub fn names_of(&self, service: &str) -> Vec<String> {
        let prefix = format!("{service}:");
        let from = self.ports.range::<str, _>((Bound::Included(prefix.as_str()), Bound::Unbounded));
        from.map(|(k, _)| k).take_while(|k| k.starts_with(&prefix)).cloned().collect()
    }

    /// The operations that bring the kernel from what it holds to what is wanted of these Service ports, each of which comes once.
    /// Others may change with them: who asked for an address that is free now gets it.
    pub fn change(&mut self, wanted: Vec<(String, Option<ServicePort>)>) -> Vec<Op> {
        let mut touched = BTreeSet::new();
        for (name, want) in &wanted {
            let had = self.refused.get(name).or_else(|| self.ports.get(name).map(|(_, p)| p));
            touched.extend(self.claims.put(name, had, want.as_ref()));
        }
        for (name, _) in &wanted {
            touched.remove(name);
        }
        let others = touched.into_iter().map(|name| (self.get(&name).cloned(), name)).map(|(want, name)| (name, want));
        let others: Vec<_> = others.collect();
        let mut ops = Vec::new();
        for (name, want) in others.into_iter().chain(wanted) {
            let granted = want.as_ref().and_then(|w| self.claims.granted(&name, w));
            let was_refused = self.refused.remove(&name).is_some();
            let gets = match (granted, want) {
                (Some(granted), Some(want)) => {
                    if !was_refused {
                        tracing::warn!(port = name, "another Service has an address and port that this one asks for");
                    }
                    self.refused.insert(name.clone(), want);
                    Some(granted)
                }
                (_, want) => want,
            };
            ops.extend(self.replace(&name, gets));
        }
        ops
    }

    /// The operations for one port, in the order that the kernel demands: what refers to a chain goes before the chain and comes
    /// after it.
    fn replace(&mut self, name: &str, want: Option<ServicePort>) -> Vec<Op> {
        let had = self.ports.remove(name);
        if let (Some((id, old)), Some(new)) = (&had, &want)
            && old == new
        {
            let (id, old) = (*id, old.clone());
            self.ports.insert(name.to_owned(), (id, old));
            return Vec::new();
        }
        let mut ops = Vec::new();
        let mut new_elements = Vec::new();
        let id = match &had {
            Some((id, _)) => *id,
            None => {
                self.next += 1;
                self.next - 1
            }
        };
        let mut adds = Vec::new();
        if let Some(new) = &want {
            new_elements = self.elements(id, new);
            self.count(new, &mut adds, true);
        }
        let mut drops = Vec::new();
        if let Some((_, old)) = &had {
            self.count(old, &mut drops, false);
            let gone: Vec<Element> = self.elements(id, old).into_iter().filter(|e| !new_elements.contains(e)).collect();
            let kept: Vec<Element> = self.elements(id, old).into_iter().filter(|e| new_elements.contains(e)).collect();
            new_elements.retain(|e| !kept.contains(e));
            ops.extend(gone.into_iter().map(Op::Delete));
            ops.extend(drops.into_iter().map(Op::Delete));
        }
        let old_chains = had.as_ref().map(|(_, p)| self.chains(id, p)).unwrap_or_default();
        let new_chains = want.as_ref().map(|p| self.chains(id, p)).unwrap_or_default();
        self.affinity_ops(id, had.as_ref().map(|(_, p)| p), want.as_ref(), &mut ops, true);
        for (chain, rules) in &old_chains {
            match new_chains.iter().find(|(c, _)| c == chain) {
                Some((_, same)) if same == rules => {}
                Some(_) => ops.push(Op::FlushChain(chain.clone())),
                None => {
                    ops.push(Op::FlushChain(chain.clone()));
                    ops.push(Op::DeleteChain(chain.clone()));
                }
            }
        }
        self.affinity_ops(id, had.as_ref().map(|(_, p)| p), want.as_ref(), &mut ops, false);
        for (chain, rules) in &new_chains {
            let old = old_chains.iter().find(|(c, _)| c == chain);
            if old.is_none() {
                ops.push(Op::AddChain(chain.clone()));
            }
            if old.is_none_or(|(_, same)| same != rules) {
                ops.extend(rules.iter().map(|rule| Op::AddRule { chain: chain.clone(), rule: rule.clone() }));
            }
        }
        ops.extend(adds.into_iter().map(Op::Add));
        ops.extend(new_elements.into_iter().map(Op::Add));
        if let Some(new) = want {
            self.ports.insert(name.to_owned(), (id, new));
        }
        ops
    }

    /// Elements that Service ports share are counted.
    fn count(&mut self, p: &ServicePort, out: &mut Vec<Element>, take: bool) {
        let ips: BTreeSet<Ipv4Addr> = p.endpoints.iter().chain(&p.local_endpoints).map(|e| e.0).collect();
        for ip in ips {
            let turn = if take { self.hairpins.take(ip) } else { self.hairpins.drop(&ip) };
            if turn {
                out.push(Element::Hairpin(ip));
            }
        }
        if let Some(ip) = p.cluster_ip {
            let turn = if take { self.cluster_ips.take(ip) } else { self.cluster_ips.drop(&ip) };
            if turn {
                out.push(Element::ClusterIp(ip));
            }
        }
    }

    /// Affinity maps: one is made before the rules that use it and removed after them; those that stay forget the endpoints that
    /// are gone. `removal` is the first of the two calls.
    fn affinity_ops(&self, id: u32, old: Option<&ServicePort>, new: Option<&ServicePort>, ops: &mut Vec<Op>, removal: bool) {
        let (had, wants) = (old.and_then(|p| p.affinity), new.and_then(|p| p.affinity));
        let map = affinity_map(id);
        match (had, wants, removal) {
            (Some(a), Some(b), true) if a == b => {
                let keep: BTreeSet<Endpoint> =
                    new.map(|p| p.endpoints.union(&p.local_endpoints).copied().collect()).unwrap_or_default();
                let was =
                    old.map(|p| p.endpoints.union(&p.local_endpoints).copied().collect::<BTreeSet<_>>()).unwrap_or_default();
                if !was.is_subset(&keep) {
                    ops.push(Op::PruneAffinity { map, keep });
                }
            }
            (Some(a), Some(b), false) if a == b => {}
            (_, _, true) => {}
            (had, wants, false) => {
                if had.is_some() {
                    ops.push(Op::DeleteAffinity { map: map.clone() });
                }
                if let Some(timeout) = wants {
                    ops.push(Op::AddAffinity { map, timeout });
                }
            }
        }
    }

    /// Elements that are this port's alone.
    fn elements(&self, id: u32, p: &ServicePort) -> Vec<Element> {
        let (protocol, port) = (p.protocol, p.port);
        let mut out = Vec::new();
        for (i, to) in p.endpoints.iter().enumerate() {
            out.push(Element::Endpoint { service: id, index: index(i), to: *to });
        }
        if p.internal_local || p.external_local {
            for (i, to) in p.local_endpoints.iter().enumerate() {
                out.push(Element::Endpoint { service: id, index: LOCAL_BASE + index(i), to: *to });
            }
        }
        if let Some(ip) = p.cluster_ip {
            out.push(if p.internal().is_empty() {
                Element::NoEndpoints { ip, protocol, port }
            } else {
                Element::Service { ip, protocol, port, chain: format!("c{id}") }
            });
        }
        for ip in &p.external_ips {
            out.push(if p.endpoints.is_empty() {
                Element::NoEndpoints { ip: *ip, protocol, port }
            } else {
                Element::Service { ip: *ip, protocol, port, chain: format!("x{id}") }
            });
            if !p.source_ranges.is_empty() {
                out.push(Element::Firewall { ip: *ip, protocol, port, chain: format!("f{id}") });
            }
        }
        if p.node_port != 0 {
            out.push(if p.endpoints.is_empty() {
                Element::NoEndpointsNodePort { protocol, port: p.node_port }
            } else {
                Element::NodePort { protocol, port: p.node_port, chain: format!("x{id}") }
            });
        }
        out
    }

    /// The port's chains with their rules.
    fn chains(&self, id: u32, p: &ServicePort) -> Vec<(String, Vec<Rule>)> {
        let mut out = Vec::new();
        let affinity = p.affinity.map(|_| affinity_map(id));
        let balance = |from: From, local: bool| {
            let (first, set) = if local { (LOCAL_BASE, &p.local_endpoints) } else { (0, &p.endpoints) };
            let mut rules = Vec::new();
            if let Some(map) = &affinity {
                rules.push(Rule::Sticky(from.clone(), map.clone()));
            }
            rules.push(Rule::Balance { from, service: id, first, count: index(set.len()), affinity: affinity.clone() });
            rules
        };
        if p.cluster_ip.is_some() && !p.internal().is_empty() {
            out.push((format!("c{id}"), balance(From::Anyone, p.internal_local)));
        }
        if p.has_external() && !p.endpoints.is_empty() {
            let mut rules = Vec::new();
            if p.external_local {
                // The cluster's own traffic to an external address goes anywhere; only what comes from outside stays here and
                // keeps its source.
                if let Some(net) = self.cluster_cidr {
                    rules.extend(balance(From::Net(net), false));
                }
                rules.push(Rule::Masquerade(From::Node));
                rules.extend(balance(From::Node, false));
                if p.local_endpoints.is_empty() {
                    rules.push(Rule::Drop);
                } else {
                    rules.extend(balance(From::Anyone, true));
                }
            } else {
                rules.push(Rule::Masquerade(From::Anyone));
                rules.extend(balance(From::Anyone, false));
            }
            out.push((format!("x{id}"), rules));
        }
        if !p.source_ranges.is_empty() && !p.external_ips.is_empty() {
            let mut rules: Vec<Rule> = p.source_ranges.iter().map(|n| Rule::Return(From::Net(*n))).collect();
            rules.push(Rule::Return(From::Node));
            rules.push(Rule::Drop);
            out.push((format!("f{id}"), rules));
        }
        out
    }
}

fn affinity_map(id: u32) -> String {
    format!("a{id}")
}

fn index(i: usize) -> u32 {
    u32::try_from(i).unwrap_or(LOCAL_BASE - 1)
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
