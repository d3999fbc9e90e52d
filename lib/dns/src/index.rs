//! What the cluster has to say to a resolver: Services, endpoints and namespaces, indexed by the questions that are asked.

use client::{Object, key_of};
use k8s_openapi::api::core::v1::Service as ServiceObject;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;

/// The label that ties a slice to its Service.
const SERVICE_NAME: &str = "kubernetes.io/service-name";

/// A port as SRV answers and port names see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Port {
    pub name: String,
    /// Lower case.
    pub protocol: String,
    /// Unknown where nothing declares ports.
    pub number: Option<u16>,
}

#[derive(Debug)]
pub(crate) enum Kind {
    ClusterIp(Vec<IpAddr>),
    Headless,
    ExternalName(String),
}

#[derive(Debug)]
pub(crate) struct Service {
    pub kind: Kind,
    pub ports: Vec<Port>,
}

/// One ready address.
#[derive(Debug)]
pub(crate) struct Endpoint {
    pub ip: IpAddr,
    /// The pod's hostname in its subdomain, else the address with dashes.
    pub hostname: String,
    pub ports: Arc<[Port]>,
}

/// The index. Keys are `namespace/name`.
#[derive(Debug, Default)]
pub struct Index {
    services: HashMap<String, Service>,
    /// Service -> slice -> its ready endpoints.
    slices: HashMap<String, BTreeMap<String, Vec<Endpoint>>>,
    /// Slice -> the Service it was last filed under.
    slice_owner: HashMap<String, String>,
    services_by_ip: HashMap<IpAddr, BTreeSet<String>>,
    slices_by_ip: HashMap<IpAddr, BTreeSet<(String, String)>>,
    namespaces: HashSet<String>,
    /// Changes so far: the zone's serial number.
    pub(crate) serial: u32,
    /// Whether the first lists are in; before that, what is absent may yet come.
    pub(crate) synced: bool,
}

impl Index {
    pub fn set_synced(&mut self) {
        self.synced = true;
    }

    pub fn put_namespace(&mut self, name: &str) {
        if self.namespaces.insert(name.to_owned()) {
            self.serial = self.serial.wrapping_add(1);
        }
    }

    pub fn remove_namespace(&mut self, name: &str) {
        if self.namespaces.remove(name) {
            self.serial = self.serial.wrapping_add(1);
        }
    }

    pub fn put_service(&mut self, object: &ServiceObject) {
        let key = object.key();
        self.remove_service(&key);
        let service = service(object);
        if let Kind::ClusterIp(ips) = &service.kind {
            for ip in ips {
                self.services_by_ip.entry(*ip).or_default().insert(key.clone());
            }
        }
        self.services.insert(key, service);
        self.serial = self.serial.wrapping_add(1);
    }

    pub fn remove_service(&mut self, key: &str) {
        let Some(old) = self.services.remove(key) else { return };
        if let Kind::ClusterIp(ips) = old.kind {
            for ip in ips {
                remove_from(&mut self.services_by_ip, ip, key);
            }
        }
        self.serial = self.serial.wrapping_add(1);
    }

    pub fn put_slice(&mut self, object: &EndpointSlice) {
        let key = object.key();
        self.remove_slice(&key);
        let Some(owner) = object.label(SERVICE_NAME) else { return };
        let owner = key_of(object.namespace(), owner);
        let endpoints = endpoints(object);
        for e in &endpoints {
            self.slices_by_ip.entry(e.ip).or_default().insert((owner.clone(), key.clone()));
        }
        self.slice_owner.insert(key.clone(), owner.clone());
        self.slices.entry(owner).or_default().insert(key, endpoints);
        self.serial = self.serial.wrapping_add(1);
    }

    pub fn remove_slice(&mut self, key: &str) {
        let Some(owner) = self.slice_owner.remove(key) else { return };
        let Some(slices) = self.slices.get_mut(&owner) else { return };
        let old = slices.remove(key).unwrap_or_default();
        if slices.is_empty() {
            self.slices.remove(&owner);
        }
        let entry = (owner, key.to_owned());
        for e in old {
            if let Some(set) = self.slices_by_ip.get_mut(&e.ip) {
                set.remove(&entry);
                if set.is_empty() {
                    self.slices_by_ip.remove(&e.ip);
                }
            }
        }
        self.serial = self.serial.wrapping_add(1);
    }

    pub(crate) fn has_namespace(&self, name: &str) -> bool {
        self.namespaces.contains(name)
    }

    pub(crate) fn service(&self, namespace: &str, name: &str) -> Option<&Service> {
        self.services.get(&key_of(namespace, name))
    }

    /// The ready endpoints of a Service.
    pub(crate) fn endpoints(&self, namespace: &str, name: &str) -> impl Iterator<Item = &Endpoint> {
        self.slices.get(&key_of(namespace, name)).into_iter().flat_map(|s| s.values().flatten())
    }

    /// The first Service that has this cluster IP, as namespace and name.
    pub(crate) fn service_by_ip(&self, ip: IpAddr) -> Option<(&str, &str)> {
        self.services_by_ip.get(&ip)?.first()?.split_once('/')
    }

    /// Hostname, namespace and Service of every endpoint with this address.
    pub(crate) fn endpoints_by_ip(&self, ip: IpAddr) -> BTreeSet<(&str, &str, &str)> {
        let entries = self.slices_by_ip.get(&ip).into_iter().flatten();
        let endpoints = entries.filter_map(|(owner, slice)| Some((owner, self.slices.get(owner)?.get(slice)?)));
        let mut names = BTreeSet::new();
        for (owner, endpoints) in endpoints {
            let Some((namespace, service)) = owner.split_once('/') else { continue };
            names.extend(endpoints.iter().filter(|e| e.ip == ip).map(|e| (e.hostname.as_str(), namespace, service)));
        }
        names
    }
}

fn remove_from(map: &mut HashMap<IpAddr, BTreeSet<String>>, ip: IpAddr, key: &str) {
    if let Some(set) = map.get_mut(&ip) {
        set.remove(key);
        if set.is_empty() {
            map.remove(&ip);
        }
    }
}

fn service(object: &ServiceObject) -> Service {
    let empty = Service { kind: Kind::ClusterIp(Vec::new()), ports: Vec::new() };
    let Some(spec) = &object.spec else { return empty };
    let ports = spec.ports.iter().flatten().map(|p| Port {
        name: p.name.clone().unwrap_or_default().to_ascii_lowercase(),
        protocol: p.protocol.as_deref().unwrap_or("TCP").to_ascii_lowercase(),
        number: u16::try_from(p.port).ok(),
    });
    let kind = if spec.type_.as_deref() == Some("ExternalName") {
        Kind::ExternalName(spec.external_name.clone().unwrap_or_default())
    } else if spec.cluster_ip.as_deref() == Some("None") {
        Kind::Headless
    } else {
        let all = spec.cluster_ips.iter().flatten().chain(&spec.cluster_ip);
        let mut ips: Vec<IpAddr> = Vec::new();
        for ip in all.filter_map(|ip| ip.parse().ok()) {
            if !ips.contains(&ip) {
                ips.push(ip);
            }
        }
        Kind::ClusterIp(ips)
    };
    Service { kind, ports: ports.collect() }
}

fn endpoints(object: &EndpointSlice) -> Vec<Endpoint> {
    let mut ports: Vec<Port> = object
        .ports
        .iter()
        .flatten()
        .map(|p| Port {
            name: p.name.clone().unwrap_or_default().to_ascii_lowercase(),
            protocol: p.protocol.as_deref().unwrap_or("TCP").to_ascii_lowercase(),
            number: p.port.and_then(|n| u16::try_from(n).ok()),
        })
        .collect();
    if ports.is_empty() {
        ports.push(Port { name: String::new(), protocol: String::new(), number: None });
    }
    let ports: Arc<[Port]> = ports.into();
    // An unknown state counts as ready. Services with publishNotReadyAddresses have all endpoints ready already.
    let ready = object.endpoints.iter().flatten().filter(|e| e.conditions.as_ref().and_then(|c| c.ready).unwrap_or(true));
    let mut found = Vec::new();
    for e in ready {
        for ip in e.addresses.iter().filter_map(|a| a.parse::<IpAddr>().ok()) {
            let hostname = e.hostname.as_deref().filter(|h| !h.is_empty());
            let hostname = hostname.map_or_else(|| dashed(ip), str::to_ascii_lowercase);
            found.push(Endpoint { ip, hostname, ports: ports.clone() });
        }
    }
    found
}

/// An address as a label: 10-0-0-1, fd00--1. A label cannot end with a dash.
fn dashed(ip: IpAddr) -> String {
    let text = ip.to_string().replace(['.', ':'], "-");
    if text.ends_with('-') { text + "0" } else { text }
}
