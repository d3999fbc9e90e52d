//! A machine on a lab's wire: a network namespace and a mount namespace of its own, a data directory, a cgroup.
//!
//! The mount namespace is entered with nsenter, not with `ip netns exec`, which would hide the cgroups.

use crate::command::{Output, eventually, run};
use crate::lab::{Lab, kept, must};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// A machine. Dropping it stops what runs on it and removes every trace; drop it before the lab whose wire it is on.
pub struct Machine {
    pub name: String,
    pub ip: String,
    /// Where its files are.
    pub dir: PathBuf,
    cgroup: String,
    netns: String,
    holder: Child,
}

impl Machine {
    /// Plugs a machine into one of the wires of `lab`, with an address there.
    pub(crate) fn new(lab: &str, name: &str, (wire, ip): (&str, &str), dir: &Path, cgroup: String) -> Self {
        let (out, ns, port) = (format!("{lab}-out"), format!("{lab}-{name}"), format!("p-{name}"));
        must(&["ip", "netns", "add", &ns]);
        must(&["ip", "-n", &ns, "link", "set", "lo", "up"]);
        must(&["ip", "-n", &out, "link", "add", &port, "type", "veth", "peer", "name", "eth0", "netns", &ns]);
        must(&["ip", "-n", &out, "link", "set", &port, "master", wire, "up"]);
        must(&["ip", "-n", &ns, "addr", "add", &format!("{ip}/24"), "dev", "eth0"]);
        must(&["ip", "-n", &ns, "link", "set", "eth0", "up"]);
        std::fs::create_dir_all(dir).expect("the lab's directory is writable");
        let ready = dir.join(format!("{name}-ready"));
        let script = format!("mount --make-rshared / && touch {} && exec sleep infinity", ready.display());
        let holder = Command::new("nsenter")
            .arg(format!("--net=/run/netns/{ns}"))
            .args(["unshare", "-m", "--propagation", "private", "sh", "-c", &script])
            .stdin(Stdio::null())
            .spawn()
            .expect("the machine's holder starts");
        eventually("the machine's mount namespace", Duration::from_secs(20), || {
            if ready.exists() { Ok(()) } else { Err("not made yet".into()) }
        });
        Self { name: name.into(), ip: ip.into(), dir: dir.into(), cgroup, netns: ns, holder }
    }

    /// A command on this machine, without a kubeconfig.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut c = Command::new("nsenter");
        c.args(["-t", &self.holder.id().to_string(), "-m", "-n", "--"]).arg(program);
        c.env_remove("KUBECONFIG").env("HOME", &self.dir).env("SKIFF_DATA_DIR", self.data());
        c
    }
    pub fn data(&self) -> PathBuf {
        self.dir.join("d")
    }
    pub fn sh(&self, script: &str) -> Output {
        run(self.command("sh").args(["-c", script]), "")
    }
    pub fn skiff(&self, args: &[&str]) -> Output {
        run(self.command(Lab::binary()).args(args), "")
    }
    /// What tells this machine's node from others that share the kernel.
    pub(crate) fn identity(&self) -> [String; 4] {
        ["--node-name".into(), self.name.clone(), "--cgroup-root".into(), format!("/{}", self.cgroup)]
    }
    /// `skiff join` with what `skiff token create` printed.
    pub fn join(&self, invitation: &str) -> Output {
        run(self.command(Lab::binary()).args(["join", invitation.trim()]).args(self.identity()), "")
    }
    /// Loads an image archive.
    pub fn load(&self, archive: &Path) {
        self.skiff(&["image", "load", &archive.display().to_string()]).ok();
    }
    /// Pid of a Skiff process by its pid file.
    pub fn pid(&self, name: &str) -> i32 {
        let path = self.data().join("run").join(format!("{name}.pid"));
        let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        text.split_whitespace().next().and_then(|p| p.parse().ok()).expect("a pid file begins with the pid")
    }
    /// Its network namespace, for threads that enter it.
    pub fn netns(&self) -> PathBuf {
        Path::new("/run/netns").join(&self.netns)
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if kept() {
            eprintln!("kept: nsenter -t {} -m -n; {}", self.holder.id(), self.dir.display());
            return;
        }
        let down = self.skiff(&["down", "--purge"]);
        if down.code != 0 {
            eprintln!("{}: {}{}", down.command, down.out, down.err);
        }
        let _ = self.holder.kill();
        let _ = self.holder.wait();
        let _ = Command::new("ip").args(["netns", "del", &self.netns]).status();
        let cgroups = Path::new("/sys/fs/cgroup");
        for hierarchy in std::fs::read_dir(cgroups).into_iter().flatten().flatten() {
            let _ = std::fs::remove_dir(hierarchy.path().join(&self.cgroup));
        }
        let _ = std::fs::remove_dir(cgroups.join(&self.cgroup));
    }
}
