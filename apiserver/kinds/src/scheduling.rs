//! scheduling.k8s.io: PriorityClass. coordination.k8s.io: Lease. node.k8s.io: RuntimeClass. policy: PodDisruptionBudget.

use crate::at::{At, same_at, set_default, value_at};
use crate::names::NameRule;
use crate::print::{self, AGE, NAME, cells, col, int};
use crate::rules::Rules;
use crate::strategy::Column;
use crate::workload::{at_most_100_percent, int_or_percent};
use crate::{check, resources, selectors};
use machinery::field::{Error, ErrorList, Path};
use machinery::{Value, meta};

const HIGHEST_USER_PRIORITY: i64 = 1_000_000_000;

static PRIORITY_COLUMNS: [Column; 5] = [
    NAME,
    int("Value", ""),
    Column { name: "Global-Default", kind: "boolean", format: "", description: "", priority: 0 },
    AGE,
    col("PreemptionPolicy", ""),
];

pub static PRIORITY_CLASS: Rules = Rules {
    default: |obj| set_default(obj, &["preemptionPolicy"], "PreemptLowerPriority"),
    generation: true,
    validate: |root, old, e| match old {
        None => priority_class(root, e),
        Some(old) => {
            if root.get("value").int() != meta::i64_at(old, &["value"]).unwrap_or(0) {
                root.get("value").forbidden(e, "may not be changed in an update.");
            }
            root.get("preemptionPolicy").immutable(e, value_at(old, &["preemptionPolicy"]));
        }
    },
    columns: &PRIORITY_COLUMNS,
    cells: |obj, now| {
        let global = meta::bool_at(obj, &["globalDefault"]);
        cells([
            print::name(obj),
            print::number(obj, &["value"]),
            global.into(),
            print::age(obj, now),
            print::text(obj, &["preemptionPolicy"]),
        ])
    },
    ..Rules::BASE
};

fn priority_class(root: At, e: &mut ErrorList) {
    let (name, value) = (meta::name(root.v), root.get("value").int());
    if name.starts_with("system-") {
        let known = match name {
            "system-node-critical" => Some(2_000_001_000),
            "system-cluster-critical" => Some(2_000_000_000),
            _ => None,
        };
        let why = match known {
            None => Some(format!("{name} is not a known system priority class")),
            Some(want) if want != value => Some(format!("value of {name} PriorityClass must be {want}")),
            Some(_) if root.get("globalDefault").bool() => Some(format!("globalDefault of {name} PriorityClass must be false")),
            Some(_) => None,
        };
        if let Some(why) = why {
            let text = format!("priority class names with 'system-' prefix are reserved for system use only. error: {why}");
            root.at(&["metadata", "name"]).forbidden(e, text);
        }
    } else if value > HIGHEST_USER_PRIORITY {
        root.get("value").forbidden(e, format!("maximum allowed value of a user defined priority is {HIGHEST_USER_PRIORITY}"));
    }
    if root.has("preemptionPolicy") {
        root.get("preemptionPolicy").need_one_of_in_order(e, &["PreemptLowerPriority", "Never"]);
    }
}

static LEASE_COLUMNS: [Column; 3] = [NAME, col("Holder", ""), AGE];

pub static LEASE: Rules = Rules {
    create_on_update: true,
    unconditional_update: false,
    validate: |root, _, e| {
        let s = root.get("spec");
        let duration = s.get("leaseDurationSeconds");
        if duration.opt_int().is_some_and(|n| n <= 0) {
            duration.invalid(e, "must be greater than 0");
        }
        s.get("leaseTransitions").non_negative(e);
        let strategy = s.get("strategy");
        if strategy.present() && strategy.str() != "OldestEmulationVersion" {
            e.extend(machinery::validation::fully_qualified_name(&strategy.path(), strategy.str()));
        }
        if !s.get("preferredHolder").is_empty() && strategy.is_empty() {
            s.get("preferredHolder").forbidden(e, "may only be specified if `strategy` is defined");
        }
    },
    columns: &LEASE_COLUMNS,
    cells: |obj, now| cells([print::name(obj), print::text(obj, &["spec", "holderIdentity"]), print::age(obj, now)]),
    ..Rules::BASE
};

static RUNTIME_CLASS_COLUMNS: [Column; 3] = [NAME, col("Handler", ""), AGE];

pub static RUNTIME_CLASS: Rules = Rules {
    default: |obj| {
        if let Some(fixed) = obj.get_mut("overhead").and_then(|o| o.get_mut("podFixed")) {
            crate::core::pod::defaults::resource_list(fixed);
        }
    },
    validate: |root, old, e| {
        let handler = root.get("handler");
        if let Some(old) = old {
            return handler.immutable(e, value_at(old, &["handler"]));
        }
        handler.need_check(e, check::dns1123_label);
        for (name, q) in root.at(&["overhead", "podFixed"]).entries() {
            let at = root.at(&["overhead", "limits"]).key(name).with(q.v);
            resources::container_resource_name(at, e, name);
            resources::quantity_value(at, e, name);
        }
        let s = root.get("scheduling");
        selectors::labels(s.get("nodeSelector"), e);
        crate::core::pod::tolerations(s.get("tolerations"), e);
        let mut seen: Vec<Value> = Vec::new();
        for t in s.get("tolerations").items() {
            let mut key = t.v.clone();
            meta::remove(&mut key, &["tolerationSeconds"]);
            if seen.contains(&key) {
                t.duplicate(e);
            }
            seen.push(key);
        }
    },
    columns: &RUNTIME_CLASS_COLUMNS,
    cells: |obj, now| cells([print::name(obj), print::text(obj, &["handler"]), print::age(obj, now)]),
    ..Rules::BASE
};

static BUDGET_COLUMNS: [Column; 5] = [
    NAME,
    col("Min Available", "The minimum number of pods that must be available."),
    col("Max Unavailable", "The maximum number of pods that may be unavailable."),
    int("Allowed Disruptions", "Calculated number of pods that may be disrupted at this time."),
    AGE,
];

pub static POD_DISRUPTION_BUDGET: Rules = Rules {
    name: NameRule::PathSegment,
    unconditional_update: false,
    validate: |root, old, e| {
        let s = root.get("spec");
        let (min, max) = (s.get("minAvailable"), s.get("maxUnavailable"));
        if min.present() && max.present() {
            s.invalid(e, "minAvailable and maxUnavailable cannot be both set");
        }
        for f in [min, max] {
            if f.present() {
                int_or_percent(f, e);
                at_most_100_percent(f, e);
            }
        }
        if old.is_none_or(|o| !same_at(root.v, o, &["spec", "selector"])) {
            selectors::label_selector(s.get("selector"), e);
        }
        if s.has("unhealthyPodEvictionPolicy") {
            s.get("unhealthyPodEvictionPolicy").one_of(e, &["IfHealthyBudget", "AlwaysAllow"]);
        }
    },
    validate_status: |root, _, e| {
        conditions(root.at(&["status", "conditions"]), e);
        for f in ["disruptionsAllowed", "currentHealthy", "desiredHealthy", "expectedPods"] {
            root.get("status").get(f).non_negative(e);
        }
    },
    columns: &BUDGET_COLUMNS,
    cells: |obj, now| {
        let or_na = |f: &str| meta::at(obj, &["spec", f]).map_or_else(|| "N/A".into(), print::int_or_string);
        let (min, max) = (or_na("minAvailable"), or_na("maxUnavailable"));
        cells([
            print::name(obj),
            min.into(),
            max.into(),
            print::number(obj, &["status", "disruptionsAllowed"]),
            print::age(obj, now),
        ])
    },
    ..Rules::WITH_STATUS
};

/// `metav1.Condition`s: one per type, each complete.
pub fn conditions(at: At, e: &mut ErrorList) {
    let mut seen = Vec::new();
    for c in at.items() {
        let kind = c.get("type");
        if kind.need(e, "") {
            kind.check(e, check::qualified_name);
            if seen.contains(&kind.str()) {
                kind.duplicate(e);
            }
            seen.push(kind.str());
        }
        c.get("status").need_one_of(e, &["True", "False", "Unknown"]);
        c.get("observedGeneration").non_negative(e);
        c.get("lastTransitionTime").need(e, "");
        let reason = c.get("reason");
        if reason.need(e, "") {
            let b = reason.str().as_bytes();
            let word = |c: &u8| c.is_ascii_alphanumeric() || *c == b'_';
            let ok = b.first().is_some_and(u8::is_ascii_alphabetic)
                && b.last().is_some_and(word)
                && b.iter().all(|c| word(c) || b",:".contains(c));
            if !ok {
                reason.invalid(e, machinery::validation::regex_error("a condition reason must start with alphabetic character, optionally followed by a string of alphanumeric characters or '_,:', and must end with an alphanumeric character or '_'", "[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?", &["my_name", "MY_NAME", "MyName", "ReasonA,ReasonB", "ReasonA:ReasonB"]));
            }
        }
        if c.get("message").len() > 32 * 1024 {
            e.push(Error::too_long(&Path::new(c.get("message").path().as_str()), 32 * 1024));
        }
    }
}
