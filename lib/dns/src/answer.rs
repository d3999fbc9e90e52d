//! Questions about the cluster domain and about addresses, answered from the index.

use crate::index::{Endpoint, Index, Kind, Port};
use crate::wire::Reply;
use hickory_proto::ProtoError;
use hickory_proto::op::{Query, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA, CNAME, NS, PTR, SOA, SRV, TXT};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use parking_lot::RwLock;
use rand::seq::SliceRandom;
use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::Arc;

/// Time to live of every answer, and of what does not exist.
const TTL: u32 = 30;
const VERSION_TTL: u32 = 28_800;

/// The cluster's names.
pub struct Zone {
    domain: Name,
    labels: Vec<String>,
    /// Where this server is reached: the addresses of `ns.dns`.
    own: Vec<IpAddr>,
    index: Arc<RwLock<Index>>,
}

/// What the index has to say on a question.
pub enum Outcome {
    Reply(Reply),
    /// Another name answers for this one.
    Alias {
        record: Record,
        target: Name,
    },
    /// The name is not the cluster's.
    Elsewhere,
}

/// What a name of the cluster domain stands for.
enum Found {
    /// The name exists, with nothing of its own.
    Nothing,
    Hosts(Vec<Host>),
    Alias(String),
}

struct Host {
    ip: IpAddr,
    port: Option<u16>,
    /// The name that SRV answers point to, without the domain.
    target: String,
}

/// The name does not exist.
struct NoSuchName;

impl Zone {
    pub fn new(domain: &str, own: Vec<IpAddr>, index: Arc<RwLock<Index>>) -> Result<Self, ProtoError> {
        let mut name = Name::from_ascii(domain)?;
        name.set_fqdn(true);
        let labels = domain.trim_matches('.').split('.').map(str::to_ascii_lowercase).collect();
        Ok(Self { domain: name, labels, own, index })
    }

    pub fn answer(&self, query: &Query) -> Outcome {
        let labels: Option<Vec<String>> =
            query.name.iter().map(|l| std::str::from_utf8(l).ok().map(str::to_ascii_lowercase)).collect();
        let Some(labels) = labels else { return Outcome::Elsewhere };
        let index = self.index.read();
        if let Some(rest) = labels.strip_suffix(self.labels.as_slice()) {
            let apex = query.name.trim_to(self.labels.len());
            if matches!(query.query_type, RecordType::AXFR | RecordType::IXFR) {
                return Outcome::Reply(Reply::code(ResponseCode::Refused));
            }
            return self.cluster(&index, query, &apex, &rest.iter().map(String::as_str).collect::<Vec<_>>());
        }
        match labels.as_slice() {
            [.., zone, arpa] if arpa == "arpa" && (zone == "in-addr" || zone == "ip6") => self.reverse(&index, query),
            _ => Outcome::Elsewhere,
        }
    }

    fn cluster(&self, index: &Index, query: &Query, apex: &Name, rest: &[&str]) -> Outcome {
        let own = || self.own.iter().map(|ip| Host { ip: *ip, port: None, target: "ns.dns".into() }).collect();
        let found = match rest {
            ["dns-version"] if query.query_type == RecordType::TXT => {
                let text = RData::TXT(TXT::new(vec![crate::SCHEMA_VERSION.into()]));
                return answered(vec![Record::from_rdata(query.name.clone(), VERSION_TTL, text)]);
            }
            ["ns", "dns"] => Ok(Found::Hosts(own())),
            [] if query.query_type == RecordType::SOA => return answered(vec![self.soa(index, apex)]),
            [] if query.query_type == RecordType::NS => {
                let Ok(target) = self.name("ns.dns") else { return failed() };
                let mut reply = reply(vec![Record::from_rdata(query.name.clone(), TTL, RData::NS(NS(target.clone())))]);
                reply.additionals = self.own.iter().map(|ip| address(&target, *ip)).collect();
                return Outcome::Reply(reply);
            }
            [] => Ok(Found::Nothing),
            [.., "svc"] => services(index, &rest[..rest.len() - 1]),
            [.., "pod"] => pods(index, &rest[..rest.len() - 1]),
            _ => Err(NoSuchName),
        };
        let nothing = |code| {
            let authorities = vec![self.soa(index, apex)];
            Outcome::Reply(Reply { code, authoritative: true, authorities, ..Reply::default() })
        };
        match found {
            Err(NoSuchName) if !index.synced => failed(),
            Err(NoSuchName) => nothing(ResponseCode::NXDomain),
            Ok(Found::Nothing) => nothing(ResponseCode::NoError),
            Ok(Found::Alias(target)) => {
                let Ok(mut target) = Name::from_ascii(&target) else { return failed() };
                target.set_fqdn(true);
                let record = Record::from_rdata(query.name.clone(), TTL, RData::CNAME(CNAME(target.clone())));
                match query.query_type {
                    RecordType::A | RecordType::AAAA => Outcome::Alias { record, target },
                    RecordType::CNAME => answered(vec![record]),
                    _ => nothing(ResponseCode::NoError),
                }
            }
            Ok(Found::Hosts(hosts)) => match self.hosts(query, hosts) {
                Some(reply) => Outcome::Reply(reply),
                None => nothing(ResponseCode::NoError),
            },
        }
    }

    /// Address or SRV records; none if there are none of the type asked for.
    fn hosts(&self, query: &Query, hosts: Vec<Host>) -> Option<Reply> {
        let mut seen = HashSet::new();
        if query.query_type == RecordType::SRV {
            let weight = u16::try_from(100 / hosts.len().max(1)).unwrap_or(1).max(1);
            let mut r = reply(Vec::new());
            let mut ports = HashSet::new();
            for h in hosts {
                let Some(port) = h.port else { continue };
                let Ok(target) = self.name(&h.target) else { continue };
                if ports.insert((h.target.clone(), port)) {
                    let srv = RData::SRV(SRV::new(0, weight, port, target.clone()));
                    r.answers.push(Record::from_rdata(query.name.clone(), TTL, srv));
                }
                if seen.insert((h.target, h.ip)) {
                    r.additionals.push(address(&target, h.ip));
                }
            }
            r.answers.shuffle(&mut rand::rng());
            return (!r.answers.is_empty()).then_some(r);
        }
        let of_type = |ip: &IpAddr| match query.query_type {
            RecordType::A => ip.is_ipv4(),
            RecordType::AAAA => ip.is_ipv6(),
            _ => false,
        };
        let ips = hosts.into_iter().map(|h| h.ip).filter(of_type).filter(|ip| seen.insert((String::new(), *ip)));
        let mut answers: Vec<Record> = ips.map(|ip| address(&query.name, ip)).collect();
        answers.shuffle(&mut rand::rng());
        (!answers.is_empty()).then(|| reply(answers))
    }

    fn reverse(&self, index: &Index, query: &Query) -> Outcome {
        let net = query.name.parse_arpa_name().ok().filter(|n| n.prefix_len() == n.max_prefix_len());
        let Some(ip) = net.map(|n| n.addr()) else { return Outcome::Elsewhere };
        let mut names: Vec<String> =
            index.service_by_ip(ip).map(|(namespace, name)| format!("{name}.{namespace}.svc")).into_iter().collect();
        if names.is_empty() {
            names
                .extend(index.endpoints_by_ip(ip).iter().map(|(host, namespace, name)| format!("{host}.{name}.{namespace}.svc")));
        }
        if names.is_empty() {
            return Outcome::Elsewhere;
        }
        let zone = query.name.trim_to(2);
        if query.query_type != RecordType::PTR {
            let authorities = vec![self.soa(index, &zone)];
            return Outcome::Reply(Reply { authoritative: true, authorities, ..Reply::default() });
        }
        let targets = names.iter().filter_map(|n| self.name(n).ok());
        answered(targets.map(|t| Record::from_rdata(query.name.clone(), TTL, RData::PTR(PTR(t)))).collect())
    }

    /// A name of the domain.
    fn name(&self, local: &str) -> Result<Name, ProtoError> {
        Name::from_ascii(local)?.append_domain(&self.domain)
    }

    fn soa(&self, index: &Index, zone: &Name) -> Record {
        let at = |local: &str| Name::from_ascii(local).and_then(|n| n.append_domain(zone)).unwrap_or_else(|_| zone.clone());
        let soa = SOA::new(at("ns.dns"), at("hostmaster"), index.serial, 7200, 1800, 86_400, TTL);
        Record::from_rdata(zone.clone(), TTL, RData::SOA(soa))
    }
}

fn reply(answers: Vec<Record>) -> Reply {
    Reply { authoritative: true, answers, ..Reply::default() }
}

fn answered(answers: Vec<Record>) -> Outcome {
    Outcome::Reply(reply(answers))
}

fn failed() -> Outcome {
    Outcome::Reply(Reply::code(ResponseCode::ServFail))
}

fn address(name: &Name, ip: IpAddr) -> Record {
    let data = match ip {
        IpAddr::V4(ip) => RData::A(A(ip)),
        IpAddr::V6(ip) => RData::AAAA(AAAA(ip)),
    };
    Record::from_rdata(name.clone(), TTL, data)
}

fn bare(label: &str) -> &str {
    label.strip_prefix('_').unwrap_or(label)
}

/// Names below `svc`: `[[_port._protocol.] | [hostname.]] service.namespace`.
fn services(index: &Index, rest: &[&str]) -> Result<Found, NoSuchName> {
    let (namespace, service, endpoint, port) = match rest {
        [] => return Ok(Found::Nothing),
        [namespace] if index.has_namespace(namespace) => return Ok(Found::Nothing),
        [service, namespace] => (*namespace, *service, None, None),
        [endpoint, service, namespace] => (*namespace, *service, Some(*endpoint), None),
        [port, protocol, service, namespace] => (*namespace, *service, None, Some((bare(port), bare(protocol)))),
        _ => return Err(NoSuchName),
    };
    if !index.has_namespace(namespace) {
        return Err(NoSuchName);
    }
    let found = index.service(namespace, service).ok_or(NoSuchName)?;
    let asked = |p: &&Port| {
        port.is_none_or(|(name, protocol)| (name.is_empty() || p.name == name) && (protocol.is_empty() || p.protocol == protocol))
    };
    match (&found.kind, endpoint) {
        // An IP address is no name to be an alias of.
        (Kind::ExternalName(to), None) if port.is_none() && !to.is_empty() && to.parse::<IpAddr>().is_err() => {
            Ok(Found::Alias(to.clone()))
        }
        (Kind::ExternalName(_), _) => Err(NoSuchName),
        (Kind::ClusterIp(ips), None) => {
            let ports: Vec<&Port> = found.ports.iter().filter(asked).collect();
            if ports.is_empty() {
                return Err(NoSuchName);
            }
            let target = format!("{service}.{namespace}.svc");
            let hosts = ports.iter().flat_map(|p| ips.iter().map(|ip| (*ip, p.number)));
            Ok(Found::Hosts(hosts.map(|(ip, port)| Host { ip, port, target: target.clone() }).collect()))
        }
        (Kind::Headless | Kind::ClusterIp(_), _) => {
            let of_name = |e: &&Endpoint| endpoint.is_none_or(|name| e.hostname == name);
            let mut hosts = Vec::new();
            for e in index.endpoints(namespace, service).filter(of_name) {
                for p in e.ports.iter().filter(asked) {
                    let target = format!("{}.{service}.{namespace}.svc", e.hostname);
                    hosts.push(Host { ip: e.ip, port: p.number, target });
                }
            }
            if hosts.is_empty() { Err(NoSuchName) } else { Ok(Found::Hosts(hosts)) }
        }
    }
}

/// Names below `pod`: an address with dashes, in a namespace that exists. Whether such a pod exists is not asked.
fn pods(index: &Index, rest: &[&str]) -> Result<Found, NoSuchName> {
    match rest {
        [] => Ok(Found::Nothing),
        [namespace] if index.has_namespace(namespace) => Ok(Found::Nothing),
        [pod, namespace] if index.has_namespace(namespace) => {
            let v4 = pod.matches('-').count() == 3 && !pod.contains("--");
            let ip = pod.replace('-', if v4 { "." } else { ":" }).parse::<IpAddr>().map_err(|_| NoSuchName)?;
            Ok(Found::Hosts(vec![Host { ip, port: None, target: format!("{pod}.{namespace}.pod") }]))
        }
        _ => Err(NoSuchName),
    }
}
