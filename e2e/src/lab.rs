//! One machine as a lab: a network namespace with a bridge that leads nowhere, a mount namespace of its own, `skiff up` in it.
//!
//! There is no default route: an address without a rule goes nowhere. The mount namespace is entered with nsenter, not with
//! `ip netns exec`, which would hide the cgroups.

use crate::command::{Output, run};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// The repository's root.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("e2e lies in the repository").to_path_buf()
}

/// A machine. Dropping it stops everything that was started in it and removes every trace.
pub struct Lab {
    pub name: String,
    pub dir: PathBuf,
    holder: Child,
    kubectl: PathBuf,
}

/// Address of the lab's machine.
pub const NODE_IP: &str = "172.31.77.10";
/// Address of the outside: a client that is not the machine itself.
pub const OUTSIDE_IP: &str = "172.31.77.1";

fn must(args: &[&str]) {
    run(Command::new(args[0]).args(&args[1..]), "").ok();
}

/// Makes a machine on a lab's wire: its network namespace, and the process that holds its mount namespace.
pub(crate) fn machine(lab: &str, node: &str, ip: &str, dir: &Path) -> Child {
    let (out, ns, port) = (format!("{lab}-out"), format!("{lab}-{node}"), format!("p-{node}"));
    must(&["ip", "netns", "add", &ns]);
    must(&["ip", "-n", &ns, "link", "set", "lo", "up"]);
    must(&["ip", "-n", &out, "link", "add", &port, "type", "veth", "peer", "name", "eth0", "netns", &ns]);
    must(&["ip", "-n", &out, "link", "set", &port, "master", "v1", "up"]);
    must(&["ip", "-n", &ns, "addr", "add", &format!("{ip}/24"), "dev", "eth0"]);
    must(&["ip", "-n", &ns, "link", "set", "eth0", "up"]);
    let ready = dir.join(format!("{node}-ready"));
    let script = format!("mount --make-rshared / && touch {} && exec sleep infinity", ready.display());
    let holder = Command::new("nsenter")
        .arg(format!("--net=/run/netns/{ns}"))
        .args(["unshare", "-m", "--propagation", "private", "sh", "-c", &script])
        .stdin(Stdio::null())
        .spawn()
        .expect("the lab's holder starts");
    crate::command::eventually("the lab's mount namespace", Duration::from_secs(20), || {
        if ready.exists() { Ok(()) } else { Err("not made yet".into()) }
    });
    holder
}

/// Stock kubectl: `SKIFF_KUBECTL`, else the one `hack/kubectl.sh` built, else the one in PATH.
fn kubectl() -> PathBuf {
    let built = root().join("target/tools/kubectl-v1.36.3");
    let default = if built.exists() { built } else { PathBuf::from("kubectl") };
    std::env::var_os("SKIFF_KUBECTL").map_or(default, PathBuf::from)
}

impl Lab {
    /// Makes the namespaces. `name` tells labs that live side by side apart; 8 letters at most.
    pub fn new(name: &str) -> Self {
        let name = format!("{name}{}", std::process::id() % 100_000);
        let dir = PathBuf::from(format!("/tmp/skiff-{name}"));
        std::fs::create_dir_all(&dir).expect("a directory for the lab");
        let out = format!("{name}-out");
        must(&["ip", "netns", "add", &out]);
        must(&["ip", "-n", &out, "link", "set", "lo", "up"]);
        must(&["ip", "-n", &out, "link", "add", "v1", "type", "bridge"]);
        must(&["ip", "-n", &out, "addr", "add", &format!("{OUTSIDE_IP}/24"), "dev", "v1"]);
        must(&["ip", "-n", &out, "link", "set", "v1", "up"]);
        let holder = machine(&name, "n1", NODE_IP, &dir);
        Self { name, dir, holder, kubectl: kubectl() }
    }

    /// The release binary under test.
    pub fn binary() -> PathBuf {
        let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from);
        let path = std::env::var_os("SKIFF_BINARY").map_or_else(|| target.join("release/skiff"), PathBuf::from);
        assert!(path.exists(), "{} is not built: `cargo build --release --bin skiff`", path.display());
        path
    }

    /// A command on the lab's machine.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut c = Command::new("nsenter");
        c.args(["-t", &self.holder.id().to_string(), "-m", "-n", "--"]).arg(program);
        c.env("KUBECONFIG", self.kubeconfig()).env("HOME", &self.dir).env("SKIFF_DATA_DIR", self.data());
        c
    }
    /// A command outside the lab's machine, on the same wire.
    pub fn outside(&self, program: &str) -> Command {
        let mut c = Command::new("nsenter");
        c.arg(format!("--net=/run/netns/{}-out", self.name)).arg(program);
        c
    }
    pub fn data(&self) -> PathBuf {
        self.dir.join("d")
    }
    pub fn kubeconfig(&self) -> PathBuf {
        self.dir.join("kubeconfig")
    }
    pub fn sh(&self, script: &str) -> Output {
        run(self.command("sh").args(["-c", script]), "")
    }
    pub fn skiff(&self, args: &[&str]) -> Output {
        run(self.command(Self::binary()).args(args), "")
    }
    /// `skiff up` with the lab's own cgroup.
    pub fn up(&self) -> Output {
        self.skiff(&["up", "--node-name", "n1", "--cgroup-root", &format!("/{}", self.name)])
    }
    pub fn kubectl(&self, args: &[&str]) -> Output {
        self.kubectl_in(args, "")
    }
    /// kubectl with standard input.
    pub fn kubectl_in(&self, args: &[&str], input: &str) -> Output {
        run(self.command(&self.kubectl).args(args), input)
    }
    pub fn kubectl_path(&self) -> &Path {
        &self.kubectl
    }
    pub fn testdata(name: &str) -> String {
        root().join("e2e/testdata").join(name).display().to_string()
    }
    /// Loads an image archive.
    pub fn load(&self, archive: &Path) {
        self.skiff(&["image", "load", &archive.display().to_string()]).ok();
    }
    /// Network namespace of the lab's machine, for threads that enter it.
    pub fn netns(&self) -> PathBuf {
        PathBuf::from(format!("/run/netns/{}-n1", self.name))
    }
    /// curl from outside the machine: the body of a successful answer.
    pub fn curl_outside(&self, url: &str) -> Output {
        run(self.outside("curl").args(["-sS", "-f", "-m", "5", url]), "")
    }
    /// Pid of a Skiff process by its pid file.
    pub fn pid(&self, name: &str) -> i32 {
        pid(&self.data(), name)
    }
}

/// Pid of a Skiff process of an instance.
pub(crate) fn pid(data: &Path, name: &str) -> i32 {
    let path = data.join("run").join(format!("{name}.pid"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    text.split_whitespace().next().and_then(|p| p.parse().ok()).expect("a pid file begins with the pid")
}

impl Drop for Lab {
    fn drop(&mut self) {
        if std::env::var_os("SKIFF_E2E_KEEP").is_some() {
            eprintln!("kept: nsenter -t {} -m -n; {}", self.holder.id(), self.dir.display());
            return;
        }
        let down = self.skiff(&["down", "--purge"]);
        if down.code != 0 {
            eprintln!("{}: {}{}", down.command, down.out, down.err);
        }
        let _ = self.holder.kill();
        let _ = self.holder.wait();
        for ns in ["n1", "out"] {
            let _ = Command::new("ip").args(["netns", "del", &format!("{}-{ns}", self.name)]).status();
        }
        let _ = std::fs::remove_dir_all(&self.dir);
        for hierarchy in std::fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten() {
            let _ = std::fs::remove_dir(hierarchy.path().join(&self.name));
        }
        let _ = std::fs::remove_dir(Path::new("/sys/fs/cgroup").join(&self.name));
    }
}
