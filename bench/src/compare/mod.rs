//! Side by side: the same load and the same probes against Skiff and against stock Kubernetes, in the same run, in turn. Parts: API
//! load, node, scheduler, proxy.

mod api;
mod connection;
mod kernel;
mod load;
mod node;
mod objects;
mod plot;
mod proxy;
mod scheduler;
mod servers;
mod stock;
mod table;
mod watch;

use clap::{Args, ValueEnum};
use serde_json::{Value, json};
use servers::{Programs, System};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};
use table::Table;

#[derive(Clone, Copy, ValueEnum, PartialEq, Eq, Debug)]
enum Part {
    Api,
    Scheduler,
    Proxy,
    Node,
}

/// How much is measured.
#[derive(Clone, Copy, ValueEnum, PartialEq, Eq, Debug)]
enum Size {
    /// A check that everything works: two minutes.
    Quick,
    /// All that is promised: about a quarter of an hour on two cores.
    Default,
    /// More rounds: an hour or more.
    Long,
}

/// Compares Skiff with stock Kubernetes.
#[derive(Args)]
pub struct Compare {
    /// Skiff's binary.
    #[arg(long)]
    skiff: PathBuf,
    /// The directory of kube-apiserver and its siblings.
    #[arg(long, default_value = ".")]
    stock: PathBuf,
    #[arg(long, default_value = "etcd")]
    etcd: PathBuf,
    /// The directory of the stock pod network's plugins.
    #[arg(long, default_value = "/usr/lib/cni")]
    cni: PathBuf,
    /// State of what is measured.
    #[arg(long)]
    dir: PathBuf,
    /// Prefix of network namespaces and cgroups.
    #[arg(long)]
    prefix: String,
    /// The process that holds the stock node's namespaces.
    #[arg(long)]
    stock_holder: u32,
    /// The manifest whose Service is asked for the first answer.
    #[arg(long)]
    manifest: PathBuf,
    /// Where the results go.
    #[arg(long)]
    out: PathBuf,
    #[arg(long, value_enum, value_delimiter = ',', default_value = "api,scheduler,proxy,node")]
    parts: Vec<Part>,
    /// Fewer than all: for profiles.
    #[arg(long, value_enum, value_delimiter = ',', default_value = "skiff,skiff-etcd,stock")]
    systems: Vec<System>,
    #[arg(long, value_enum, default_value_t = Size::Default)]
    size: Size,
}

/// What is measured, and how much.
struct Sizes {
    /// In the order of their first turns.
    systems: Vec<System>,
    /// How long a part may take: whatever happens, the run ends.
    limit: Duration,
    rounds: usize,
    requests: usize,
    watchers: usize,
    events: usize,
    stored: usize,
    lists: usize,
    restarts: usize,
    /// Nodes and pods; Skiff's scheduler also runs on the stock API server at one of these sizes.
    scheduler: Vec<(usize, usize)>,
    scheduler_rounds: usize,
    services: Vec<usize>,
    changes: usize,
    starts: usize,
    idle: u64,
    pods: usize,
    burst: usize,
    bursts: usize,
}

impl Sizes {
    fn of(size: Size, systems: &[System]) -> Self {
        let default = Self {
            systems: systems.to_vec(),
            limit: Duration::from_secs(1200),
            rounds: 3,
            requests: 600,
            watchers: 100,
            events: 100,
            stored: 10_000,
            lists: 2,
            restarts: 1,
            scheduler: vec![(100, 500), (1000, 500), (5000, 500)],
            scheduler_rounds: 2,
            services: vec![10, 1000, 10_000],
            changes: 5,
            starts: 3,
            idle: 120,
            pods: 10,
            burst: 30,
            bursts: 2,
        };
        match size {
            Size::Default => default,
            Size::Quick => Self {
                limit: Duration::from_secs(600),
                rounds: 2,
                requests: 200,
                events: 20,
                stored: 500,
                scheduler: vec![(100, 100)],
                scheduler_rounds: 1,
                services: vec![10, 100],
                changes: 2,
                starts: 1,
                idle: 10,
                pods: 3,
                burst: 5,
                bursts: 1,
                ..default
            },
            Size::Long => Self {
                limit: Duration::from_secs(5400),
                rounds: 7,
                requests: 3000,
                events: 300,
                lists: 10,
                restarts: 3,
                scheduler: vec![(100, 1000), (1000, 1000), (5000, 1000)],
                scheduler_rounds: 5,
                changes: 10,
                starts: 5,
                idle: 240,
                pods: 30,
                bursts: 5,
                ..default
            },
        }
    }
}

impl Sizes {
    /// The systems of parts where the API server's store does not matter.
    fn clusters(&self) -> Vec<System> {
        self.systems.iter().copied().filter(|s| *s != System::SkiffEtcd).collect()
    }
}

/// Whose turn it is: each round begins with another.
fn order(round: usize, count: usize) -> impl Iterator<Item = usize> {
    (0..count).map(move |n| (n + round) % count)
}

fn first_line(program: &str, args: &[&str]) -> String {
    let out = std::process::Command::new(program).args(args).output().ok();
    out.and_then(|o| String::from_utf8_lossy(&o.stdout).lines().next().map(str::to_owned)).unwrap_or_else(|| "unknown".into())
}

fn machine(args: &Compare) -> Value {
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let memory = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let debug = args.skiff.components().any(|c| c.as_os_str() == "debug");
    json!({
        "cores": std::thread::available_parallelism().map_or(0, usize::from),
        "memory": memory.lines().next().unwrap_or_default().split_whitespace().nth(1).unwrap_or_default(),
        "kernel": first_line("uname", &["-r"]),
        "loadAtStart": load.split(' ').next().unwrap_or_default(),
        "skiff": first_line(&args.skiff.display().to_string(), &["--version"]),
        "skiffBuild": if debug { "debug" } else { "release" },
        "skiffBytes": std::fs::metadata(&args.skiff).map_or(0, |m| m.len()),
        "stock": first_line(&args.stock.join("kube-apiserver").display().to_string(), &["--version"]),
        "etcd": first_line(&args.etcd.display().to_string(), &["--version"]),
        "containerd": first_line("containerd", &["--version"]),
    })
}

/// Runs the parts; what was measured is written after each, even if one fails.
pub async fn run(args: &Compare) -> Result<(), String> {
    let sizes = Sizes::of(args.size, &args.systems);
    let programs = Programs { skiff: args.skiff.clone(), stock: args.stock.clone(), etcd: args.etcd.clone() };
    let mut machine = machine(args);
    println!("{machine:#}");
    let mut table = Table::default();
    let mut details = Value::Null;
    let mut failures = Vec::new();
    for part in &args.parts {
        println!("{part:?}");
        let begin = Instant::now();
        let outcome = tokio::time::timeout(sizes.limit, async {
            match part {
                Part::Api => api::run(&programs, &args.dir, &sizes, &mut table).await,
                Part::Scheduler => scheduler::run(&programs, &args.dir, &sizes, &mut table).await,
                Part::Proxy => proxy::run(&programs, &args.dir, &args.prefix, &sizes, &mut table).await,
                Part::Node => node::run(&programs, args, &sizes, &mut table, &mut details).await,
            }
        });
        let outcome = outcome.await.unwrap_or_else(|_| Err(format!("no end in {:?}", sizes.limit)));
        let seconds = begin.elapsed().as_secs();
        machine["seconds"][format!("{part:?}").to_lowercase()] = json!(seconds);
        println!("  {seconds} s");
        if let Err(e) = outcome {
            eprintln!("{part:?}: {e}");
            failures.push(format!("{part:?}: {e}"));
        }
        write(&args.out, &table, &machine, &details, &failures)?;
    }
    println!("{}\n{}", table.text(), args.out.display());
    if failures.is_empty() { Ok(()) } else { Err(failures.join("; ")) }
}

fn write(out: &Path, table: &Table, machine: &Value, details: &Value, failures: &[String]) -> Result<(), String> {
    let at = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_err(|e| e.to_string())?.as_secs();
    let text = table.text();
    let title =
        format!("{} beside {}", machine["skiff"].as_str().unwrap_or_default(), machine["stock"].as_str().unwrap_or_default());
    let results = json!({"at": at, "machine": machine, "rows": table.to_json(), "processes": details, "failures": failures});
    std::fs::create_dir_all(out).map_err(|e| format!("{}: {e}", out.display()))?;
    for (name, content) in
        [("compare.md", text), ("compare.json", format!("{results:#}\n")), ("compare.svg", plot::svg(table, &title))]
    {
        let path = out.join(name);
        std::fs::write(&path, content).map_err(|e| format!("{}: {e}", path.display()))?;
    }
    Ok(())
}
