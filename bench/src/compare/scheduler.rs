//! Scheduling throughput: pods that wait are bound to fake nodes, each scheduler against its own API server, and Skiff's also against
//! the stock one. No kubelet runs; the rate is between the first and the last binding that a watch tells of.

use super::connection::{Call, Connection};
use super::load::Clients;
use super::objects::{self, NAMESPACE};
use super::servers::{Programs, Server, System};
use super::table::{Better, Table};
use super::watch::Watch;
use super::{Sizes, order};
use crate::child::{self, Process};
use hyper::Method;
use serde_json::{Value, json};
use std::collections::HashSet;
use std::net::Ipv4Addr;
use std::path::Path;
use std::time::{Duration, Instant};

const PART: &str = "Scheduler";
/// The number of nodes with which Skiff's scheduler is also measured on the stock API server.
const CROSSED: usize = 1000;
const PATIENCE: Duration = Duration::from_secs(180);

pub async fn run(programs: &Programs, dir: &Path, sizes: &Sizes, table: &mut Table) -> Result<(), String> {
    let dir = dir.join("scheduler");
    let mut servers = Vec::new();
    for (n, system) in sizes.clusters().into_iter().enumerate() {
        let port = 17443 + 10 * u16::try_from(n).unwrap_or(0);
        // Nodes that nobody runs would get the taint of those that are not ready.
        let more = ["--disable-admission-plugins=TaintNodesByCondition"];
        let server = Server::start(programs, system, &dir, Ipv4Addr::LOCALHOST, port, &more).await?;
        server.make_namespace(NAMESPACE).await?;
        let clients = Clients::open(&server.endpoint, 16).await?;
        servers.push((server, clients));
    }
    let mut there = 0;
    for (nodes, pods) in &sizes.scheduler {
        for (_, clients) in &servers {
            let calls = (there..*nodes).map(|n| Call::with(Method::POST, "/api/v1/nodes", &objects::node(&format!("node-{n}"))));
            clients.run(calls.collect(), false).await?;
        }
        there = *nodes;
        println!("  {nodes} nodes");
        let crossed = *nodes == CROSSED && servers.len() > 1;
        for round in 0..sizes.scheduler_rounds {
            for n in order(round, servers.len() + usize::from(crossed)) {
                // Each with its own, then Skiff's with the stock API server, which is the last of them.
                let (server, clients) = &servers[n.min(servers.len() - 1)];
                let system = if n < servers.len() { server.system } else { System::Skiff };
                let (rate, cpu) = once(programs, &dir, server, clients, system == System::Skiff, *pods).await?;
                let what = |api: &str| format!("{nodes} nodes, {pods} pods, {api} API server");
                let both = crossed && system == server.system && system == System::Stock;
                for api in [if n < servers.len() { "own" } else { "stock" }].into_iter().chain(both.then_some("stock")) {
                    table.add(PART, &what(api), "pods/s", Better::Higher, system, rate);
                    table.add(PART, &what(api), "CPU us/pod, scheduler", Better::Lower, system, cpu);
                }
            }
        }
    }
    Ok(())
}

fn start(programs: &Programs, dir: &Path, server: &Server, skiff: bool) -> Result<Process, String> {
    let kubeconfig = server.pki.join("scheduler.conf").display().to_string();
    if skiff {
        let args = ["kube-scheduler".to_owned(), format!("--kubeconfig={kubeconfig}"), "--leader-elect=false".into()];
        return Process::start(dir, "scheduler-skiff", &[], &programs.skiff, args);
    }
    // Without the client's rate limit, which would be all that is measured.
    let config = json!({
        "apiVersion": "kubescheduler.config.k8s.io/v1",
        "kind": "KubeSchedulerConfiguration",
        "clientConnection": {"kubeconfig": kubeconfig, "qps": 10000, "burst": 10000},
        "leaderElection": {"leaderElect": false},
    });
    let path = dir.join("scheduler.yaml");
    std::fs::write(&path, config.to_string()).map_err(|e| format!("{}: {e}", path.display()))?;
    let args = [format!("--config={}", path.display()), "--secure-port=0".into()];
    Process::start(dir, "scheduler-stock", &[], &programs.stock.join("kube-scheduler"), args)
}

/// Pods per second, and the scheduler's CPU per pod in microseconds.
async fn once(
    programs: &Programs,
    dir: &Path,
    server: &Server,
    clients: &Clients,
    skiff: bool,
    count: usize,
) -> Result<(f64, f64), String> {
    let path = format!("/api/v1/namespaces/{NAMESPACE}/pods");
    let creates = (0..count).map(|n| Call::with(Method::POST, &path, &objects::plain_pod(&format!("basic-{n}"))));
    clients.run(creates.collect(), false).await?;
    let mut watch = Watch::from_now(Connection::open(&server.endpoint).await?, &path).await?;
    let mut scheduler = start(programs, dir, server, skiff)?;
    let mut bound: HashSet<String> = HashSet::new();
    let (mut first, mut last) = (None, Instant::now());
    let follow = async {
        while bound.len() < count {
            let (line, now) = watch.next().await?;
            if let Ok(event) = serde_json::from_slice::<Value>(&line)
                && event["object"]["spec"]["nodeName"].is_string()
                && bound.insert(event["object"]["metadata"]["name"].as_str().unwrap_or_default().to_owned())
            {
                first.get_or_insert((now, child::cpu_seconds(&[scheduler.pid()])));
                last = now;
            }
        }
        Ok::<_, String>(())
    };
    match tokio::time::timeout(PATIENCE, follow).await {
        Ok(outcome) => outcome?,
        Err(_) => {
            scheduler.check()?;
            return Err(format!("{}: {} of {count} pods were bound in {PATIENCE:?}", scheduler.name, bound.len()));
        }
    }
    let (from, cpu) = first.ok_or("no pod was bound")?;
    let cpu = child::cpu_seconds(&[scheduler.pid()]) - cpu;
    scheduler.stop();
    let now = json!({"apiVersion": "v1", "kind": "DeleteOptions", "gracePeriodSeconds": 0});
    let deletes = (0..count).map(|n| Call::with(Method::DELETE, format!("{path}/basic-{n}"), &now));
    clients.run(deletes.collect(), false).await?;
    Ok(((count - 1) as f64 / (last - from).as_secs_f64(), 1e6 * cpu / count as f64))
}
