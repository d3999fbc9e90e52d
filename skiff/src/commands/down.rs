//! `skiff down`: pods first, then processes; with --purge every trace.

use super::need_root;
use crate::cli::Down;
use crate::layout::Layout;
use crate::nested;
use crate::process::Daemon;
use crate::progress::Progress;
use crate::settings::Settings;
use cri::v1;
use std::path::Path;
use std::time::Duration;

/// Directories at fixed places that containerd, its shims and its CNI library make, inner ones first. Others may use them too.
const SHARED: &[&str] = &[
    "/run/containerd/runc/k8s.io",
    "/run/containerd/runc",
    "/run/containerd/s",
    "/run/containerd",
    "/run/netns",
    "/var/lib/cni/results",
    "/var/lib/cni",
    "/opt/containerd/bin",
    "/opt/containerd/lib",
    "/opt/containerd",
];

/// How long a container may take to end by itself.
const GRACE_SECONDS: i64 = 10;

pub fn run(args: &Down) -> Result<(), String> {
    need_root()?;
    let layout = args.instance.layout()?;
    let settings = Settings::load(&layout)?;
    let mut progress = Progress::start();
    if settings.is_none() && !layout.data.exists() {
        println!("no cluster in {}", layout.data.display());
        return Ok(());
    }
    let settings = settings.unwrap_or_default();
    stop_nodes(&layout, &settings, args.purge, &mut progress)?;
    for name in ["server", "agent"] {
        if let Some(d) = Daemon::from_file(&layout.pid_file(name)) {
            d.stop(Duration::from_secs(20));
            progress.done(&format!("{name} stopped"));
        }
    }
    let runtime = Daemon::from_file(&layout.pid_file("containerd"));
    if let Some(d) = &runtime {
        // It may have been started a moment ago.
        crate::containerd::wait(&layout, d, START_PATIENCE)?;
        let endpoint = format!("unix://{}", layout.containerd_socket().display());
        let tokio = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|e| e.to_string())?;
        let pods = tokio.block_on(stop_pods(&endpoint, args.purge))?;
        progress.done(&format!("{pods} pods stopped"));
    }
    if let Some(d) = runtime {
        d.stop(Duration::from_secs(20));
        progress.done("containerd stopped");
    }
    // Without containers there is nothing left to serve.
    kube_proxy::remove().map_err(|e| format!("removing the nftables tables: {e}"))?;
    cni::remove().map_err(|e| format!("removing the pod network: {e}"))?;
    routes::remove().map_err(|e| format!("removing the routes to other nodes: {e}"))?;
    progress.done("network removed");
    if args.purge {
        purge(&layout, &settings)?;
        progress.done("data removed");
        if let Some(server) = &settings.server {
            println!("The cluster at {server} still lists this machine: kubectl delete node {}", settings.node_name);
        }
    }
    Ok(())
}

/// The other nodes of this machine go first, each as a machine of its own.
fn stop_nodes(layout: &Layout, settings: &Settings, purge: bool, progress: &mut Progress) -> Result<(), String> {
    let nodes = nested::existing(layout, settings);
    for node in &nodes {
        let mut args = vec!["down"];
        args.extend(purge.then_some("--purge"));
        let out = node.skiff(&args)?.output().map_err(|e| format!("node {}: {e}", node.name))?;
        if !out.status.success() {
            return Err(format!("node {}: {}", node.name, String::from_utf8_lossy(&out.stderr).trim()));
        }
        node.remove()?;
        progress.done(&format!("node {} stopped", node.name));
    }
    if nodes.is_empty() { Ok(()) } else { nested::remove_bridge() }
}

/// How long a runtime that was just started may take until it answers.
const START_PATIENCE: Duration = Duration::from_secs(10);

/// Stops every pod of our runtime, all at once; with `remove` the sandboxes go too.
async fn stop_pods(endpoint: &str, remove: bool) -> Result<usize, String> {
    let runtime = cri::Runtime::connect(endpoint).map_err(|e| e.to_string())?;
    let mut r = runtime.runtime.clone();
    let deadline = std::time::Instant::now() + START_PATIENCE;
    let containers = loop {
        match r.list_containers(v1::ListContainersRequest::default()).await {
            Ok(answer) => break answer.into_inner().containers,
            // A runtime that was started a moment ago takes connections before it knows its containers.
            Err(e) if e.message().contains("not initialized") && std::time::Instant::now() < deadline => {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            Err(e) => return Err(format!("listing containers: {}", e.message())),
        }
    };
    let mut stops = tokio::task::JoinSet::new();
    for c in containers.into_iter().filter(|c| c.state == v1::ContainerState::ContainerRunning as i32) {
        let mut r = runtime.runtime.clone();
        stops.spawn(async move {
            // One that does not stop goes down with its sandbox.
            let _ = r.stop_container(v1::StopContainerRequest { container_id: c.id, timeout: GRACE_SECONDS }).await;
        });
    }
    while stops.join_next().await.is_some() {}
    let sandboxes = r.list_pod_sandbox(v1::ListPodSandboxRequest::default()).await;
    let sandboxes = sandboxes.map_err(|e| format!("listing pods: {}", e.message()))?.into_inner().items;
    let count = sandboxes.len();
    let mut stops = tokio::task::JoinSet::new();
    for s in sandboxes {
        let mut r = runtime.runtime.clone();
        stops.spawn(async move {
            let pod_sandbox_id = s.id;
            // What the kubelet asked for last may have removed it since the list.
            let gone_is_fine = |what: &str, outcome: Result<(), cri::Status>| match outcome {
                Err(e) if e.code() != cri::Code::NotFound => Err(format!("{what} a pod: {}", e.message())),
                _ => Ok(()),
            };
            let stopped = r.stop_pod_sandbox(v1::StopPodSandboxRequest { pod_sandbox_id: pod_sandbox_id.clone() }).await;
            gone_is_fine("stopping", stopped.map(drop))?;
            if remove {
                let removed = r.remove_pod_sandbox(v1::RemovePodSandboxRequest { pod_sandbox_id }).await;
                gone_is_fine("removing", removed.map(drop))?;
            }
            Ok::<(), String>(())
        });
    }
    while let Some(done) = stops.join_next().await {
        done.map_err(|e| e.to_string())??;
    }
    Ok(count)
}

fn purge(layout: &Layout, settings: &Settings) -> Result<(), String> {
    let ours = [&layout.data, &layout.run, &layout.kubelet, &layout.pod_logs, &layout.container_logs, &layout.logs];
    for dir in ours {
        unmount_below(dir)?;
    }
    remove_cgroups(&settings.cgroup_root);
    for dir in ours {
        match std::fs::remove_dir_all(dir) {
            Ok(()) => {}
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
            // A directory that is itself a mount point of somebody's is emptied, not removed.
            Err(e) if e.kind() == std::io::ErrorKind::ResourceBusy => {}
            Err(e) => return Err(format!("cannot remove {}: {e}", dir.display())),
        }
    }
    for dir in SHARED {
        // Only an empty one goes; what is in use stays.
        let _ = std::fs::remove_dir(dir);
    }
    if let Some(k) = &settings.kubeconfig {
        pki::kubeconfig::remove_from(k, "skiff").map_err(|e| e.to_string())?;
    }
    Ok(())
}

/// Unmounts whatever is mounted below `dir`, deepest first; `dir` itself stays.
fn unmount_below(dir: &Path) -> Result<(), String> {
    let table = std::fs::read_to_string("/proc/self/mountinfo").map_err(|e| format!("cannot read the mount table: {e}"))?;
    let mut points: Vec<String> = table
        .lines()
        .filter_map(|l| l.split(' ').nth(4).map(unescape))
        .filter(|p| Path::new(p) != dir && Path::new(p).starts_with(dir))
        .collect();
    points.sort_by_key(|p| std::cmp::Reverse(p.len()));
    for p in points {
        nix::mount::umount2(p.as_str(), nix::mount::MntFlags::MNT_DETACH).map_err(|e| format!("cannot unmount {p}: {e}"))?;
    }
    Ok(())
}

/// mountinfo writes blanks in paths as `\040`.
fn unescape(p: &str) -> String {
    p.replace("\\040", " ").replace("\\011", "\t").replace("\\134", "\\")
}

/// Removes the pod cgroups below `root` in every hierarchy; they are empty, or else they stay.
fn remove_cgroups(root: &str) {
    fn prune(dir: &Path) {
        for e in std::fs::read_dir(dir).into_iter().flatten().flatten() {
            if e.file_type().is_ok_and(|t| t.is_dir()) {
                prune(&e.path());
            }
        }
        let _ = std::fs::remove_dir(dir);
    }
    let base = Path::new("/sys/fs/cgroup");
    let mut hierarchies = vec![base.to_path_buf()];
    hierarchies.extend(std::fs::read_dir(base).into_iter().flatten().flatten().map(|e| e.path()));
    for h in hierarchies {
        let own = h.join(root.trim_start_matches('/'));
        prune(&own.join("kubepods"));
        if own != h {
            // Made for us; whoever else uses it keeps it from going.
            let _ = std::fs::remove_dir(own);
        }
    }
}
