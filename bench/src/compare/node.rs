//! A whole node of each: starts, the first answer through a Service, pods beside the bare runtime's floor, and what idling costs.

use super::servers::{Programs, System};
use super::stock::Place;
use super::table::{Better, Table};
use super::{Compare, Sizes, order};
use crate::floor::Floor;
use crate::pods::Pods;
use crate::startup::{self, Cluster};
use crate::{process, runtime};
use client::Client;
use serde_json::{Value, json};
use std::path::Path;
use std::time::{Duration, Instant};

const START: &str = "Node: start";
const PODS: &str = "Node: pods";
const IDLE: &str = "Node: idle";
const IMAGE: &str = "skiff.dev/hello:1.0";
const PAUSE: &str = "skiff.dev/pause:1";
const PATIENCE: Duration = Duration::from_secs(120);

/// An error of a call of the runtime.
pub fn said(what: &str) -> impl FnOnce(cri::Status) -> String {
    move |e| format!("{what}: {}", e.message())
}

pub async fn run(
    programs: &Programs,
    args: &Compare,
    sizes: &Sizes,
    table: &mut Table,
    details: &mut Value,
) -> Result<(), String> {
    let skiff =
        Cluster { binary: programs.skiff.clone(), data_dir: args.dir.join("d"), cgroup_root: format!("/{}", args.prefix) };
    let place = Place {
        programs: programs.clone(),
        cni: args.cni.clone(),
        dir: args.dir.join("stock-node"),
        cgroup_root: format!("/{}-s", args.prefix),
        holder: args.stock_holder,
        images: args.dir.join("images.tar"),
        pause: PAUSE.into(),
    };
    let systems = sizes.clusters();
    if systems.contains(&System::Stock) {
        std::fs::create_dir_all(&place.dir).map_err(|e| format!("{}: {e}", place.dir.display()))?;
        export_images(&skiff, &place)?;
        place.prepare().await?;
    }
    for round in 0..sizes.starts {
        for n in order(round, systems.len()) {
            if systems[n] == System::Stock {
                let (ready, answer) = stock_start(&place, &args.manifest).await?;
                starts(table, System::Stock, ready, answer);
            } else {
                let start = startup::measure(&skiff, &args.manifest).await?;
                starts(table, System::Skiff, start.ready, start.answer);
                skiff.purge()?;
            }
        }
    }
    skiff.up()?;
    let mut processes = vec![];
    for name in ["server", "containerd"] {
        processes.push((System::Skiff, name.to_owned(), process::pid(&skiff.pid_file(name))?));
    }
    let mut clients = vec![(System::Skiff, skiff.client()?)];
    let mut stock = None;
    if systems.contains(&System::Stock) {
        let node = place.start().await?;
        let client = client::kubeconfig::client(&node.server.pki.join("admin.conf")).map_err(|e| e.to_string())?;
        wait_ready(&client).await?;
        let api = node.server.pids();
        processes
            .extend(["etcd", "kube-apiserver"].into_iter().zip(api).map(|(name, pid)| (System::Stock, name.to_owned(), pid)));
        processes.extend(node.others.iter().chain([&node.containerd]).map(|p| (System::Stock, p.name.clone(), p.pid())));
        clients.push((System::Stock, client));
        stock = Some(node);
    }
    println!("  idle for {} s", sizes.idle);
    idle(table, details, sizes.idle, &processes).await?;
    // One floor for both: each kubelet has a containerd of its own, all three are the same program.
    let floor = Floor::new(&skiff, &args.dir.join("floor"), IMAGE, PAUSE).await?;
    let mut sides = Vec::new();
    for (system, client) in clients {
        sides.push((system, Pods::new(client, IMAGE).await?));
    }
    for n in 0..sizes.pods {
        let bare = floor.start(&format!("floor-{n}")).await?;
        let least: Duration = bare.calls.iter().sum();
        floor.remove(bare).await?;
        for turn in order(n, sides.len()) {
            let (system, side) = &mut sides[turn];
            let took = side.run(&[format!("one-{n}")]).await?;
            pods(table, *system, "one at a time, created to Running", took, least);
        }
    }
    let names: Vec<String> = (0..sizes.burst).map(|n| format!("many-{n}")).collect();
    for n in 0..sizes.bursts {
        let least = floor.burst(sizes.burst).await?;
        for turn in order(n, sides.len()) {
            let (system, side) = &mut sides[turn];
            let took = side.run(&names).await?;
            pods(table, *system, &format!("{} at once, all Running", sizes.burst), took, least);
        }
    }
    drop(floor);
    if let Some(node) = stock {
        place.stop(node).await?;
    }
    skiff.purge()
}

fn ms(d: Duration) -> f64 {
    d.as_secs_f64() * 1e3
}

fn starts(table: &mut Table, system: System, ready: Duration, answer: Duration) {
    table.add(START, "from nothing to a Ready node, images present", "ms", Better::Lower, system, ms(ready));
    table.add(START, "from nothing to the first answer through a Service", "ms", Better::Lower, system, ms(answer));
}

fn pods(table: &mut Table, system: System, what: &str, took: Duration, floor: Duration) {
    table.add(PODS, what, "ms", Better::Lower, system, ms(took));
    table.add(PODS, what, "x the runtime's floor", Better::Lower, system, took.as_secs_f64() / floor.as_secs_f64());
}

/// The images that are built into Skiff, for the stock node too: both run the same containers.
fn export_images(skiff: &Cluster, place: &Place) -> Result<(), String> {
    skiff.purge()?;
    skiff.up()?;
    runtime::export(skiff, &place.images, &[IMAGE, PAUSE])?;
    skiff.purge()
}

async fn wait_ready(client: &Client) -> Result<(), String> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Ok(node) = client.get_path("/api/v1/nodes/n1").await {
            let conditions = node["status"]["conditions"].as_array().cloned().unwrap_or_default();
            if conditions.iter().any(|c| c["type"] == "Ready" && c["status"] == "True") {
                return Ok(());
            }
        }
        if Instant::now() > deadline {
            return Err("the stock node does not get Ready".into());
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn stock_start(place: &Place, manifest: &Path) -> Result<(Duration, Duration), String> {
    let begin = Instant::now();
    let node = place.start().await?;
    let client = client::kubeconfig::client(&node.server.pki.join("admin.conf")).map_err(|e| e.to_string())?;
    wait_ready(&client).await?;
    let ready = begin.elapsed();
    let address = startup::apply(&client, manifest).await?;
    let binary = std::env::current_exe().map_err(|e| e.to_string())?.display().to_string();
    // Asked in the node's own namespace, as a person on the node would.
    tokio::task::block_in_place(|| place.run(&binary, &["answer", &address]))?;
    let answer = begin.elapsed();
    place.stop(node).await?;
    Ok((ready, answer))
}

/// Memory and CPU of every process over the same time. Sums leave containerd out: both have one.
async fn idle(table: &mut Table, details: &mut Value, seconds: u64, processes: &[(System, String, u32)]) -> Result<(), String> {
    tokio::time::sleep(Duration::from_secs(seconds / 3)).await;
    let before: Vec<_> = processes.iter().map(|(_, _, pid)| process::usage(*pid)).collect::<Result<_, _>>()?;
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    let mut list = Vec::new();
    for system in [System::Skiff, System::Stock] {
        if processes.iter().all(|(s, ..)| *s != system) {
            continue;
        }
        let (mut sums, mut beside) = ([0.0; 3], [0.0; 3]);
        for ((_, name, pid), before) in processes.iter().zip(&before).filter(|((s, ..), _)| *s == system) {
            let (cpu, wakeups) = process::usage(*pid)?.since(before);
            let memory = process::memory(*pid)?;
            let sum = if name == "containerd" { &mut beside } else { &mut sums };
            for (sum, value) in sum.iter_mut().zip([memory.rss, memory.pss, 100.0 * cpu / seconds as f64]) {
                *sum += value;
            }
            list.push(json!({
                "system": system.name(), "process": name, "memory": memory.to_json(), "cpuSeconds": cpu, "seconds": seconds,
                "wakeups": wakeups, "threads": process::threads(*pid),
            }));
            println!("  {:<6} {name:<26} {:7.1} MiB RSS {:7.1} PSS {cpu:6.2} s CPU", system.name(), memory.rss, memory.pss);
        }
        for (unit, sum, containerd) in
            [("MiB RSS", sums[0], beside[0]), ("MiB PSS", sums[1], beside[1]), ("% of a core", sums[2], beside[2])]
        {
            table.add(IDLE, "the cluster without containerd", unit, Better::Lower, system, sum);
            table.add(IDLE, "its containerd", unit, Better::Lower, system, containerd);
        }
    }
    *details = Value::Array(list);
    Ok(())
}
