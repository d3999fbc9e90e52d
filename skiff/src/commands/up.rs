//! `skiff up`: containerd, then the server, then wait for the node.

use super::{give_to_caller, need_root, settle, user_kubeconfig};
use crate::cli::Up;
use crate::containerd::{self, Tools};
use crate::images;
use crate::layout::Layout;
use crate::nested::{self, Node};
use crate::process::Daemon;
use crate::progress::{self, Progress};
use crate::settings::Settings;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

pub fn run(args: &Up) -> Result<(), String> {
    need_root()?;
    let layout = args.instance.layout()?;
    let mut settings = settle(&layout, &args.options)?;
    if settings.server.is_some() {
        // A machine that joined a cluster has no control plane to start.
        return super::join::start(&layout, &settings, Duration::from_secs(args.timeout));
    }
    if let Some(k) = args.kubeconfig.clone().or_else(|| settings.kubeconfig.clone()).or_else(user_kubeconfig) {
        settings.kubeconfig = Some(std::path::absolute(&k).map_err(|e| format!("--kubeconfig: {e}"))?);
    }
    let patience = Duration::from_secs(args.timeout);
    let mut progress = Progress::start();
    layout.make()?;

    let server = Daemon::from_file(&layout.pid_file("server"));
    if server.is_none() {
        // Before anything is started, so that a refusal leaves nothing running.
        settings.check_ports()?;
    }
    let own_runtime = settings.container_runtime_endpoint.is_none();
    let import = if own_runtime { Some(start_runtime(&layout, &mut progress, patience)?) } else { None };
    match server {
        Some(d) => progress.done(&format!("server runs already (pid {})", d.pid)),
        None => start_daemon("server", &layout, &settings, &mut progress, patience)?,
    }
    if let Some(import) = import {
        finish_import(import, &mut progress)?;
    }
    settings.save(&layout)?;
    let kubeconfig = write_kubeconfig(&layout, &settings)?;
    progress.done(&format!("context `skiff` in {}", kubeconfig.display()));
    if let Some(n) = args.nodes {
        settings.nodes = settings.nodes.max(n);
    }
    if settings.nodes > 1 {
        settings.save(&layout)?;
        start_nodes(&layout, &settings, &mut progress)?;
    }
    println!("\n Cluster is up after {}. Try:\n", progress.total());
    println!("   kubectl create deployment hello --image=skiff.dev/hello:1.0 --replicas=2 --port=8080");
    println!("   kubectl expose deployment hello --type=NodePort --port=80 --target-port=8080");
    println!("   kubectl get all\n");
    if containerd::find("kubectl").is_none() {
        println!(" kubectl is not in PATH: any release from 1.35 to 1.37 works.\n");
    }
    Ok(())
}

/// Starts containerd and, beside everything that follows, imports the built-in images.
pub(super) fn start_runtime(
    layout: &Layout,
    progress: &mut Progress,
    patience: Duration,
) -> Result<std::thread::JoinHandle<Result<usize, String>>, String> {
    let tools = Tools::find()?;
    let (daemon, started) = containerd::start(layout, &tools)?;
    if !started {
        progress.done(&format!("containerd runs already (pid {})", daemon.pid));
    }
    let layout = layout.clone();
    Ok(std::thread::spawn(move || {
        containerd::wait(&layout, &daemon, patience)?;
        images::import_built_in(&tools, &layout)
    }))
}

/// Starts `skiff server` or `skiff agent` and waits until it says that it is ready.
pub(super) fn start_daemon(
    name: &str,
    layout: &Layout,
    settings: &Settings,
    progress: &mut Progress,
    patience: Duration,
) -> Result<(), String> {
    let (from_daemon, to_us) = progress::pipe()?;
    let exe = std::env::current_exe().map_err(|e| format!("cannot find our own binary: {e}"))?;
    let mut command = Command::new(exe);
    command.arg(name).arg("--data-dir").arg(&layout.data);
    settings.save(layout)?;
    let log = layout.log_file("skiff");
    let daemon = Daemon::start(command, &log, &layout.pid_file(name), Some(to_us))?;
    progress::follow(from_daemon, progress, patience).map_err(|e| {
        daemon.stop(Duration::from_secs(5));
        format!("{e}\n  log: {}", log.display())
    })
}

/// The other nodes of this machine join as any machine does.
fn start_nodes(layout: &Layout, settings: &Settings, progress: &mut Progress) -> Result<(), String> {
    nested::ensure_bridge()?;
    for number in 2..=settings.nodes {
        let node = Node::new(layout, settings, number);
        node.ensure(settings.address()?)?;
        let cgroup = format!("{}/{}", settings.cgroup_root.trim_end_matches('/'), node.name);
        let address = node.address().to_string();
        let mut args = vec!["join", "--node-name", &node.name, "--node-ip", &address, "--cgroup-root", &cgroup];
        let invitation = if node.layout.node_kubeconfig().exists() {
            String::new()
        } else {
            super::token::invite(layout, settings, Duration::from_secs(600), "skiff up --nodes")?.to_string()
        };
        if !invitation.is_empty() {
            args.push(&invitation);
        }
        let out = node.skiff(&args)?.output().map_err(|e| format!("node {}: {e}", node.name))?;
        if !out.status.success() {
            return Err(format!("node {}: {}", node.name, String::from_utf8_lossy(&out.stderr).trim()));
        }
        progress.done(&format!("node {} Ready at {address}", node.name));
    }
    Ok(())
}

/// Waits for the built-in images.
pub(super) fn finish_import(
    import: std::thread::JoinHandle<Result<usize, String>>,
    progress: &mut Progress,
) -> Result<(), String> {
    match import.join().map_err(|_| "importing the built-in images panicked".to_owned())?? {
        0 => {}
        n => progress.done(&format!("{n} built-in images imported")),
    }
    Ok(())
}

fn write_kubeconfig(layout: &Layout, settings: &Settings) -> Result<PathBuf, String> {
    let pki = crate::server::pki(layout, settings)?;
    let entry = pki.admin_kubeconfig("skiff", &settings.server_url()?);
    let own = layout.admin_kubeconfig();
    entry.write(&own).map_err(|e| e.to_string())?;
    let Some(user) = &settings.kubeconfig else { return Ok(own) };
    entry.merge_into(user).map_err(|e| e.to_string())?;
    give_to_caller(user);
    Ok(user.clone())
}
