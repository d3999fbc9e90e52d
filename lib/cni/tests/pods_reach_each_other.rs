//! The plugin as the runtime runs it: two pods in namespaces of their own get addresses, reach each other and their node, and
//! leave nothing behind. Needs root; without it the test says so and ends.

use serde_json::Value;
use std::io::Write;
use std::process::{Command, ExitCode, Stdio};

/// This binary is its own plugin: with CNI_COMMAND set it acts as one.
fn main() -> ExitCode {
    if std::env::var_os("CNI_COMMAND").is_some() {
        return cni::main(&std::env::var("PLUGIN").unwrap_or_default());
    }
    if std::env::args().any(|a| a == "--list") {
        println!("pods_reach_each_other: test");
        return ExitCode::SUCCESS;
    }
    if !is_root() {
        println!("skipped: needs root\n\ntest result: ok. 0 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out");
        return ExitCode::SUCCESS;
    }
    let lab = Lab::new();
    pods_reach_each_other(&lab);
    println!("\ntest result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out");
    ExitCode::SUCCESS
}

fn is_root() -> bool {
    std::fs::read_to_string("/proc/self/status").is_ok_and(|s| s.lines().any(|l| l.starts_with("Uid:\t0\t")))
}

fn ip(args: &[&str]) -> String {
    let out = Command::new("ip").args(args).output().expect("ip runs");
    assert!(out.status.success(), "ip {args:?}: {}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8_lossy(&out.stdout).into_owned()
}

/// A node and two pods as network namespaces; removed when dropped.
struct Lab {
    id: u32,
    dir: tempfile::TempDir,
}

impl Lab {
    fn new() -> Self {
        let lab = Self { id: std::process::id(), dir: tempfile::tempdir().expect("a temporary directory") };
        for n in ["node", "p1", "p2"] {
            ip(&["netns", "add", &lab.ns(n)]);
        }
        ip(&["-n", &lab.ns("node"), "link", "set", "lo", "up"]);
        ip(&["-n", &lab.ns("node"), "addr", "add", "10.98.0.1/32", "dev", "lo"]);
        lab.inside("node", &["sysctl", "-qw", "net.ipv4.ip_forward=1"]);
        lab
    }
    fn ns(&self, n: &str) -> String {
        format!("cni{}-{n}", self.id)
    }
    fn inside(&self, n: &str, command: &[&str]) -> String {
        let net = format!("--net=/run/netns/{}", self.ns(n));
        let out = Command::new("nsenter").arg(net).args(command).output().expect("nsenter runs");
        assert!(out.status.success(), "{command:?} in {n}: {}", String::from_utf8_lossy(&out.stderr));
        String::from_utf8_lossy(&out.stdout).into_owned()
    }
    fn plugin(&self, plugin: &str, command: &str, pod: &str) -> (bool, Value) {
        let exe = std::env::current_exe().expect("own path");
        let mut child = Command::new("nsenter")
            .arg(format!("--net=/run/netns/{}", self.ns("node")))
            .arg(exe)
            .env("PLUGIN", plugin)
            .env("CNI_COMMAND", command)
            .env("CNI_CONTAINERID", pod)
            .env("CNI_NETNS", format!("/run/netns/{}", self.ns(pod)))
            .env("CNI_IFNAME", if plugin == "loopback" { "lo" } else { "eth0" })
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the plugin starts");
        let config = serde_json::json!({"cniVersion": "1.0.0", "name": "t", "subnet": "10.99.7.0/29", "nodeIp": "10.98.0.1", "runDir": self.dir.path()});
        child.stdin.take().expect("piped").write_all(config.to_string().as_bytes()).expect("the plugin reads");
        let out = child.wait_with_output().expect("the plugin ends");
        (out.status.success(), serde_json::from_slice(&out.stdout).unwrap_or(Value::Null))
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        for n in ["node", "p1", "p2"] {
            let _ = Command::new("ip").args(["netns", "del", &self.ns(n)]).status();
        }
    }
}

fn pods_reach_each_other(lab: &Lab) {
    let address = |v: &Value| v["ips"][0]["address"].as_str().unwrap_or("").trim_end_matches("/32").to_owned();
    for pod in ["p1", "p2"] {
        assert!(lab.plugin("loopback", "ADD", pod).0);
    }
    let (ok, first) = lab.plugin("skiff-cni", "ADD", "p1");
    assert!(ok, "{first}");
    let (ok, second) = lab.plugin("skiff-cni", "ADD", "p2");
    assert!(ok, "{second}");
    assert_eq!((address(&first), address(&second)), ("10.99.7.2".into(), "10.99.7.3".into()));
    assert!(lab.plugin("skiff-cni", "CHECK", "p1").0);
    lab.inside("p1", &["ping", "-c1", "-W5", "10.99.7.3"]);
    lab.inside("node", &["ping", "-c1", "-W5", "10.99.7.2"]);
    lab.inside("p1", &["ping", "-c1", "-W5", "10.99.7.2"]);

    // A repeated ADD for the same sandbox replaces its link and rests the old address.
    lab.inside("p1", &["ip", "link", "del", "eth0"]);
    let (ok, again) = lab.plugin("skiff-cni", "ADD", "p1");
    assert!(ok, "{again}");
    assert_eq!(address(&again), "10.99.7.4");

    for _ in 0..2 {
        assert!(lab.plugin("skiff-cni", "DEL", "p1").0, "DEL is idempotent");
    }
    assert!(lab.plugin("skiff-cni", "DEL", "p2").0);
    assert!(!lab.plugin("skiff-cni", "CHECK", "p1").0);
    assert_eq!(lab.inside("node", &["ip", "-o", "link", "show", "type", "veth"]), "");
    assert_eq!(lab.inside("node", &["ip", "route", "show", "proto", "83"]), "");
}
