//! The plugin as the runtime runs it: two pods in namespaces of their own get addresses, reach each other and their node, are
//! reached through host ports from everywhere, and leave nothing behind. Needs root; without it the test says so and ends.

use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::Duration;

/// This binary is its own plugin: with CNI_COMMAND set it acts as one.
fn main() -> ExitCode {
    if std::env::var_os("CNI_COMMAND").is_some() {
        return cni::main(&std::env::var("PLUGIN").unwrap_or_default());
    }
    let args: Vec<String> = std::env::args().collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        [_, "serve", protocol, address, name] => return serve(protocol, address, name),
        [_, "ask", protocol, address] => {
            print!("{}", ask(protocol, address).unwrap_or_else(|e| format!("error: {e}")));
            return ExitCode::SUCCESS;
        }
        _ => {}
    }
    if args.iter().any(|a| a == "--list") {
        println!("pods_reach_each_other: test\nhost_ports: test");
        return ExitCode::SUCCESS;
    }
    if !is_root() {
        println!("skipped: needs root\n\ntest result: ok. 0 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out");
        return ExitCode::SUCCESS;
    }
    let lab = Lab::new();
    pods_reach_each_other(&lab);
    host_ports(&lab);
    println!("\ntest result: ok. 2 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out");
    ExitCode::SUCCESS
}

fn is_root() -> bool {
    std::fs::read_to_string("/proc/self/status").is_ok_and(|s| s.lines().any(|l| l.starts_with("Uid:\t0\t")))
}

/// Tells its name and the client's address to whoever asks. Says when it is ready.
fn serve(protocol: &str, address: &str, name: &str) -> ExitCode {
    if protocol == "udp" {
        let socket = UdpSocket::bind(address).expect("bound");
        println!("ready");
        let mut buffer = [0; 16];
        while let Ok((_, peer)) = socket.recv_from(&mut buffer) {
            let _ = socket.send_to(format!("{name} {}", peer.ip()).as_bytes(), peer);
        }
    } else {
        let listener = TcpListener::bind(address).expect("bound");
        println!("ready");
        while let Ok((mut stream, peer)) = listener.accept() {
            let _ = stream.write_all(format!("{name} {}", peer.ip()).as_bytes());
        }
    }
    ExitCode::SUCCESS
}

fn ask(protocol: &str, address: &str) -> std::io::Result<String> {
    let limit = Some(Duration::from_secs(5));
    if protocol == "udp" {
        let socket = UdpSocket::bind("0.0.0.0:0")?;
        socket.set_read_timeout(limit)?;
        socket.connect(address)?;
        socket.send(b"?")?;
        let mut buffer = [0; 64];
        let n = socket.recv(&mut buffer)?;
        return Ok(String::from_utf8_lossy(&buffer[..n]).into_owned());
    }
    let mut text = String::new();
    let address = address.parse().map_err(std::io::Error::other)?;
    TcpStream::connect_timeout(&address, Duration::from_secs(5))?.read_to_string(&mut text)?;
    Ok(text)
}

/// Ended when dropped.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn ip(args: &[&str]) -> String {
    let out = Command::new("ip").args(args).output().expect("ip runs");
    assert!(out.status.success(), "ip {args:?}: {}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8_lossy(&out.stdout).into_owned()
}

const NAMESPACES: [&str; 4] = ["node", "p1", "p2", "outside"];

/// A node, two pods and a machine beside the node as network namespaces; removed when dropped.
struct Lab {
    id: u32,
    dir: tempfile::TempDir,
}

impl Lab {
    fn new() -> Self {
        let lab = Self { id: std::process::id(), dir: tempfile::tempdir().expect("a temporary directory") };
        for n in NAMESPACES {
            ip(&["netns", "add", &lab.ns(n)]);
        }
        ip(&["-n", &lab.ns("node"), "link", "set", "lo", "up"]);
        ip(&["-n", &lab.ns("node"), "addr", "add", "10.98.0.1/32", "dev", "lo"]);
        lab.inside("node", &["sysctl", "-qw", "net.ipv4.ip_forward=1"]);
        ip(&["-n", &lab.ns("node"), "link", "add", "wire", "type", "veth", "peer", "name", "wire", "netns", &lab.ns("outside")]);
        for (n, addresses) in [("node", &["192.0.2.1/24", "192.0.2.3/24"][..]), ("outside", &["192.0.2.2/24"])] {
            for a in addresses {
                ip(&["-n", &lab.ns(n), "addr", "add", a, "dev", "wire"]);
            }
            ip(&["-n", &lab.ns(n), "link", "set", "wire", "up"]);
        }
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
    fn serve(&self, n: &str, protocol: &str, address: &str) -> Process {
        let mut child = Command::new("nsenter")
            .arg(format!("--net=/run/netns/{}", self.ns(n)))
            .arg(std::env::current_exe().expect("own path"))
            .args(["serve", protocol, address, n])
            .stdout(Stdio::piped())
            .spawn()
            .expect("the server starts");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("piped")).read_line(&mut line).expect("the server speaks");
        assert_eq!(line, "ready\n");
        Process(child)
    }
    fn ask(&self, n: &str, protocol: &str, address: &str) -> String {
        let exe = std::env::current_exe().expect("own path");
        self.inside(n, &[&exe.to_string_lossy(), "ask", protocol, address])
    }
    fn plugin(&self, plugin: &str, command: &str, pod: &str) -> (bool, Value) {
        self.plugin_with(plugin, command, pod, &Value::Null)
    }
    fn plugin_with(&self, plugin: &str, command: &str, pod: &str, ports: &Value) -> (bool, Value) {
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
        let mut config = serde_json::json!({"cniVersion": "1.0.0", "name": "t", "subnet": "10.99.7.0/29", "nodeIp": "10.98.0.1", "runDir": self.dir.path()});
        if !ports.is_null() {
            config["runtimeConfig"] = serde_json::json!({"portMappings": ports});
        }
        child.stdin.take().expect("piped").write_all(config.to_string().as_bytes()).expect("the plugin reads");
        let out = child.wait_with_output().expect("the plugin ends");
        (out.status.success(), serde_json::from_slice(&out.stdout).unwrap_or(Value::Null))
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        for n in NAMESPACES {
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
    assert_eq!(
        lab.inside("node", &["ip", "-o", "link", "show", "type", "veth"]).lines().filter(|l| !l.contains("wire")).count(),
        0
    );
    assert_eq!(lab.inside("node", &["ip", "route", "show", "proto", "83"]), "");
}

/// Two pods have one host port, on different addresses and with different protocols.
fn host_ports(lab: &Lab) {
    let mapping = |protocol: &str, ip: &str| serde_json::json!({"hostPort": 54321, "containerPort": 8080, "protocol": protocol, "hostIP": ip});
    let first = serde_json::json!([mapping("tcp", "192.0.2.1"), mapping("udp", "")]);
    let second = serde_json::json!([mapping("tcp", "0.0.0.0"), mapping("udp", "192.0.2.3")]);
    let mut servers = Vec::new();
    for (pod, ports) in [("p1", &first), ("p2", &second)] {
        let (ok, result) = lab.plugin_with("skiff-cni", "ADD", pod, ports);
        assert!(ok, "{result}");
        for protocol in ["tcp", "udp"] {
            servers.push(lab.serve(pod, protocol, "0.0.0.0:8080"));
        }
    }
    for (from, protocol, address, want) in [
        ("outside", "tcp", "192.0.2.1", "p1 192.0.2.2"),
        ("outside", "tcp", "192.0.2.3", "p2 192.0.2.2"),
        ("outside", "udp", "192.0.2.1", "p1 192.0.2.2"),
        ("outside", "udp", "192.0.2.3", "p2 192.0.2.2"),
        ("node", "tcp", "192.0.2.1", "p1"),
        ("node", "tcp", "10.98.0.1", "p2"),
        ("node", "udp", "192.0.2.1", "p1"),
        ("node", "tcp", "127.0.0.1", "p2"),
        ("node", "udp", "127.0.0.1", "p1"),
        ("p1", "tcp", "192.0.2.1", "p1"),
        ("p1", "udp", "192.0.2.1", "p1"),
        ("p1", "tcp", "192.0.2.3", "p2"),
        ("p2", "udp", "192.0.2.3", "p2"),
    ] {
        let got = lab.ask(from, protocol, &format!("{address}:54321"));
        assert!(got.starts_with(want), "{protocol} from {from} to {address}: {got:?}, not {want:?}");
    }
    // Without its configuration too, a container's ports go with it, and only those.
    assert!(lab.plugin("skiff-cni", "DEL", "p1").0);
    assert_eq!(lab.ask("outside", "tcp", "192.0.2.1:54321"), "p2 192.0.2.2", "the more general one remains");
    assert!(lab.plugin_with("skiff-cni", "DEL", "p2", &second).0);
    assert!(lab.ask("outside", "tcp", "192.0.2.1:54321").starts_with("error"));
    let list = lab.inside("node", &["nft", "list", "table", "ip", "skiff-hostports"]);
    assert!(!list.contains("elements"), "{list}");
}
