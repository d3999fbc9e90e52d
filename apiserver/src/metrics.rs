//! `/metrics`: request counts by verb, resource and code, and what the process holds, in the Prometheus text format.

use crate::http::RequestInfo;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    verb: String,
    group: String,
    version: String,
    resource: String,
    subresource: String,
    code: u16,
}

#[derive(Default)]
pub struct Metrics {
    requests: Mutex<BTreeMap<Key, (u64, Duration)>>,
    pub in_flight: AtomicI64,
    pub watches: AtomicI64,
    pub panics: AtomicU64,
}

/// Distinct label sets kept; more would let clients fill the memory with made-up resources.
const MAX_SERIES: usize = 4096;

impl Metrics {
    pub fn observe(&self, info: &RequestInfo, known: bool, code: u16, took: Duration) {
        let key = if known {
            Key {
                verb: info.verb.to_ascii_uppercase(),
                group: info.group.clone(),
                version: info.version.clone(),
                resource: info.resource.clone(),
                subresource: info.subresource.clone(),
                code,
            }
        } else {
            let e = String::new;
            Key { verb: "OTHER".into(), group: e(), version: e(), resource: e(), subresource: e(), code }
        };
        let mut requests = self.requests.lock();
        if requests.len() >= MAX_SERIES && !requests.contains_key(&key) {
            return;
        }
        let slot = requests.entry(key).or_default();
        slot.0 += 1;
        slot.1 += took;
    }

    pub fn render(&self, objects: &[(String, usize)]) -> String {
        let mut out = String::from(
            "# HELP apiserver_request_total Counter of apiserver requests broken out for each verb, API resource and code.\n\
             # TYPE apiserver_request_total counter\n",
        );
        let mut times = String::from(
            "# HELP apiserver_request_duration_seconds Response latency distribution in seconds.\n\
             # TYPE apiserver_request_duration_seconds summary\n",
        );
        for (k, (n, took)) in self.requests.lock().iter() {
            let labels = format!(
                "code=\"{}\",group=\"{}\",resource=\"{}\",subresource=\"{}\",verb=\"{}\",version=\"{}\"",
                k.code, k.group, k.resource, k.subresource, k.verb, k.version
            );
            let _ = writeln!(out, "apiserver_request_total{{{labels}}} {n}");
            let _ = writeln!(times, "apiserver_request_duration_seconds_sum{{{labels}}} {}", took.as_secs_f64());
            let _ = writeln!(times, "apiserver_request_duration_seconds_count{{{labels}}} {n}");
        }
        out.push_str(&times);
        out.push_str("# TYPE apiserver_storage_objects gauge\n");
        for (resource, n) in objects {
            let _ = writeln!(out, "apiserver_storage_objects{{resource=\"{resource}\"}} {n}");
        }
        for (name, v) in [
            ("apiserver_current_inflight_requests", self.in_flight.load(Ordering::Relaxed)),
            ("apiserver_longrunning_requests", self.watches.load(Ordering::Relaxed)),
        ] {
            let _ = writeln!(out, "# TYPE {name} gauge\n{name} {v}");
        }
        let _ = writeln!(
            out,
            "# TYPE apiserver_request_panics_total counter\napiserver_request_panics_total {}",
            self.panics.load(Ordering::Relaxed)
        );
        out
    }
}
