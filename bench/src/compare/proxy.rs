//! From a change of endpoints to the kernel's table: an EndpointSlice is updated, and the kernel tells when the new address is in
//! its tables. Each proxy has a network namespace of its own.

use super::connection::{Call, Connection};
use super::kernel::Listener;
use super::load::Clients;
use super::objects::{self, NAMESPACE};
use super::servers::{Programs, Server, System};
use super::table::{Better, Table};
use super::{Sizes, order};
use crate::child::Process;
use hyper::Method;
use serde_json::json;
use std::net::Ipv4Addr;
use std::path::Path;
use std::time::{Duration, Instant};

const PART: &str = "Proxy: endpoint change to kernel";
const PATIENCE: Duration = Duration::from_secs(120);
const APART: Duration = Duration::from_millis(1200);
const SERVICES: &str = "/api/v1/namespaces/bench/services";
const SLICES: &str = "/apis/discovery.k8s.io/v1/namespaces/bench/endpointslices";

/// A network namespace with `lo` and a link to the API server's. Dropping it removes it.
struct Namespace {
    name: String,
}

fn ip(args: &str) -> Result<(), String> {
    let out = std::process::Command::new("ip").args(args.split(' ')).output().map_err(|e| format!("ip: {e}"))?;
    if out.status.success() { Ok(()) } else { Err(format!("ip {args}: {}", String::from_utf8_lossy(&out.stderr).trim())) }
}

impl Namespace {
    /// `number` makes the addresses: the server's side is 172.31.N.1.
    fn make(prefix: &str, number: u8) -> Result<Self, String> {
        let name = format!("{prefix}-p{number}");
        ip(&format!("netns add {name}"))?;
        let made = Self { name };
        let (name, link) = (&made.name, format!("benchp{number}"));
        ip(&format!("link add {link} type veth peer name eth0 netns {name}"))?;
        ip(&format!("addr add 172.31.{number}.1/24 dev {link}"))?;
        ip(&format!("link set {link} up"))?;
        ip(&format!("-n {name} addr add 172.31.{number}.2/24 dev eth0"))?;
        ip(&format!("-n {name} link set lo up"))?;
        ip(&format!("-n {name} link set eth0 up"))?;
        Ok(made)
    }

    fn path(&self) -> String {
        format!("/run/netns/{}", self.name)
    }

    fn enter(&self) -> Vec<String> {
        vec!["nsenter".into(), format!("--net={}", self.path()), "--".into()]
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = ip(&format!("netns del {}", self.name));
    }
}

/// One system: its server, its proxy, and what the kernel tells of the proxy's namespace. Fields are dropped in this order.
struct Proxied {
    proxy: Option<Process>,
    listener: Listener,
    server: Server,
    clients: Clients,
    namespace: Namespace,
    number: u8,
    /// Changes so far: each has an address of its own.
    changes: u16,
}

pub async fn run(programs: &Programs, dir: &Path, prefix: &str, sizes: &Sizes, table: &mut Table) -> Result<(), String> {
    let dir = dir.join("proxy");
    let mut all = Vec::new();
    for (n, system) in sizes.clusters().into_iter().enumerate() {
        let number = 101 + u8::try_from(n).unwrap_or(0);
        let namespace = Namespace::make(prefix, number)?;
        let port = 18443 + 10 * u16::from(number - 101);
        let server = Server::start(programs, system, &dir, Ipv4Addr::new(172, 31, number, 1), port, &[]).await?;
        server.make_namespace(NAMESPACE).await?;
        let mut admin = Connection::open(&server.endpoint).await?;
        // Upstream's installers grant this; a cluster without them has only the role.
        let binding = json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": "bench-proxy"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "system:node-proxier"},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "system:kube-proxy"}],
        });
        admin.call(&Call::with(Method::POST, "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", &binding)).await?;
        let mut node = objects::node("n1");
        node["status"]["addresses"] = json!([{"type": "InternalIP", "address": format!("172.31.{number}.2")}]);
        admin.call(&Call::with(Method::POST, "/api/v1/nodes", &node)).await?;
        let clients = Clients::open(&server.endpoint, 16).await?;
        let listener = Listener::open(&namespace.path())?;
        all.push(Proxied { proxy: None, listener, server, clients, namespace, number, changes: 0 });
    }
    let mut there = 0;
    for services in &sizes.services {
        all.iter_mut().for_each(|p| p.proxy = None);
        fill(&all, there, *services).await?;
        there = *services;
        for p in &mut all {
            // The change is there before the proxy: the first rules hold it.
            let address = p.change().await?.0;
            let begin = Instant::now();
            p.start(programs, &dir)?;
            let took = p.seen(address, begin, &dir).await?;
            println!("  {}'s first rules after {:.1} s", p.server.system.name(), took.as_secs_f64());
            let what = format!("{services} Services, from the proxy's start to its rules in the kernel");
            table.add(PART, &what, "ms", Better::Lower, p.server.system, took.as_secs_f64() * 1e3);
        }
        // Stock's proxy gathers changes for a second; wait so that each change is one of its own.
        tokio::time::sleep(APART).await;
        for round in 0..=sizes.changes {
            for n in order(round, all.len()) {
                let p = &mut all[n];
                let (address, sent) = p.change().await?;
                let took = p.seen(address, sent, &dir).await?;
                // The first change after a start is a proxy's own warming up.
                if round > 0 {
                    let what = format!("{services} Services, one endpoint more");
                    table.add(PART, &what, "ms", Better::Lower, p.server.system, took.as_secs_f64() * 1e3);
                }
                tokio::time::sleep(APART).await;
            }
        }
    }
    Ok(())
}

/// Fills all stores at the same time: nothing is measured yet.
async fn fill(all: &[Proxied], from: usize, to: usize) -> Result<(), String> {
    let mut fills = tokio::task::JoinSet::new();
    for p in all {
        let (clients, system) = (p.clients.clone(), p.server.system);
        fills.spawn(async move {
            let begin = Instant::now();
            let outcome = add_services(&clients, from, to).await;
            println!("  {to} Services in the store of {} after {:.1} s", system.name(), begin.elapsed().as_secs_f64());
            outcome
        });
    }
    fills.join_all().await.into_iter().collect()
}

async fn add_services(clients: &Clients, from: usize, to: usize) -> Result<(), String> {
    let name = |n: usize| format!("svc-{n}");
    let mut calls = Vec::new();
    for n in from..to {
        calls.push(Call::with(Method::POST, SERVICES, &objects::service(&name(n))));
        let addresses = [100, 101].map(|x| format!("10.{x}.{}.{}", n / 250, 1 + n % 250));
        calls.push(Call::with(Method::POST, SLICES, &objects::endpoint_slice(&name(n), &addresses)));
    }
    clients.run(calls, false).await.map(drop)
}

impl Proxied {
    fn start(&mut self, programs: &Programs, dir: &Path) -> Result<(), String> {
        let kubeconfig = self.server.pki.join("kube-proxy.conf").display().to_string();
        let enter = self.namespace.enter();
        let (program, args) = if self.server.system == System::Stock {
            let config = json!({
                "apiVersion": "kubeproxy.config.k8s.io/v1alpha1", "kind": "KubeProxyConfiguration",
                "clientConnection": {"kubeconfig": kubeconfig, "qps": 10000, "burst": 10000},
                "mode": "nftables", "clusterCIDR": "10.100.0.0/14", "hostnameOverride": "n1",
                "conntrack": {"maxPerCore": 0}, "oomScoreAdj": 0,
            });
            let path = dir.join("proxy.yaml");
            std::fs::write(&path, config.to_string()).map_err(|e| format!("{}: {e}", path.display()))?;
            (programs.stock.join("kube-proxy"), vec![format!("--config={}", path.display())])
        } else {
            let flags = ["--cluster-cidr=10.100.0.0/14", "--hostname-override=n1", "--proxy-mode=nftables"].map(str::to_owned);
            let mut args = vec!["kube-proxy".to_owned(), format!("--kubeconfig={kubeconfig}")];
            args.extend(flags);
            (programs.skiff.clone(), args)
        };
        let name = format!("proxy-{}", self.number);
        self.proxy = Some(Process::start(dir, &name, &enter, &program, args)?);
        Ok(())
    }

    /// Gives the first Service an endpoint that never was: its address, and when the request was sent.
    async fn change(&mut self) -> Result<(Ipv4Addr, Instant), String> {
        let [third, last] = self.changes.to_be_bytes();
        self.changes += 1;
        let address = Listener::address(third, last);
        let slice = objects::endpoint_slice("svc-0", &["10.100.0.1".into(), address.to_string()]);
        let mut connection = Connection::open(&self.server.endpoint).await?;
        let sent = Instant::now();
        connection.call(&Call::with(Method::PUT, format!("{SLICES}/svc-0"), &slice)).await?;
        Ok((address, sent))
    }

    /// The time from `since` until the kernel had `address`.
    async fn seen(&mut self, address: Ipv4Addr, since: Instant, dir: &Path) -> Result<Duration, String> {
        let deadline = Instant::now() + PATIENCE;
        // In steps, to notice a proxy that ended.
        while Instant::now() < deadline {
            match tokio::time::timeout(Duration::from_secs(1), self.listener.seen(address)).await {
                Ok(at) => return Ok(at?.saturating_duration_since(since)),
                Err(_) => self.proxy.as_mut().map_or(Ok(()), Process::check)?,
            }
        }
        let logs = dir.display();
        Err(format!("{}: no {address} in the kernel in {PATIENCE:?}; logs in {logs}", self.server.system.name()))
    }
}
