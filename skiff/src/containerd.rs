//! The container runtime: an instance of containerd of our own, with its own root, state, socket and configuration.

use crate::images;
use crate::layout::Layout;
use crate::process::Daemon;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// The programs we start.
#[derive(Clone, Debug)]
pub struct Tools {
    pub containerd: PathBuf,
    pub ctr: PathBuf,
    pub runc: PathBuf,
    /// First number of containerd's version.
    pub major: u32,
}

/// Looks a program up in PATH and the usual system directories.
pub fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let system = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];
    std::env::split_paths(&path).chain(system.iter().map(PathBuf::from)).map(|d| d.join(program)).find(|p| p.is_file())
}

impl Tools {
    pub fn find() -> Result<Self, String> {
        let need = |p: &str| {
            find(p)
                .ok_or_else(|| format!("{p} is not installed. `make up` installs it; by hand: apt-get install containerd runc"))
        };
        let containerd = need("containerd")?;
        let out = Command::new(&containerd)
            .arg("--version")
            .output()
            .map_err(|e| format!("cannot run {}: {e}", containerd.display()))?;
        let text = String::from_utf8_lossy(&out.stdout).into_owned();
        let major = text
            .split_whitespace()
            .find_map(|w| w.trim_start_matches('v').split_once('.')?.0.parse().ok())
            .ok_or_else(|| format!("cannot tell the version of {} from {text:?}", containerd.display()))?;
        Ok(Self { ctr: need("ctr")?, runc: need("runc")?, containerd, major })
    }
}

/// Whether this process may lower oom_score_adj; without CAP_SYS_RESOURCE containerd must be told not to try.
fn may_lower_oom_score() -> bool {
    const CAP_SYS_RESOURCE: u32 = 24;
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|l| u64::from_str_radix(l.strip_prefix("CapEff:")?.trim(), 16).ok()).unwrap_or(0);
    mask & (1 << CAP_SYS_RESOURCE) != 0
}

/// overlayfs on a filesystem that is itself an overlay does not work; the native snapshotter always does.
fn snapshotter(root: &Path) -> &'static str {
    const OVERLAYFS_MAGIC: i64 = 0x794c_7630;
    #[allow(clippy::unnecessary_cast)] // the field's type differs between architectures
    let overlay = rustix::fs::statfs(root).is_ok_and(|s| s.f_type as i64 == OVERLAYFS_MAGIC);
    if overlay { "native" } else { "overlayfs" }
}

/// containerd's configuration, version 2 for containerd 1.x and version 3 for 2.x.
pub fn config(layout: &Layout, tools: &Tools) -> String {
    let (state, socket) = (layout.containerd_state(), layout.containerd_socket());
    let root = layout.containerd_root();
    let snapshotter = snapshotter(&layout.data);
    let oom = !may_lower_oom_score();
    let (bin, conf) = (layout.cni_bin(), layout.cni_conf());
    let pause = images::PAUSE;
    let hosts = layout.registry_hosts().display().to_string();
    let head = format!(
        "root = {root:?}\nstate = {state:?}\n\n[grpc]\n  address = {socket:?}\n\n[ttrpc]\n  address = {:?}\n\n[metrics]\n  address = \"\"\n\n",
        format!("{}.ttrpc", socket.display()),
    );
    let runc = tools.runc.display();
    if tools.major >= 2 {
        format!(
            r#"version = 3
{head}[plugins.'io.containerd.cri.v1.runtime']
  restrict_oom_score_adj = {oom}
  enable_unprivileged_ports = true
  enable_unprivileged_icmp = true
  [plugins.'io.containerd.cri.v1.runtime'.containerd]
    default_runtime_name = 'runc'
    [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
      runtime_type = 'io.containerd.runc.v2'
      [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
        BinaryName = '{runc}'
        SystemdCgroup = false
  [plugins.'io.containerd.cri.v1.runtime'.cni]
    bin_dirs = ['{}']
    conf_dir = '{}'

[plugins.'io.containerd.cri.v1.images']
  snapshotter = '{snapshotter}'
  [plugins.'io.containerd.cri.v1.images'.pinned_images]
    sandbox = '{pause}'
  [plugins.'io.containerd.cri.v1.images'.registry]
    config_path = '{hosts}'

[plugins.'io.containerd.transfer.v1.local']
  [[plugins.'io.containerd.transfer.v1.local'.unpack_config]]
    platform = 'linux'
    snapshotter = '{snapshotter}'
"#,
            bin.display(),
            conf.display()
        )
    } else {
        format!(
            r#"version = 2
{head}[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{pause}"
  restrict_oom_score_adj = {oom}
  enable_unprivileged_ports = true
  enable_unprivileged_icmp = true
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "{snapshotter}"
    default_runtime_name = "runc"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        BinaryName = "{runc}"
        SystemdCgroup = false
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{}"
    conf_dir = "{}"
  [plugins."io.containerd.grpc.v1.cri".registry]
    config_path = "{hosts}"
"#,
            bin.display(),
            conf.display()
        )
    }
}

/// Mirrors and certificates of registries: the instance's own, and links to the machine's where it has none. One directory,
/// as containerd 2.1 pulls by a service that takes no list of them.
fn link_registry_hosts(own: &Path, machine: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(own)?;
    let Ok(entries) = std::fs::read_dir(machine) else { return Ok(()) };
    for e in entries.flatten() {
        let link = own.join(e.file_name());
        if link.symlink_metadata().is_err() {
            std::os::unix::fs::symlink(e.path(), link)?;
        }
    }
    Ok(())
}

/// Starts containerd unless it runs already. Answers the daemon and whether it was started now.
pub fn start(layout: &Layout, tools: &Tools) -> Result<(Daemon, bool), String> {
    let pid_file = layout.pid_file("containerd");
    if let Some(d) = Daemon::from_file(&pid_file) {
        return Ok((d, false));
    }
    link_registry_hosts(&layout.registry_hosts(), Path::new("/etc/containerd/certs.d"))
        .map_err(|e| format!("cannot set up mirrors in {}: {e}", layout.registry_hosts().display()))?;
    let path = layout.containerd_config();
    std::fs::write(&path, config(layout, tools)).map_err(|e| format!("cannot write {}: {e}", path.display()))?;
    std::fs::create_dir_all(layout.containerd_state()).map_err(|e| format!("cannot make containerd's state directory: {e}"))?;
    let mut command = Command::new(&tools.containerd);
    command.arg("--config").arg(&path).args(["--log-level", "warn"]);
    // The shims look runc and containerd-shim-runc-v2 up in PATH.
    let mut dirs: Vec<PathBuf> =
        [&tools.containerd, &tools.runc].iter().filter_map(|p| p.parent()).map(Path::to_path_buf).collect();
    dirs.extend(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()));
    if let Ok(joined) = std::env::join_paths(dirs) {
        command.env("PATH", joined);
    }
    let daemon = Daemon::start(command, &layout.log_file("containerd"), &pid_file, None)?;
    Ok((daemon, true))
}

/// Waits until containerd accepts connections.
pub fn wait(layout: &Layout, daemon: &Daemon, patience: Duration) -> Result<(), String> {
    let socket = layout.containerd_socket();
    let deadline = Instant::now() + patience;
    // containerd has no readiness notification without systemd; its socket appearing is the event, and connecting is free.
    while UnixStream::connect(&socket).is_err() {
        if !daemon.is_alive() {
            return Err(format!("containerd ended while starting, see {}", layout.log_file("containerd").display()));
        }
        if Instant::now() > deadline {
            return Err(format!("containerd does not answer on {}", socket.display()));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}
