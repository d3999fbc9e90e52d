//! Another machine on a lab's wire: it has a data directory and a cgroup of its own, and joins the lab's cluster.

use crate::command::{Output, run};
use crate::lab::{self, Lab};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

/// A machine that may join. Dropping it stops what runs on it and removes every trace; drop it before its lab.
pub struct Machine {
    pub name: String,
    pub ip: String,
    lab: String,
    dir: PathBuf,
    holder: Child,
}

impl Machine {
    /// Machine number `n` of a lab; the lab itself is number 1.
    pub fn new(lab: &Lab, n: u8) -> Self {
        let (name, ip) = (format!("n{n}"), format!("172.31.77.{}", 9 + n));
        let dir = lab.dir.join(&name);
        std::fs::create_dir_all(&dir).expect("the lab's directory is writable");
        let holder = lab::machine(&lab.name, &name, &ip, &dir);
        Self { name, ip, lab: lab.name.clone(), dir, holder }
    }
    /// A command on this machine.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
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
    /// `skiff join` with what `skiff token create` printed.
    pub fn join(&self, invitation: &str) -> Output {
        let cgroup = format!("/{}-{}", self.lab, self.name);
        self.skiff(&["join", invitation.trim(), "--node-name", &self.name, "--cgroup-root", &cgroup])
    }
    /// Loads an image archive.
    pub fn load(&self, archive: &Path) {
        self.skiff(&["image", "load", &archive.display().to_string()]).ok();
    }
    /// Pid of a Skiff process by its pid file.
    pub fn pid(&self, name: &str) -> i32 {
        lab::pid(&self.data(), name)
    }
}

impl Drop for Machine {
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
        let _ = Command::new("ip").args(["netns", "del", &format!("{}-{}", self.lab, self.name)]).status();
        let cgroup = format!("{}-{}", self.lab, self.name);
        let root = Path::new("/sys/fs/cgroup");
        for hierarchy in std::fs::read_dir(root).into_iter().flatten().flatten() {
            let _ = std::fs::remove_dir(hierarchy.path().join(&cgroup));
        }
        let _ = std::fs::remove_dir(root.join(&cgroup));
    }
}
