//! The table in a real kernel, in a network namespace of its own: connections reach endpoints, are refused where there are none,
//! and keep going while the table is made anew. Needs root; without it the test says so and ends.

use kube_proxy::{Fixed, Kernel, Netlink, ServicePort, State};
use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::time::Duration;

fn ip(args: &[&str]) {
    let out = Command::new("ip").args(args).output().expect("ip runs");
    assert!(out.status.success(), "ip {args:?}: {}", String::from_utf8_lossy(&out.stderr));
}

struct Namespace(String);

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "del", &self.0]).status();
    }
}

fn addr(s: &str) -> Ipv4Addr {
    s.parse().expect("an address")
}

/// Answers every connection with its name, and keeps answering on it.
fn server(at: &str, name: &'static str) {
    let listener = TcpListener::bind(at).expect("the endpoint listens");
    std::thread::spawn(move || {
        for mut c in listener.incoming().flatten() {
            std::thread::spawn(move || {
                let mut byte = [0];
                while c.read_exact(&mut byte).is_ok() && c.write_all(name.as_bytes()).is_ok() {}
            });
        }
    });
}

fn ask(c: &mut TcpStream) -> String {
    c.write_all(b"?").expect("the connection is up");
    let mut answer = [0];
    c.read_exact(&mut answer).expect("an answer");
    String::from_utf8_lossy(&answer).into_owned()
}

fn connect(to: &str) -> std::io::Result<TcpStream> {
    let c = TcpStream::connect_timeout(&to.parse::<SocketAddr>().expect("an address"), Duration::from_secs(5))?;
    c.set_read_timeout(Some(Duration::from_secs(5)))?;
    Ok(c)
}

fn port(endpoints: &[&str]) -> ServicePort {
    ServicePort {
        protocol: 6,
        port: 80,
        cluster_ip: Some(addr("10.96.0.7")),
        node_port: 30007,
        endpoints: endpoints.iter().map(|e| (addr(e), 8080)).collect::<BTreeSet<_>>(),
        ..ServicePort::default()
    }
}

#[test]
fn services_in_a_kernel() {
    if !std::fs::read_to_string("/proc/self/status").is_ok_and(|s| s.lines().any(|l| l.starts_with("Uid:\t0\t"))) {
        println!("skipped: needs root");
        return;
    }
    let ns = Namespace(format!("kube-proxy-{}", std::process::id()));
    ip(&["netns", "add", &ns.0]);
    ip(&["-n", &ns.0, "link", "set", "lo", "up"]);
    for a in ["10.244.0.5/32", "10.244.0.6/32", "192.168.77.1/32"] {
        ip(&["-n", &ns.0, "addr", "add", a, "dev", "lo"]);
    }
    ip(&["-n", &ns.0, "route", "add", "10.96.0.0/16", "dev", "lo"]);
    let name = ns.0.clone();
    // Only this thread and those it starts are in the namespace.
    let test = std::thread::spawn(move || {
        let _inside = nlink::netlink::namespace::enter(&name).expect("enter the namespace");
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(scenario());
    });
    test.join().expect("the scenario passes");
}

async fn scenario() {
    server("10.244.0.5:8080", "a");
    server("10.244.0.6:8080", "b");
    let fixed =
        Fixed { cluster_cidr: "10.244.0.0/16".parse().ok(), service_cidr: "10.96.0.0/16".parse().ok(), masquerade_pods: true };
    let mut kernel = Netlink::open().expect("netlink");
    let mut state = State::new(fixed.cluster_cidr);
    kernel.reset(&fixed).await.expect("the table is made");
    kernel.reset(&fixed).await.expect("and made anew");

    let mut change = async |kernel: &mut Netlink, want: Option<ServicePort>| {
        let ops = state.change(vec![("ns/a:".to_owned(), want)]);
        kernel.apply(&ops).await.unwrap_or_else(|e| panic!("{e}: {ops:?}"));
    };
    change(&mut kernel, Some(port(&["10.244.0.5"]))).await;
    let mut old = connect("10.96.0.7:80").expect("the cluster IP answers");
    assert_eq!(ask(&mut old), "a");
    assert_eq!(ask(&mut connect("192.168.77.1:30007").expect("the node port answers")), "a");
    assert_eq!(ask(&mut connect("127.0.0.1:30007").expect("on the loopback too")), "a");
    assert!(connect("10.96.0.7:81").is_err(), "no such port");

    change(&mut kernel, Some(port(&["10.244.0.5", "10.244.0.6"]))).await;
    let seen: BTreeSet<String> = (0..64).map(|_| ask(&mut connect("10.96.0.7:80").expect("answers"))).collect();
    assert_eq!(seen.len(), 2, "both endpoints are drawn");

    change(&mut kernel, Some(ServicePort { affinity: Some(Duration::from_secs(60)), ..port(&["10.244.0.5", "10.244.0.6"]) }))
        .await;
    let seen: BTreeSet<String> = (0..32).map(|_| ask(&mut connect("10.96.0.7:80").expect("answers"))).collect();
    assert_eq!(seen.len(), 1, "a client stays with its endpoint");
    change(&mut kernel, Some(ServicePort { affinity: Some(Duration::from_secs(60)), ..port(&["10.244.0.6"]) })).await;
    assert_eq!(ask(&mut connect("10.96.0.7:80").expect("answers")), "b", "until that is gone");

    change(&mut kernel, Some(port(&[]))).await;
    let refused = connect("10.96.0.7:80").err().map(|e| e.kind());
    assert_eq!(refused, Some(std::io::ErrorKind::ConnectionRefused), "rejected, not left to time out");
    let refused = connect("192.168.77.1:30007").err().map(|e| e.kind());
    assert_eq!(refused, Some(std::io::ErrorKind::ConnectionRefused));
    assert_eq!(ask(&mut old), "a", "an established connection goes on");

    change(&mut kernel, None).await;
    kernel.reset(&fixed).await.expect("the table is made anew");
    assert_eq!(ask(&mut old), "a", "a new table drops no established connection");

    // As after a restart in a large cluster: one transaction, far larger than a socket takes by default.
    let mut many = State::new(fixed.cluster_cidr);
    let mut wanted = Vec::new();
    for n in 0..5000 {
        let service = ServicePort { cluster_ip: Some(Ipv4Addr::from(0x0a60_1000 + n)), node_port: 0, ..port(&["10.244.0.5"]) };
        wanted.push((format!("ns/s{n}:"), Some(service)));
    }
    kernel.apply(&many.change(wanted)).await.expect("5,000 Services at once");
    assert_eq!(ask(&mut connect("10.96.35.135:80").expect("the last one answers")), "a");
}
