//! The server as a client sees it: over UDP and TCP on the loopback address, with a small cluster behind it.

use client::k8s_openapi::api::core::v1::Service;
use client::k8s_openapi::api::discovery::v1::EndpointSlice;
use dns::{Config, Index, with_index};
use hickory_proto::op::{Edns, Message, Query, ResponseCode};
use hickory_proto::rr::{Name, RecordType};
use parking_lot::RwLock;
use proptest::strategy::{Strategy, ValueTree};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

fn service(name: &str, spec: Value) -> Service {
    serde_json::from_value(json!({"metadata": {"name": name, "namespace": "default"}, "spec": spec})).expect("a service")
}

fn slice(name: &str, service: &str, endpoints: Value, ports: Value) -> EndpointSlice {
    let labels = json!({"kubernetes.io/service-name": service});
    let meta = json!({"name": name, "namespace": "default", "labels": labels});
    let kind = json!({"addressType": "IPv4", "metadata": meta, "endpoints": endpoints, "ports": ports});
    serde_json::from_value(kind).expect("a slice")
}

fn cluster() -> Index {
    let mut index = Index::default();
    index.put_namespace("default");
    let ports = json!([{"name": "http", "port": 80, "protocol": "TCP"}, {"name": "dns", "port": 53, "protocol": "UDP"}]);
    index.put_service(&service(
        "web",
        json!({"clusterIP": "10.96.0.20", "clusterIPs": ["10.96.0.20", "fd00::20"], "ports": ports}),
    ));
    index.put_service(&service("db", json!({"clusterIP": "None", "ports": [{"name": "sql", "port": 5432}]})));
    let endpoints = json!([
        {"addresses": ["10.1.0.1"], "hostname": "db-0", "conditions": {"ready": true}},
        {"addresses": ["10.1.0.2"]},
        {"addresses": ["10.1.0.3"], "hostname": "db-2", "conditions": {"ready": false}},
    ]);
    index.put_slice(&slice("db-x", "db", endpoints, json!([{"name": "sql", "port": 5432, "protocol": "TCP"}])));
    index.put_service(&service("empty", json!({"clusterIP": "None"})));
    index.put_service(&service("out", json!({"type": "ExternalName", "externalName": "www.example.com"})));
    index.put_service(&service("in", json!({"type": "ExternalName", "externalName": "web.default.svc.cluster.local"})));
    index.put_service(&service("loop", json!({"type": "ExternalName", "externalName": "loop.default.svc.cluster.local"})));
    index.put_service(&service("many", json!({"clusterIP": "None"})));
    let many: Vec<Value> = (0..200).map(|i| json!({"addresses": [format!("10.2.0.{i}")]})).collect();
    index.put_slice(&slice("many-x", "many", many.into(), Value::Null));
    index.set_synced();
    index
}

async fn free_port() -> SocketAddr {
    loop {
        let udp = UdpSocket::bind("127.0.0.1:0").await.expect("a port");
        let address = udp.local_addr().expect("bound");
        if tokio::net::TcpListener::bind(address).await.is_ok() {
            return address;
        }
    }
}

async fn server() -> SocketAddr {
    let address = free_port().await;
    let config = Config { addresses: vec![address], domain: "cluster.local".into(), upstreams: Vec::new(), max_forwards: 1 };
    let server = with_index(config, Arc::new(RwLock::new(cluster()))).expect("a server");
    tokio::spawn(server.run(CancellationToken::new()));
    // A listening socket of either kind is what we wait for; both are bound by tasks started together.
    while TcpStream::connect(address).await.is_err() || ask_udp(address, &query("cluster.local", RecordType::SOA)).await.is_none()
    {
        sleep(Duration::from_millis(1)).await;
    }
    address
}

fn query(name: &str, kind: RecordType) -> Message {
    let mut m = Message::query();
    m.metadata.id = 7;
    let mut name = Name::from_ascii(name).expect("a name");
    name.set_fqdn(true);
    m.add_query(Query::query(name, kind));
    m
}

async fn send_udp(address: SocketAddr, packet: &[u8]) -> Option<Vec<u8>> {
    let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a port");
    socket.connect(address).await.expect("connected");
    socket.send(packet).await.ok()?;
    let mut buffer = vec![0; 65_535];
    let n = timeout(Duration::from_secs(10), socket.recv(&mut buffer)).await.ok()?.ok()?;
    Some(buffer[..n].to_vec())
}

async fn ask_udp(address: SocketAddr, m: &Message) -> Option<Message> {
    Message::from_vec(&send_udp(address, &m.to_vec().expect("encodes")).await?).ok()
}

async fn ask_tcp(address: SocketAddr, m: &Message) -> Message {
    let packet = m.to_vec().expect("encodes");
    let mut stream = TcpStream::connect(address).await.expect("connects");
    stream.write_u16(packet.len() as u16).await.expect("sent");
    stream.write_all(&packet).await.expect("sent");
    let len = stream.read_u16().await.expect("an answer");
    let mut answer = vec![0; usize::from(len)];
    stream.read_exact(&mut answer).await.expect("an answer");
    Message::from_vec(&answer).expect("decodes")
}

#[tokio::test]
async fn names() {
    use RecordType::{A, AAAA, CNAME, MX, NS, PTR, SOA, SRV, TXT};
    use ResponseCode::{NXDomain, NoError, Refused, ServFail};
    let address = server().await;
    for (name, kind, code, want) in [
        ("web.default.svc.cluster.local", A, NoError, &["10.96.0.20"][..]),
        ("web.default.svc.cluster.local", AAAA, NoError, &["fd00::20"]),
        ("web.default.svc.cluster.local", MX, NoError, &[]),
        ("WEB.Default.svc.Cluster.local", A, NoError, &["10.96.0.20"]),
        ("_http._tcp.web.default.svc.cluster.local", SRV, NoError, &["0 50 80 web.default.svc.cluster.local."]),
        ("_http._udp.web.default.svc.cluster.local", SRV, NXDomain, &[]),
        ("db.default.svc.cluster.local", A, NoError, &["10.1.0.1", "10.1.0.2"]),
        ("db.default.svc.cluster.local", AAAA, NoError, &[]),
        ("db-0.db.default.svc.cluster.local", A, NoError, &["10.1.0.1"]),
        ("10-1-0-2.db.default.svc.cluster.local", A, NoError, &["10.1.0.2"]),
        ("db-2.db.default.svc.cluster.local", A, NXDomain, &[]),
        (
            "_sql._tcp.db.default.svc.cluster.local",
            SRV,
            NoError,
            &["0 50 5432 10-1-0-2.db.default.svc.cluster.local.", "0 50 5432 db-0.db.default.svc.cluster.local."],
        ),
        ("empty.default.svc.cluster.local", A, NXDomain, &[]),
        ("none.default.svc.cluster.local", A, NXDomain, &[]),
        ("web.nowhere.svc.cluster.local", A, NXDomain, &[]),
        ("default.svc.cluster.local", A, NoError, &[]),
        ("svc.cluster.local", A, NoError, &[]),
        ("cluster.local", A, NoError, &[]),
        ("cluster.local", NS, NoError, &["ns.dns.cluster.local."]),
        ("ns.dns.cluster.local", A, NoError, &["127.0.0.1"]),
        ("out.default.svc.cluster.local", CNAME, NoError, &["www.example.com."]),
        ("out.default.svc.cluster.local", A, NoError, &["www.example.com."]),
        ("in.default.svc.cluster.local", A, NoError, &["10.96.0.20", "web.default.svc.cluster.local."]),
        ("loop.default.svc.cluster.local", A, ServFail, &[]),
        ("10-9-8-7.default.pod.cluster.local", A, NoError, &["10.9.8.7"]),
        ("10-9-8-7.nowhere.pod.cluster.local", A, NXDomain, &[]),
        ("x.default.pod.cluster.local", A, NXDomain, &[]),
        ("dns-version.cluster.local", TXT, NoError, &["1.1.0"]),
        ("20.0.96.10.in-addr.arpa", PTR, NoError, &["web.default.svc.cluster.local."]),
        ("1.0.1.10.in-addr.arpa", PTR, NoError, &["db-0.db.default.svc.cluster.local."]),
        ("9.9.9.9.in-addr.arpa", PTR, NXDomain, &[]),
        ("www.example.com", A, NXDomain, &[]),
        ("cluster.local", RecordType::AXFR, Refused, &[]),
    ] {
        let reply = ask_udp(address, &query(name, kind)).await.expect("an answer");
        let mut got: Vec<String> = reply.answers.iter().map(|r| r.data.to_string().trim_matches('"').to_owned()).collect();
        got.sort();
        assert_eq!((reply.metadata.response_code, got), (code, want.iter().map(|s| (*s).to_owned()).collect()), "{name} {kind}");
        assert_eq!(reply.queries[0].name.to_string().trim_end_matches('.'), name, "the question keeps its case");
        let ours = name.to_ascii_lowercase().ends_with("cluster.local");
        if ours && want.is_empty() && matches!(code, NoError | NXDomain) {
            assert_eq!(reply.authorities.first().map(|r| (r.record_type(), r.ttl)), Some((SOA, 30)), "{name} {kind}");
        }
    }
}

#[tokio::test]
async fn long_answers_are_truncated_and_come_whole_over_tcp() {
    let address = server().await;
    let mut m = query("many.default.svc.cluster.local", RecordType::A);
    let plain = ask_udp(address, &m).await.expect("an answer");
    assert!(plain.metadata.truncation && (20..40).contains(&plain.answers.len()), "{}", plain.answers.len());
    let mut edns = Edns::new();
    edns.set_max_payload(4096);
    m.set_edns(edns);
    let packet = send_udp(address, &m.to_vec().expect("encodes")).await.expect("an answer");
    let large = Message::from_vec(&packet).expect("decodes");
    assert!(large.metadata.truncation && large.edns.is_some() && packet.len() <= 1232 && packet.len() > 1200);
    let whole = ask_tcp(address, &m).await;
    assert_eq!((whole.metadata.truncation, whole.answers.len()), (false, 200));
}

#[tokio::test]
async fn hostile_packets() {
    let address = server().await;
    let good = query("web.default.svc.cluster.local", RecordType::A).to_vec().expect("encodes");
    let with = |at: usize, byte: u8| {
        let mut p = good.clone();
        p[at] = byte;
        p
    };
    for (name, packet, code) in [
        ("another operation", with(2, 0x29), 4),
        ("two questions", with(5, 2), 1),
        ("no question", with(5, 0), 1),
        ("cut off", good[..20].to_vec(), 1),
        ("header alone", good[..12].to_vec(), 1),
        ("a name that points to itself", [&good[..12], &[0xc0, 12, 0, 1, 0, 1]].concat(), 1),
        ("class CHAOS", with(good.len() - 1, 3), 5),
    ] {
        let answer = send_udp(address, &packet).await.expect("an answer");
        assert_eq!((answer[3] & 0xf, &answer[..2]), (code, &good[..2]), "{name}");
    }
    // Whatever comes, the server answers the next question.
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let noise = proptest::collection::vec(proptest::num::u8::ANY, 0..300);
    let edits = proptest::collection::vec((0..good.len(), proptest::num::u8::ANY), 1..6);
    let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a port");
    for _ in 0..200 {
        let noise = noise.new_tree(&mut runner).expect("a value").current();
        socket.send_to(&noise, address).await.expect("sent");
        let mut packet = good.clone();
        for (at, byte) in edits.new_tree(&mut runner).expect("a value").current() {
            packet[at] = byte;
        }
        socket.send_to(&packet, address).await.expect("sent");
        let mut stream = TcpStream::connect(address).await.expect("connects");
        stream.write_all(&noise).await.expect("sent");
    }
    let m = query("web.default.svc.cluster.local", RecordType::A);
    assert_eq!(ask_tcp(address, &m).await.answers.len(), 1);
    // The last packets may have filled the socket's queue; ask until one gets through.
    while ask_udp(address, &m).await.is_none() {}
}
