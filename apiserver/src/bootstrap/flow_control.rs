//! Priority levels and flow schemas of every cluster, and the condition that tells whether a schema's level exists. Upstream:
//! apiserver/pkg/apis/flowcontrol/bootstrap and util/flowcontrol.

use crate::registry::store_new;
use crate::server::Inner;
use machinery::{Status, Value, json, meta};
use std::sync::Arc;

const GROUP: &str = "flowcontrol.apiserver.k8s.io";
const AUTO_UPDATE: &str = "apf.kubernetes.io/autoupdate-spec";

/// Queues, hand size and length limit.
type Queuing = Option<(u32, u32, u32)>;

/// Name, shares, lendable percent; without queues a level rejects. `exempt` is apart.
const LEVELS: [(&str, u32, u32, Queuing); 7] = [
    ("catch-all", 5, 0, None),
    ("system", 30, 33, Some((64, 6, 50))),
    ("node-high", 40, 25, Some((64, 6, 50))),
    ("leader-election", 10, 0, Some((16, 4, 50))),
    ("workload-high", 40, 50, Some((128, 6, 50))),
    ("workload-low", 100, 90, Some((128, 6, 50))),
    ("global-default", 20, 50, Some((128, 6, 50))),
];

enum Who {
    Groups(&'static [&'static str]),
    Users(&'static [&'static str]),
    /// Service accounts of kube-system.
    System,
    /// The users and the service accounts of kube-system.
    UsersAndSystem(&'static [&'static str]),
}

enum What {
    All,
    Probes,
    LeaderElection,
    Nodes,
}

/// Name, level, precedence, what tells flows apart, whose requests, which requests.
const SCHEMAS: [(&str, &str, u32, &str, Who, What); 11] = [
    ("exempt", "exempt", 1, "", Who::Groups(&["system:masters"]), What::All),
    ("probes", "exempt", 2, "", Who::Groups(EVERYBODY), What::Probes),
    (
        "system-leader-election",
        "leader-election",
        100,
        "ByUser",
        Who::UsersAndSystem(&["system:kube-controller-manager", "system:kube-scheduler"]),
        What::LeaderElection,
    ),
    ("system-node-high", "node-high", 400, "ByUser", Who::Groups(&["system:nodes"]), What::Nodes),
    ("system-nodes", "system", 500, "ByUser", Who::Groups(&["system:nodes"]), What::All),
    ("kube-controller-manager", "workload-high", 800, "ByNamespace", Who::Users(&["system:kube-controller-manager"]), What::All),
    ("kube-scheduler", "workload-high", 800, "ByNamespace", Who::Users(&["system:kube-scheduler"]), What::All),
    ("kube-system-service-accounts", "workload-high", 900, "ByNamespace", Who::System, What::All),
    ("service-accounts", "workload-low", 9000, "ByUser", Who::Groups(&["system:serviceaccounts"]), What::All),
    ("global-default", "global-default", 9900, "ByUser", Who::Groups(EVERYBODY), What::All),
    ("catch-all", "catch-all", 10_000, "ByUser", Who::Groups(EVERYBODY), What::All),
];

const EVERYBODY: &[&str] = &["system:unauthenticated", "system:authenticated"];

impl Who {
    fn subjects(&self) -> Vec<Value> {
        let users = |names: &[&str]| names.iter().map(|n| json!({"kind": "User", "user": {"name": n}})).collect::<Vec<_>>();
        let system = json!({"kind": "ServiceAccount", "serviceAccount": {"namespace": "kube-system", "name": "*"}});
        match self {
            Self::Groups(names) => names.iter().map(|n| json!({"kind": "Group", "group": {"name": n}})).collect(),
            Self::Users(names) => users(names),
            Self::System => vec![system],
            Self::UsersAndSystem(names) => users(names).into_iter().chain([system]).collect(),
        }
    }
}

impl What {
    fn rule(&self, subjects: Vec<Value>) -> Value {
        let resources = |verbs: &[&str], group: &str, resources: &[&str], cluster: bool| {
            let mut r = json!({"verbs": verbs, "apiGroups": [group], "resources": resources, "namespaces": ["*"]});
            if cluster {
                r["clusterScope"] = true.into();
            }
            r
        };
        let leases = "coordination.k8s.io";
        match self {
            Self::All => json!({"subjects": subjects, "resourceRules": [resources(&["*"], "*", &["*"], true)],
                "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}]}),
            Self::Probes => json!({"subjects": subjects,
                "nonResourceRules": [{"verbs": ["get"], "nonResourceURLs": ["/healthz", "/readyz", "/livez"]}]}),
            Self::LeaderElection => json!({"subjects": subjects,
                "resourceRules": [resources(&["get", "create", "update"], leases, &["leases"], false)]}),
            Self::Nodes => json!({"subjects": subjects, "resourceRules": [
                resources(&["*"], "", &["nodes", "nodes/status"], true), resources(&["*"], leases, &["leases"], false)]}),
        }
    }
}

fn object(kind: &str, name: &str, spec: Value) -> Value {
    json!({"apiVersion": format!("{GROUP}/v1"), "kind": kind,
        "metadata": {"name": name, "annotations": {AUTO_UPDATE: "true"}}, "spec": spec})
}

fn levels() -> Vec<Value> {
    let exempt = json!({"type": "Exempt", "exempt": {"nominalConcurrencyShares": 0, "lendablePercent": 0}});
    let mut out = vec![object("PriorityLevelConfiguration", "exempt", exempt)];
    for (name, shares, lendable, queuing) in LEVELS {
        let response = match queuing {
            None => json!({"type": "Reject"}),
            Some((queues, hand, length)) => json!({"type": "Queue",
                "queuing": {"queues": queues, "handSize": hand, "queueLengthLimit": length}}),
        };
        let limited = json!({"nominalConcurrencyShares": shares, "lendablePercent": lendable, "limitResponse": response});
        out.push(object("PriorityLevelConfiguration", name, json!({"type": "Limited", "limited": limited})));
    }
    out
}

fn schemas() -> Vec<Value> {
    let all = SCHEMAS.iter().map(|(name, level, precedence, distinguisher, who, what)| {
        let mut spec = json!({"priorityLevelConfiguration": {"name": level}, "matchingPrecedence": precedence,
            "rules": [what.rule(who.subjects())]});
        if !distinguisher.is_empty() {
            spec["distinguisherMethod"] = json!({"type": distinguisher});
        }
        let mut schema = object("FlowSchema", name, spec);
        schema["status"] = json!({"conditions": [dangling(level, true)]});
        schema
    });
    all.collect()
}

/// Makes what is missing and brings the rest up to date, as far as each object's annotation allows.
pub async fn reconcile(server: &Arc<Inner>) -> Result<(), Status> {
    let levels = levels().into_iter().map(|o| ("prioritylevelconfigurations", o));
    let all = levels.chain(schemas().into_iter().map(|o| ("flowschemas", o)));
    // Together, so that a first start waits for the disk once.
    futures::future::try_join_all(all.map(|(resource, object)| ensure(server, resource, object))).await.map(drop)
}

async fn ensure(server: &Arc<Inner>, resource: &str, mut object: Value) -> Result<(), Status> {
    let name = meta::name(&object).to_owned();
    let mandatory = matches!(name.as_str(), "exempt" | "catch-all");
    let entry = server.entry(GROUP, resource)?;
    let storage = entry.storage.as_ref().ok_or_else(|| Status::internal("nothing is kept of this resource"))?;
    crate::registry::codec::default(&entry, &mut object);
    if storage.peek("", &name).is_none() && store_new(server, GROUP, resource, object.clone()).await? {
        return Ok(());
    }
    let spec = object["spec"].take();
    let done = storage
        .guaranteed_update("", &name, &storage::Preconditions::default(), false, |old| {
            let mut new = old.unwrap_or(Value::Null);
            let follows = meta::str_at(&new, &["metadata", "annotations", AUTO_UPDATE]) == "true";
            if (mandatory || follows) && new["spec"] != spec {
                new["spec"] = spec.clone();
                let generation = meta::i64_at(&new, &["metadata", "generation"]).unwrap_or(0) + 1;
                meta::set(&mut new, &["metadata", "generation"], generation.into());
            }
            async move { Ok(storage::Update::from(new)) }
        })
        .await;
    match done {
        Err(s) if !s.is_not_found() => Err(s),
        _ => Ok(()),
    }
}

/// The condition of a schema, by whether its level is there.
fn dangling(level: &str, found: bool) -> Value {
    let (status, reason, what) =
        if found { ("False", "Found", "and it exists") } else { ("True", "NotFound", "but there is no such object") };
    json!({"type": "Dangling", "status": status, "lastTransitionTime": crate::registry::metadata::now(), "reason": reason,
        "message": format!("This FlowSchema references the PriorityLevelConfiguration object named {level:?} {what}")})
}

/// Writes the condition `Dangling` of every flow schema that does not say the truth.
pub async fn conditions(server: &Arc<Inner>) -> Result<(), Status> {
    let storage_of = |resource| {
        let entry = server.entry(GROUP, resource)?;
        entry.storage.clone().ok_or_else(|| Status::internal("nothing is kept of this resource"))
    };
    let (schemas, levels) = (storage_of("flowschemas")?, storage_of("prioritylevelconfigurations")?);
    for schema in schemas.peek_all("") {
        let schema = schema.value();
        let level = meta::str_at(&schema, &["spec", "priorityLevelConfiguration", "name"]);
        let condition = dangling(level, levels.peek("", level).is_some());
        let is_dangling = |c: &&Value| meta::str_at(c, &["type"]) == "Dangling";
        let told = |c: &Value| c["status"] == condition["status"] && c["message"] == condition["message"];
        if meta::list_at(&schema, &["status", "conditions"]).iter().find(is_dangling).is_some_and(told) {
            continue;
        }
        let done = schemas
            .guaranteed_update("", meta::name(&schema), &storage::Preconditions::default(), false, |old| {
                let mut new = old.unwrap_or(Value::Null);
                let mut all = meta::list_at(&new, &["status", "conditions"]).to_vec();
                all.retain(|c| !is_dangling(&c));
                all.push(condition.clone());
                meta::set(&mut new, &["status", "conditions"], all.into());
                async move { Ok(storage::Update::from(new)) }
            })
            .await;
        match done {
            Err(s) if !s.is_not_found() => return Err(s),
            _ => {}
        }
    }
    Ok(())
}
