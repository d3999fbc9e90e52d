//! Which flow schema and priority level a request belongs to, told in its answer's headers. Upstream: apiserver/pkg/util/flowcontrol
//! (rule.go) and server/filters/priority-and-fairness.go. Requests are limited in number as a whole, not by level.

use crate::http::RequestInfo;
use arc_swap::ArcSwap;
use auth::UserInfo;
use http::{HeaderMap, HeaderName, HeaderValue};
use machinery::{Value, meta};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

const SCHEMA_UID: HeaderName = HeaderName::from_static("x-kubernetes-pf-flowschema-uid");
const LEVEL_UID: HeaderName = HeaderName::from_static("x-kubernetes-pf-prioritylevel-uid");

/// The flow schemas of the cluster in the order they are tried.
#[derive(Default)]
pub struct FlowControl {
    objects: Mutex<Objects>,
    schemas: ArcSwap<Vec<Schema>>,
    /// Something changed: the schemas' conditions may have to.
    pub changed: tokio::sync::Notify,
}

#[derive(Default)]
struct Objects {
    schemas: BTreeMap<String, Value>,
    levels: BTreeMap<String, Level>,
}

struct Level {
    uid: String,
    /// Its part of all requests, in relation to the parts of others.
    shares: i64,
}

struct Schema {
    uid: HeaderValue,
    level: HeaderValue,
    rules: Vec<Value>,
}

impl FlowControl {
    pub const RESOURCES: [&'static str; 2] = ["flowschemas", "prioritylevelconfigurations"];

    /// Takes in an object of one of [`Self::RESOURCES`]; `None`: it is gone.
    pub fn apply(&self, resource: &str, name: &str, obj: Option<&Value>) {
        let mut all = self.objects.lock();
        match (resource, obj) {
            ("flowschemas", Some(o)) => drop(all.schemas.insert(name.to_owned(), o.clone())),
            ("flowschemas", None) => drop(all.schemas.remove(name)),
            (_, Some(o)) => drop(all.levels.insert(name.to_owned(), Level::of(o))),
            (_, None) => drop(all.levels.remove(name)),
        }
        let mut order: Vec<(&String, &Value)> = all.schemas.iter().collect();
        order.sort_by_key(|(name, s)| (meta::i64_at(s, &["spec", "matchingPrecedence"]), *name));
        let schemas = order.into_iter().filter_map(|(_, s)| {
            let level = all.levels.get(meta::str_at(s, &["spec", "priorityLevelConfiguration", "name"]))?;
            Some(Schema {
                uid: HeaderValue::from_str(meta::uid(s)).ok()?,
                level: HeaderValue::from_str(&level.uid).ok()?,
                rules: meta::list_at(s, &["spec", "rules"]).to_vec(),
            })
        });
        self.schemas.store(Arc::new(schemas.collect()));
        drop(all);
        self.changed.notify_one();
    }

    /// How many requests each level is given of `limit`, as metrics. Upstream: apiserver/pkg/util/flowcontrol/metrics.
    pub fn render(&self, limit: usize) -> String {
        const NAME: &str = "apiserver_flowcontrol_nominal_limit_seats";
        let mut out =
            format!("# HELP {NAME} Nominal number of execution seats configured for each priority level\n# TYPE {NAME} gauge\n");
        let all = self.objects.lock();
        let sum = all.levels.values().map(|l| l.shares).sum::<i64>().max(1);
        for (name, level) in &all.levels {
            let limit = i64::try_from(limit).unwrap_or(i64::MAX);
            let seats = limit.saturating_mul(level.shares).saturating_add(sum - 1) / sum;
            let _ = writeln!(out, "{NAME}{{priority_level=\"{name}\"}} {seats}");
        }
        out
    }

    /// Tells in the headers of an answer where its request belongs.
    pub fn tell(&self, user: &UserInfo, info: &RequestInfo, headers: &mut HeaderMap) {
        let schemas = self.schemas.load();
        if let Some(s) = schemas.iter().find(|s| s.rules.iter().any(|r| matches(r, user, info))) {
            headers.insert(SCHEMA_UID, s.uid.clone());
            headers.insert(LEVEL_UID, s.level.clone());
        }
    }
}

impl Level {
    fn of(level: &Value) -> Self {
        let kind = meta::str_at(level, &["spec", "type"]).to_ascii_lowercase();
        let shares = meta::i64_at(level, &["spec", &kind, "nominalConcurrencyShares"]);
        Self { uid: meta::uid(level).to_owned(), shares: shares.unwrap_or(0).max(0) }
    }
}

fn lists(rule: &Value, field: &str, value: &str) -> bool {
    meta::list_at(rule, &[field]).iter().any(|v| v == "*" || v == value)
}

fn matches(rule: &Value, user: &UserInfo, info: &RequestInfo) -> bool {
    if !meta::list_at(rule, &["subjects"]).iter().any(|s| is_subject(s, user)) {
        return false;
    }
    if info.is_resource {
        let resource = match info.subresource.as_str() {
            "" => info.resource.clone(),
            sub => format!("{}/{sub}", info.resource),
        };
        return meta::list_at(rule, &["resourceRules"]).iter().any(|r| {
            let place = match info.namespace.as_str() {
                "" => meta::bool_at(r, &["clusterScope"]),
                ns => lists(r, "namespaces", ns),
            };
            place && lists(r, "verbs", &info.verb) && lists(r, "apiGroups", &info.group) && lists(r, "resources", &resource)
        });
    }
    meta::list_at(rule, &["nonResourceRules"]).iter().any(|r| {
        lists(r, "verbs", &info.verb)
            && meta::list_at(r, &["nonResourceURLs"]).iter().filter_map(Value::as_str).any(|url| {
                url == "*"
                    || url == info.path
                    || url.strip_suffix("/*").is_some_and(|p| info.path.strip_prefix(p).is_some_and(|r| r.starts_with('/')))
            })
    })
}

fn is_subject(subject: &Value, user: &UserInfo) -> bool {
    let is = |name: &str, value: &str| name == "*" || name == value;
    match meta::str_at(subject, &["kind"]) {
        "User" => is(meta::str_at(subject, &["user", "name"]), &user.name),
        "Group" => {
            let name = meta::str_at(subject, &["group", "name"]);
            name == "*" || user.groups.iter().any(|g| g == name)
        }
        "ServiceAccount" => {
            let account = user.name.strip_prefix("system:serviceaccount:").and_then(|a| a.split_once(':'));
            let of = |f: &str| meta::str_at(subject, &["serviceAccount", f]);
            account.is_some_and(|(namespace, name)| namespace == of("namespace") && is(of("name"), name))
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::Query;
    use machinery::json;

    #[test]
    fn the_first_schema_that_matches_is_told() {
        let fc = FlowControl::default();
        for (name, precedence, rule) in [
            (
                "leases",
                1,
                json!({"subjects": [{"kind": "ServiceAccount", "serviceAccount": {"namespace": "kube-system", "name": "*"}}],
                    "resourceRules": [{"verbs": ["get"], "apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "namespaces": ["*"]}]}),
            ),
            (
                "probes",
                2,
                json!({"subjects": [{"kind": "Group", "group": {"name": "*"}}],
                    "nonResourceRules": [{"verbs": ["get"], "nonResourceURLs": ["/healthz", "/livez/*"]}]}),
            ),
            (
                "rest",
                9,
                json!({"subjects": [{"kind": "User", "user": {"name": "*"}}], "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}],
                    "resourceRules": [{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "namespaces": ["*"], "clusterScope": true}]}),
            ),
        ] {
            let schema = json!({"metadata": {"name": name, "uid": name},
                "spec": {"matchingPrecedence": precedence, "priorityLevelConfiguration": {"name": "l"}, "rules": [rule]}});
            fc.apply("flowschemas", name, Some(&schema));
        }
        let told = |user: &str, path: &str| {
            let info = RequestInfo::parse(&http::Method::GET, path, &Query::parse("")).unwrap();
            let mut headers = HeaderMap::new();
            fc.tell(&UserInfo::new(user, &["g"]), &info, &mut headers);
            headers.get(SCHEMA_UID).map(|v| v.to_str().unwrap().to_owned())
        };
        assert_eq!(told("x", "/healthz"), None, "no schema counts whose level is missing");
        for (name, shares) in [("l", 2), ("m", 1)] {
            let level = json!({"metadata": {"name": name, "uid": "u"},
                "spec": {"type": "Limited", "limited": {"nominalConcurrencyShares": shares}}});
            fc.apply("prioritylevelconfigurations", name, Some(&level));
        }
        assert!(
            fc.render(100)
                .ends_with("{priority_level=\"l\"} 67\napiserver_flowcontrol_nominal_limit_seats{priority_level=\"m\"} 34\n")
        );
        let lease = "/apis/coordination.k8s.io/v1/namespaces/a/leases/b";
        for (name, user, path, want) in [
            ("account of the namespace", "system:serviceaccount:kube-system:x", lease, "leases"),
            ("account of another", "system:serviceaccount:other:x", lease, "rest"),
            ("a path", "x", "/healthz", "probes"),
            ("below a path", "x", "/livez/etcd", "probes"),
            ("beside it", "x", "/livezz", "rest"),
            ("of the cluster", "x", "/api/v1/nodes", "rest"),
        ] {
            assert_eq!(told(user, path).as_deref(), Some(want), "{name}");
        }
    }
}
