//! From a change of endpoints to the kernel's table: an EndpointSlice is updated, and `nft monitor` tells when the new address is in
//! the kernel. Each proxy has a network namespace of its own.

use super::child::Process;
use super::connection::{Call, Connection};
use super::load::Clients;
use super::objects::{self, NAMESPACE};
use super::servers::{Programs, Server, System};
use super::table::{Better, Table};
use super::{Sizes, order};
use hyper::Method;
use serde_json::json;
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

const PART: &str = "Proxy: endpoint change to kernel";
const PATIENCE: Duration = Duration::from_secs(120);
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

    fn enter(&self) -> Vec<String> {
        vec!["nsenter".into(), format!("--net=/run/netns/{}", self.name), "--".into()]
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
    monitor: Option<(Child, Lines<BufReader<ChildStdout>>)>,
    server: Server,
    clients: Clients,
    namespace: Namespace,
    number: u8,
}

pub async fn run(programs: &Programs, dir: &Path, prefix: &str, sizes: &Sizes, table: &mut Table) -> Result<(), String> {
    let dir = dir.join("proxy");
    let mut all = Vec::new();
    for (n, system) in [System::Skiff, System::Stock].into_iter().enumerate() {
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
        all.push(Proxied { proxy: None, monitor: None, server, clients, namespace, number });
    }
    let mut there = 0;
    for services in &sizes.services {
        for p in &mut all {
            p.proxy = None;
            p.monitor = None;
            add_services(&p.clients, there, *services).await?;
            let begin = Instant::now();
            p.start(programs, &dir)?;
            p.caught_up(&dir).await?;
            let what = format!("{services} Services, from the proxy's start to the first change followed");
            table.add(PART, &what, "ms", Better::Lower, p.server.system, begin.elapsed().as_secs_f64() * 1e3);
        }
        there = *services;
        println!("  {services} Services");
        for round in 0..sizes.changes {
            for n in order(round, all.len()) {
                let p = &mut all[n];
                let took = p.change(&dir, 2 + round % 200, u8::try_from(round / 200).unwrap_or(0)).await?;
                let what = format!("{services} Services");
                table.add(PART, &what, "ms", Better::Lower, p.server.system, took.as_secs_f64() * 1e3);
                // Stock's proxy gathers changes for a second; wait so that each change is one of its own.
                tokio::time::sleep(Duration::from_millis(1200)).await;
            }
        }
    }
    Ok(())
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
        self.listen()?;
        self.proxy = Some(Process::start(dir, &name, &enter, &program, args)?);
        Ok(())
    }

    /// Waits until the proxy follows changes. What the kernel tells of the first rules may be more than a listener gets, and `nft`
    /// says nothing of maps that it did not hear of: each attempt has a new listener, which begins with what there is.
    async fn caught_up(&mut self, dir: &Path) -> Result<(), String> {
        let deadline = Instant::now() + PATIENCE;
        for n in 1.. {
            if let Ok(outcome) = tokio::time::timeout(Duration::from_secs(3), self.change(dir, n, 250)).await {
                return outcome.map(drop);
            }
            if let Some(p) = &mut self.proxy {
                p.check()?;
            }
            if Instant::now() > deadline {
                break;
            }
            self.listen()?;
            // It reads the tables before it listens, and does not say when it is done.
            tokio::time::sleep(Duration::from_secs(2)).await;
        }
        Err(format!("{} does not catch up; logs in {}", self.server.system.name(), dir.display()))
    }

    /// Follows what changes in the kernel's tables.
    fn listen(&mut self) -> Result<(), String> {
        let enter = self.namespace.enter();
        let mut monitor = Command::new("nsenter");
        monitor.args(&enter[1..]).args(["nft", "-nn", "monitor"]).stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true);
        let mut monitor = monitor.spawn().map_err(|e| format!("nft monitor: {e}"))?;
        let lines = monitor.stdout.take().map(|o| BufReader::with_capacity(1 << 20, o).lines()).ok_or("no output of nft")?;
        self.monitor = Some((monitor, lines));
        Ok(())
    }

    /// Gives the first Service an endpoint that never was; the time until the kernel has it.
    async fn change(&mut self, dir: &Path, last: usize, third: u8) -> Result<Duration, String> {
        let address = format!("10.102.{third}.{last}");
        let slice = objects::endpoint_slice("svc-0", &["10.100.0.1".into(), address.clone()]);
        let mut connection = Connection::open(&self.server.endpoint).await?;
        let (_, lines) = self.monitor.as_mut().ok_or("no monitor")?;
        let begin = Instant::now();
        connection.call(&Call::with(Method::PUT, format!("{SLICES}/svc-0"), &slice)).await?;
        let seen = async {
            while let Some(line) = lines.next_line().await.map_err(|e| e.to_string())? {
                let ends = |rest: &str| !rest.starts_with(|c: char| c.is_ascii_digit());
                if line.match_indices(&address).any(|(at, _)| ends(&line[at + address.len()..])) {
                    return Ok(begin.elapsed());
                }
            }
            Err("nft monitor ended".to_owned())
        };
        match tokio::time::timeout(PATIENCE, seen).await {
            Ok(outcome) => outcome,
            Err(_) => {
                if let Some(p) = &mut self.proxy {
                    p.check()?;
                }
                let logs = dir.display();
                Err(format!("{}: no {address} in the kernel in {PATIENCE:?}; logs in {logs}", self.server.system.name()))
            }
        }
    }
}
