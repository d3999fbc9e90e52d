//! A lab: a wire (a network namespace with a bridge that leads nowhere), a machine on it for `skiff up`, and stock kubectl.
//! There is no default route: an address without a rule goes nowhere.

use crate::command::{Output, run};
use crate::machine::Machine;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The repository's root.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("e2e lies in the repository").to_path_buf()
}

/// A lab, which is used as its first machine. Dropping it stops everything that was started in it and removes every trace.
pub struct Lab {
    /// The lab's name, and its cgroup's; the machine's is `n1`.
    pub name: String,
    machine: Machine,
    kubectl: PathBuf,
    // Goes last: fields are dropped in order.
    _wire: Wire,
}

/// What machines are plugged into, and the directory that their files are in.
struct Wire {
    netns: String,
    dir: PathBuf,
}

impl Drop for Wire {
    fn drop(&mut self) {
        if !kept() {
            let _ = Command::new("ip").args(["netns", "del", &self.netns]).status();
            let _ = std::fs::remove_dir_all(&self.dir);
        }
    }
}

impl Deref for Lab {
    type Target = Machine;
    fn deref(&self) -> &Machine {
        &self.machine
    }
}

/// Address of the lab's machine.
pub const NODE_IP: &str = "172.31.77.10";
/// Address of the outside: a client that is not the machine itself.
pub const OUTSIDE_IP: &str = "172.31.77.1";

/// Runs a command that cannot fail but by a fault of the test's surroundings.
pub(crate) fn must(args: &[&str]) {
    run(Command::new(args[0]).args(&args[1..]), "").ok();
}

/// Are labs to be left for somebody to look at?
pub(crate) fn kept() -> bool {
    std::env::var_os("SKIFF_E2E_KEEP").is_some()
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
        let machine = Machine::new(&name, "n1", ("v1", NODE_IP), &dir, name.clone());
        Self { name, machine, kubectl: kubectl(), _wire: Wire { netns: out, dir } }
    }

    /// Machine number `n` on the same wire; the lab itself is number 1.
    pub fn another_machine(&self, n: u8) -> Machine {
        self.plug(n, "v1", &format!("172.31.77.{}", 9 + n))
    }

    /// Machine number `n` on a second wire.
    pub fn machine_beyond_a_router(&self, n: u8) -> Machine {
        self.second_wire();
        let machine = self.plug(n, "v2", &format!("172.31.78.{}", 9 + n));
        machine.sh("ip route add 172.31.77.0/24 via 172.31.78.1").ok();
        machine
    }

    fn plug(&self, n: u8, wire: &str, ip: &str) -> Machine {
        let node = format!("n{n}");
        Machine::new(&self.name, &node, (wire, ip), &self.dir.join(&node), format!("{}-{node}", self.name))
    }

    /// Lays a second wire, 172.31.78.0/24; the outside is the router between the two, and knows of no pods.
    fn second_wire(&self) {
        let out = format!("{}-out", self.name);
        must(&["ip", "-n", &out, "link", "add", "v2", "type", "bridge"]);
        must(&["ip", "-n", &out, "addr", "add", "172.31.78.1/24", "dev", "v2"]);
        must(&["ip", "-n", &out, "link", "set", "v2", "up"]);
        must(&["ip", "netns", "exec", &out, "sysctl", "-qw", "net.ipv4.ip_forward=1"]);
        must(&["ip", "-n", &format!("{}-n1", self.name), "route", "add", "172.31.78.0/24", "via", OUTSIDE_IP]);
    }

    /// The release binary under test.
    pub fn binary() -> PathBuf {
        let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from);
        let path = std::env::var_os("SKIFF_BINARY").map_or_else(|| target.join("release/skiff"), PathBuf::from);
        assert!(path.exists(), "{} is not built: `cargo build --release --bin skiff`", path.display());
        path
    }

    /// A command on the lab's machine, with its kubeconfig.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut c = self.machine.command(program);
        c.env("KUBECONFIG", self.kubeconfig());
        c
    }
    /// A command outside the lab's machine, on the same wire.
    pub fn outside(&self, program: &str) -> Command {
        let mut c = Command::new("nsenter");
        c.arg(format!("--net=/run/netns/{}-out", self.name)).arg(program);
        c
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
        run(self.command(Self::binary()).arg("up").args(self.identity()), "")
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
    /// curl from outside the machine: the body of a successful answer.
    pub fn curl_outside(&self, url: &str) -> Output {
        run(self.outside("curl").args(["-sS", "-f", "-m", "5", url]), "")
    }
}
