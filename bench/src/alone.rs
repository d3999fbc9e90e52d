//! Skiff alone: starts, idling, pods against the bare runtime. Quick, and needs nothing of upstream.

use crate::floor::{Floor, Latency};
use crate::report::Report;
use crate::startup::{self, Cluster};
use crate::stats::Samples;
use crate::{pods, process};
use clap::Args;
use serde_json::json;
use std::path::PathBuf;
use std::time::Duration;

const IMAGE: &str = "skiff.dev/hello:1.0";
const PAUSE: &str = "skiff.dev/pause:1";

/// Measures a Skiff binary.
#[derive(Args)]
pub struct Alone {
    /// The binary.
    #[arg(long)]
    skiff: PathBuf,
    /// Data directory of the cluster; removed at the end.
    #[arg(long)]
    data_dir: PathBuf,
    /// Parent of pod cgroups.
    #[arg(long)]
    cgroup_root: String,
    /// The manifest whose Service is asked for the first answer.
    #[arg(long)]
    manifest: PathBuf,
    /// Where the JSON goes.
    #[arg(long)]
    out: PathBuf,
    /// Starts from nothing.
    #[arg(long, default_value_t = 5)]
    starts: usize,
    /// Seconds of idling that are measured, after a third as many of settling.
    #[arg(long, default_value_t = 60)]
    idle: u64,
    /// Pods one at a time.
    #[arg(long, default_value_t = 30)]
    pods: usize,
    /// Pods at once.
    #[arg(long, default_value_t = 30)]
    burst: usize,
    /// Times that the burst is repeated.
    #[arg(long, default_value_t = 3)]
    bursts: usize,
}

pub async fn run(args: &Alone) -> Result<(), String> {
    let cluster = Cluster { binary: args.skiff.clone(), data_dir: args.data_dir.clone(), cgroup_root: args.cgroup_root.clone() };
    let mut report = Report::new(&args.skiff)?;
    starts(args, &cluster, &mut report).await?;
    cluster.purge()?;
    cluster.up()?;
    idle(args, &cluster, &mut report).await?;
    latency(args, &cluster, &mut report).await?;
    report.write(&args.out)?;
    cluster.purge()
}

async fn starts(args: &Alone, cluster: &Cluster, report: &mut Report) -> Result<(), String> {
    let (mut ready, mut answer) = (Samples::default(), Samples::default());
    for _ in 0..args.starts {
        let start = startup::measure(cluster, &args.manifest).await?;
        ready.add(start.ready);
        answer.add(start.answer);
    }
    report.times("`skiff up` from nothing", "up", &ready);
    report.times("first answer through a Service", "firstAnswer", &answer);
    Ok(())
}

async fn idle(args: &Alone, cluster: &Cluster, report: &mut Report) -> Result<(), String> {
    tokio::time::sleep(Duration::from_secs(args.idle / 3)).await;
    let names = ["server", "containerd"];
    let mut before = Vec::new();
    for name in names {
        let pid = process::pid(&cluster.pid_file(name))?;
        before.push((name, pid, process::usage(pid)?));
    }
    tokio::time::sleep(Duration::from_secs(args.idle)).await;
    for (name, pid, earlier) in before {
        let (cpu, wakeups) = process::usage(pid)?.since(&earlier);
        let memory = process::memory(pid)?;
        let percent = 100.0 * cpu / args.idle as f64;
        let (rss, pss, anonymous) = (memory.rss, memory.pss, memory.anonymous);
        report.line(&format!("idle memory, {name}"), &format!("{rss:.1} MiB RSS, {pss:.1} PSS, {anonymous:.1} heap and stacks"));
        let per_second = wakeups as f64 / args.idle as f64;
        report.line(
            &format!("idle CPU, {name}"),
            &format!("{cpu:.2} s in {} s ({percent:.2} % of a core), {per_second:.1} wake-ups/s", args.idle),
        );
        report.put(
            &format!("idle.{name}"),
            json!({
                "seconds": args.idle, "cpuSeconds": cpu, "wakeups": wakeups,
                "threads": process::threads(pid), "memory": memory.to_json(),
            }),
        );
    }
    Ok(())
}

/// Pods and bare runtime calls in turn, so that what else the machine does weighs on both alike.
async fn latency(args: &Alone, cluster: &Cluster, report: &mut Report) -> Result<(), String> {
    let floor = Floor::new(cluster, &args.data_dir.with_extension("floor"), IMAGE, PAUSE).await?;
    let mut pods = pods::Pods::new(cluster.client()?, IMAGE).await?;
    let (mut bare, mut single) = (Latency::default(), Samples::default());
    for n in 0..args.pods {
        let started = floor.start(&format!("floor-{n}")).await?;
        bare.add(&started);
        floor.remove(started).await?;
        single.add(pods.run(&[format!("one-{n}")]).await?);
    }
    report.times("runtime's floor, one pod", "floor.single", &bare.total);
    report.times("  RunPodSandbox", "floor.sandbox", &bare.sandbox);
    report.times("  CreateContainer", "floor.create", &bare.create);
    report.times("  StartContainer", "floor.start", &bare.start);
    report.times("pod created to Running, one at a time", "pods.single", &single);
    report.ratio("  against the floor", "pods.singleToFloor", &single, &bare.total);
    let (mut bare, mut many) = (Samples::default(), Samples::default());
    let names: Vec<String> = (0..args.burst).map(|n| format!("many-{n}")).collect();
    for n in 0..args.bursts {
        let (least, took) = (floor.burst(args.burst).await?, pods.run(&names).await?);
        let text = format!("the bare runtime {:.2} s, pods {:.2} s", least.as_secs_f64(), took.as_secs_f64());
        report.line(&format!("{} at once, time {}", args.burst, n + 1), &text);
        bare.add(least);
        many.add(took);
    }
    report.times(&format!("runtime's floor, {} at once", args.burst), "floor.burst", &bare);
    report.times(&format!("{} pods at once, all Running", args.burst), "pods.burst", &many);
    report.ratio("  against the floor", "pods.burstToFloor", &many, &bare);
    let memory = process::memory(process::pid(&cluster.pid_file("server"))?)?;
    report.line("memory after that, server", &format!("{:.1} MiB RSS, {:.1} PSS", memory.rss, memory.pss));
    report.put("afterLoad.server", memory.to_json());
    Ok(())
}
