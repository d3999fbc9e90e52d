//! API load: single verbs, lists of many pods, watch fan-out, and a mixture such as a cluster's components make.

use super::connection::{Call, Connection, JSON, PROTOBUF};
use super::load::{Clients, Outcome};
use super::objects::{self, NAMESPACE};
use super::servers::{Programs, Server};
use super::table::{Better, Table};
use super::watch::Watch;
use super::{Sizes, order};
use bytes::Bytes;
use hyper::Method;
use serde_json::{Value, json};
use std::net::Ipv4Addr;
use std::path::Path;
use std::time::{Duration, Instant};

const VERBS: &str = "API: 32 clients, one HTTP/2 connection each";
const LISTS: &str = "API: lists";
const WATCH: &str = "API: watch";
const MEMORY: &str = "API: memory";
const CLIENTS: usize = 32;
const MANY: &str = "many";

struct Loaded {
    server: Server,
    clients: Clients,
}

fn pods(namespace: &str) -> String {
    format!("/api/v1/namespaces/{namespace}/pods")
}

/// Measures one list of calls as rows of the table.
async fn measure(
    table: &mut Table,
    part: &'static str,
    what: &str,
    l: &Loaded,
    calls: Vec<Call>,
    keep: bool,
) -> Result<Outcome, String> {
    let (count, before) = (calls.len() as f64, l.server.cpu_seconds());
    let outcome = l.clients.run(calls, keep).await.map_err(|e| format!("{}, {what}: {e}", l.server.system.name()))?;
    let cpu = l.server.cpu_seconds() - before;
    let system = l.server.system;
    table.add(part, what, "requests/s", Better::Higher, system, count / outcome.seconds);
    table.add(part, what, "ms, p50", Better::Lower, system, outcome.latency.percentile(50.0));
    table.add(part, what, "ms, p99", Better::Lower, system, outcome.latency.percentile(99.0));
    table.add(part, what, "CPU us/request", Better::Lower, system, 1e6 * cpu / count);
    Ok(outcome)
}

pub async fn run(programs: &Programs, dir: &Path, sizes: &Sizes, table: &mut Table) -> Result<(), String> {
    let mut all = Vec::new();
    for (n, system) in sizes.systems.iter().copied().enumerate() {
        let port = 16443 + 10 * u16::try_from(n).unwrap_or(0);
        let server = Server::start(programs, system, &dir.join("api"), Ipv4Addr::LOCALHOST, port, &[]).await?;
        server.make_namespace(NAMESPACE).await?;
        server.make_namespace(MANY).await?;
        let clients = Clients::open(&server.endpoint, CLIENTS).await?;
        let loaded = Loaded { server, clients };
        verbs(&mut Table::default(), &loaded, sizes.requests / 4, 0).await?;
        all.push(loaded);
    }
    for round in 0..sizes.rounds {
        for n in order(round, all.len()) {
            verbs(table, &all[n], sizes.requests, round + 1).await?;
        }
        for n in order(round, all.len()) {
            mixture(table, &all[n], 2 * sizes.requests, round).await?;
        }
        for n in order(round, all.len()) {
            fan_out(table, &all[n], sizes, round).await?;
        }
    }
    println!("  {} pods in each store", sizes.stored);
    for l in &mut all {
        populate(table, l, sizes.stored).await?;
    }
    for round in 0..sizes.rounds {
        for n in order(round, all.len()) {
            lists(table, &all[n], sizes).await?;
        }
    }
    for round in 0..sizes.restarts {
        for n in order(round, all.len()) {
            cold(table, &mut all[n]).await?;
        }
    }
    Ok(())
}

async fn verbs(table: &mut Table, l: &Loaded, count: usize, round: usize) -> Result<(), String> {
    let path = pods(NAMESPACE);
    let names: Vec<String> = (0..count).map(|n| format!("cart-6d4cf56db6-{round}-{n}")).collect();
    let each = |f: &dyn Fn(&str) -> Call| names.iter().map(|n| f(n)).collect::<Vec<_>>();
    measure(table, VERBS, "create a pod", l, each(&|n| Call::with(Method::POST, &path, &objects::pod(n, &[]))), false).await?;
    let got = measure(table, VERBS, "get a pod", l, each(&|n| Call::new(Method::GET, format!("{path}/{n}"))), true).await?;
    let mut updates = Vec::with_capacity(count);
    for (name, answer) in names.iter().zip(&got.answers) {
        let mut pod: Value = serde_json::from_slice(answer).map_err(|e| format!("{name}: {e}"))?;
        pod["metadata"]["labels"]["bench.skiff.dev/updated"] = json!("yes");
        updates.push(Call::with(Method::PUT, format!("{path}/{name}"), &pod));
    }
    measure(table, VERBS, "update a pod", l, updates, false).await?;
    let patch = json!({"metadata": {"annotations": {"bench.skiff.dev/revision": "1"}}});
    let patches = each(&|n| Call {
        content_type: "application/strategic-merge-patch+json",
        ..Call::with(Method::PATCH, format!("{path}/{n}"), &patch)
    });
    measure(table, VERBS, "patch a pod", l, patches, false).await?;
    let now = json!({"apiVersion": "v1", "kind": "DeleteOptions", "gracePeriodSeconds": 0});
    measure(table, VERBS, "delete a pod", l, each(&|n| Call::with(Method::DELETE, format!("{path}/{n}"), &now)), false).await?;
    Ok(())
}

/// What components of a busy cluster ask for, in about the shares they have: status of pods, leases, reads, events, small lists.
async fn mixture(table: &mut Table, l: &Loaded, count: usize, round: usize) -> Result<(), String> {
    let (all, leases) = (pods(NAMESPACE), "/apis/coordination.k8s.io/v1/namespaces/bench/leases");
    const STANDING: usize = 100;
    let name = |n: usize| format!("mixed-{}", n % STANDING);
    let mut before = Vec::new();
    for n in 0..STANDING {
        before.push(Call::with(Method::POST, &all, &objects::pod(&name(n), &[("shard", &(n % 10).to_string())])));
        before.push(Call::with(Method::POST, leases, &objects::lease(&name(n), 0)));
    }
    l.clients.run(before, false).await?;
    let status = |n: usize| {
        let ready = json!({"type": "Ready", "status": if n.is_multiple_of(2) { "True" } else { "False" }});
        json!({"status": {"phase": "Running", "message": format!("change {n}"), "conditions": [ready]}})
    };
    let call = |n: usize| match n % 20 {
        0..=5 => Call::new(Method::GET, format!("{all}/{}", name(n / 20 * 6 + n % 20))),
        6..=9 => Call {
            content_type: "application/strategic-merge-patch+json",
            ..Call::with(Method::PATCH, format!("{all}/{}/status", name(n / 20 * 4 + n % 20)), &status(n))
        },
        10..=12 => {
            let lease = name(n / 20 * 3 + n % 20);
            let renewal = Call::with(Method::PATCH, format!("{leases}/{lease}"), &objects::lease(&lease, n));
            Call { content_type: "application/merge-patch+json", ..renewal }
        }
        13..=15 => {
            Call::with(Method::POST, "/api/v1/namespaces/bench/events", &objects::event(&format!("mixed-{round}-{n}"), &name(n)))
        }
        16 | 17 => Call::new(Method::GET, format!("{all}?labelSelector=shard%3D{}", n / 20 % 10)),
        18 => Call { accept: PROTOBUF, ..Call::new(Method::GET, format!("{all}/{}", name(n / 20))) },
        _ => Call::with(
            Method::POST,
            "/api/v1/namespaces/bench/configmaps",
            &objects::config_map(&format!("mixed-{round}-{n}"), "value"),
        ),
    };
    measure(table, VERBS, "mixed traffic", l, (0..count).map(call).collect(), false).await?;
    let now = json!({"apiVersion": "v1", "kind": "DeleteOptions", "gracePeriodSeconds": 0});
    let after = (0..STANDING).flat_map(|n| {
        [format!("{all}/{}", name(n)), format!("{leases}/{}", name(n))].map(|p| Call::with(Method::DELETE, p, &now))
    });
    l.clients.run(after.collect(), false).await.map(drop)
}

/// Watchers of one namespace while objects are created in it: the time from a request to the event at each watcher.
async fn fan_out(table: &mut Table, l: &Loaded, sizes: &Sizes, round: usize) -> Result<(), String> {
    let path = "/api/v1/namespaces/bench/configmaps";
    let mark = format!("fan-{round}-");
    let mut connections = Vec::new();
    for _ in 0..sizes.watchers.div_ceil(20) {
        connections.push(Connection::open(&l.server.endpoint).await?);
    }
    let now = Watch::from_now(connections[0].clone(), path).await?.version().to_owned();
    let before = l.server.cpu_seconds();
    let begin = Instant::now();
    let events = sizes.events;
    let mut watchers = tokio::task::JoinSet::new();
    for n in 0..sizes.watchers {
        let mut watch = Watch::from_version(connections[n / 20].clone(), path, now.clone()).await?;
        let mark = mark.clone().into_bytes();
        watchers.spawn(async move {
            let mut seen = Vec::with_capacity(events);
            while seen.len() < events {
                let (line, arrived) = watch.next().await?;
                if let Some(number) = number_after(&line, &mark) {
                    seen.push((number, arrived - begin));
                }
            }
            Ok::<_, String>(seen)
        });
    }
    let mut writer = Connection::open(&l.server.endpoint).await?;
    let mut sent = Vec::with_capacity(events);
    for n in 0..events {
        sent.push(begin.elapsed());
        writer
            .call(&Call::with(Method::POST, path, &objects::config_map(&format!("{mark}{n}"), "a value to be told of")))
            .await?;
    }
    let mut latency = crate::stats::Samples::default();
    let mut last = Duration::ZERO;
    let all = async {
        while let Some(done) = watchers.join_next().await {
            for (number, at) in done.map_err(|e| e.to_string())?? {
                latency.add(at.saturating_sub(sent.get(number).copied().unwrap_or_default()));
                last = last.max(at);
            }
        }
        Ok::<_, String>(())
    };
    let patience = Duration::from_secs(120);
    tokio::time::timeout(patience, all).await.map_err(|_| format!("watchers did not hear all in {patience:?}"))??;
    let took = last.saturating_sub(sent.first().copied().unwrap_or_default()).as_secs_f64();
    let (told, system) = ((events * sizes.watchers) as f64, l.server.system);
    let what = format!("one writer, {} watchers", sizes.watchers);
    table.add(WATCH, &what, "events/s", Better::Higher, system, told / took);
    table.add(WATCH, &what, "ms from request to event, p50", Better::Lower, system, latency.percentile(50.0));
    table.add(WATCH, &what, "ms from request to event, p99", Better::Lower, system, latency.percentile(99.0));
    table.add(WATCH, &what, "CPU us/event", Better::Lower, system, 1e6 * (l.server.cpu_seconds() - before) / told);
    Ok(())
}

/// The number that follows `mark` in a line.
fn number_after(line: &[u8], mark: &[u8]) -> Option<usize> {
    let at = line.windows(mark.len()).position(|w| w == mark)? + mark.len();
    let digits = line[at..].iter().take_while(|b| b.is_ascii_digit()).count();
    std::str::from_utf8(&line[at..at + digits]).ok()?.parse().ok()
}

/// Fills the store after a fresh start, so that memory is what these objects cost.
async fn populate(table: &mut Table, l: &mut Loaded, count: usize) -> Result<(), String> {
    restart(l).await?;
    let empty = l.server.resident();
    let path = pods(MANY);
    let calls = (0..count).map(|n| Call::with(Method::POST, &path, &objects::pod(&format!("cart-6d4cf56db6-{n}"), &[])));
    l.clients.run(calls.collect(), false).await?;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let per_object = (l.server.resident() - empty) * 1024.0 / count as f64;
    table.add(MEMORY, "resident memory, nothing stored", "MiB", Better::Lower, l.server.system, empty);
    table.add(MEMORY, "more per stored pod, after writing", "KiB", Better::Lower, l.server.system, per_object);
    Ok(())
}

async fn restart(l: &mut Loaded) -> Result<(), String> {
    l.server.restart().await?;
    l.clients = Clients::open(&l.server.endpoint, CLIENTS).await?;
    tokio::time::sleep(Duration::from_secs(2)).await;
    Ok(())
}

async fn lists(table: &mut Table, l: &Loaded, sizes: &Sizes) -> Result<(), String> {
    for (format, accept) in [("JSON", JSON), ("protobuf", PROTOBUF)] {
        for (from, query) in [("newest state", ""), ("from the cache", "?resourceVersion=0")] {
            let call = Call { accept, ..Call::new(Method::GET, format!("{}{query}", pods(MANY))) };
            let mut connection = Connection::open(&l.server.endpoint).await?;
            connection.call(&call).await?;
            let (before, mut took, mut bytes) = (l.server.cpu_seconds(), crate::stats::Samples::default(), 0);
            for _ in 0..sizes.lists {
                let begin = Instant::now();
                let body: Bytes = connection.call(&call).await?;
                took.add(begin.elapsed());
                bytes = body.len();
            }
            let cpu = (l.server.cpu_seconds() - before) / sizes.lists as f64;
            let what = format!("{} pods, {format}, warm, {from}", sizes.stored);
            let system = l.server.system;
            table.add(LISTS, &what, "ms, median", Better::Lower, system, took.median());
            table.add(LISTS, &what, "CPU ms", Better::Lower, system, 1e3 * cpu);
            if from == "newest state" {
                table.add(LISTS, &format!("{} pods, {format}", sizes.stored), "MB", Better::Lower, system, bytes as f64 / 1e6);
            }
        }
    }
    Ok(())
}

/// The first list after a start.
async fn cold(table: &mut Table, l: &mut Loaded) -> Result<(), String> {
    for (format, accept) in [("JSON", JSON), ("protobuf", PROTOBUF)] {
        restart(l).await?;
        let call = Call { accept, ..Call::new(Method::GET, pods(MANY)) };
        let mut connection = Connection::open(&l.server.endpoint).await?;
        let begin = Instant::now();
        connection.call(&call).await?;
        let what = format!("all pods, {format}, first after a start");
        table.add(LISTS, &what, "ms", Better::Lower, l.server.system, begin.elapsed().as_secs_f64() * 1e3);
    }
    table.add(
        MEMORY,
        "resident, all pods stored, started anew, listed once",
        "MiB",
        Better::Lower,
        l.server.system,
        l.server.resident(),
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::number_after;

    #[test]
    fn numbers_are_found_in_events() {
        for (line, want) in [("{\"name\":\"fan-1-42\",\"x\":9}", Some(42)), ("{\"name\":\"other\"}", None), ("fan-1-", None)] {
            assert_eq!(number_after(line.as_bytes(), b"fan-1-"), want, "{line}");
        }
    }
}
