//! flowcontrol.apiserver.k8s.io: FlowSchema and PriorityLevelConfiguration.

use crate::at::{At, set_default, value_at};
use crate::print::{self, AGE, NAME, cells, col};
use crate::rules::Rules;
use crate::strategy::Column;
use crate::{check, names};
use machinery::field::ErrorList;
use machinery::{Value, meta};

static SCHEMA_COLUMNS: [Column; 6] = [
    NAME,
    col("PriorityLevel", ""),
    col("MatchingPrecedence", ""),
    col("DistinguisherMethod", ""),
    AGE,
    col("MissingPL", "references a broken or non-existent PriorityLevelConfiguration"),
];

/// A number that is no pointer: zero is absent.
fn default_number(obj: &mut Value, path: &[&str], n: i64) {
    if meta::i64_at(obj, path).unwrap_or(0) == 0 {
        meta::set(obj, path, n.into());
    }
}

pub static FLOW_SCHEMA: Rules = Rules {
    default: |obj| default_number(obj, &["spec", "matchingPrecedence"], 1000),
    validate: |root, _, e| {
        let s = root.get("spec");
        let precedence = s.get("matchingPrecedence");
        if precedence.int() <= 0 {
            precedence.invalid_value(e, precedence.int(), "must be a positive value");
        }
        if precedence.int() > 10_000 {
            precedence.invalid(e, "must not be greater than 10000");
        }
        if precedence.int() == 1 && meta::name(root.v) != "exempt" {
            precedence.invalid(e, "only the schema named 'exempt' may have matchingPrecedence 1");
        }
        let method = s.at(&["distinguisherMethod", "type"]);
        if s.has("distinguisherMethod") {
            method.one_of(e, &["ByUser", "ByNamespace"]);
        }
        let level = s.at(&["priorityLevelConfiguration", "name"]);
        if level.need(e, "must reference a priority level") {
            level.check(e, names::subdomain);
        }
        s.get("rules").items().for_each(|r| rule(r, e));
    },
    columns: &SCHEMA_COLUMNS,
    cells: |obj, now| {
        let dangling = meta::list_at(obj, &["status", "conditions"]).iter().find(|c| meta::str_at(c, &["type"]) == "Dangling");
        cells([
            print::name(obj),
            print::text(obj, &["spec", "priorityLevelConfiguration", "name"]),
            print::number(obj, &["spec", "matchingPrecedence"]),
            print::text_or_none(obj, &["spec", "distinguisherMethod", "type"]),
            print::age(obj, now),
            dangling.map_or("?", |c| meta::str_at(c, &["status"])).into(),
        ])
    },
    ..Rules::WITH_STATUS
};

fn rule(r: At, e: &mut ErrorList) {
    r.get("subjects").need(e, "subjects must contain at least one value");
    for s in r.get("subjects").items() {
        subject(s, e);
    }
    if r.get("resourceRules").is_empty() && r.get("nonResourceRules").is_empty() {
        r.required(e, "at least one of resourceRules and nonResourceRules has to be non-empty");
    }
    for x in r.get("resourceRules").items() {
        verbs(x.get("verbs"), e);
        for (f, one, others) in [("apiGroups", "api group", "api groups"), ("resources", "resource", "resources")] {
            if x.get(f).need(e, &format!("resource rules must supply at least one {one}")) {
                alone(x.get(f), e, others);
            }
        }
        let namespaces = x.get("namespaces");
        if namespaces.is_empty() && !x.get("clusterScope").bool() {
            namespaces.required(e, "resource rules that are not cluster scoped must supply at least one namespace");
        } else if namespaces.items().any(|n| n.str() == "*") {
            alone(namespaces, e, "namespaces");
        } else {
            for n in namespaces.items() {
                let reasons = check::dns1123_label(n.str());
                n.messages(
                    e,
                    reasons.iter().map(|m| format!("each member of this list must be '*' or a DNS-1123 label; {m}")).collect(),
                );
            }
        }
    }
    for x in r.get("nonResourceRules").items() {
        verbs(x.get("verbs"), e);
        if x.get("nonResourceURLs").need(e, "nonResourceURLs must contain at least one value") {
            alone(x.get("nonResourceURLs"), e, "non-resource URLs");
        }
    }
}

/// A wildcard stands alone.
fn alone(at: At, e: &mut ErrorList, others: &str) {
    if at.len() > 1 && at.items().any(|v| v.str() == "*") {
        at.invalid(e, format!("if '*' is present, must not specify other {others}"));
    }
}

fn verbs(at: At, e: &mut ErrorList) {
    const VERBS: [&str; 10] =
        ["get", "list", "create", "update", "delete", "deletecollection", "patch", "watch", "proxy", "head"];
    if !at.need(e, "verbs must contain at least one value") {
        return;
    }
    if at.items().any(|v| v.str() == "*") {
        alone(at, e, "verbs");
    } else if at.items().any(|v| !VERBS.contains(&v.str())) {
        e.push(machinery::field::Error::not_supported(&at.path(), at.v.clone(), &VERBS));
    }
}

fn subject(s: At, e: &mut ErrorList) {
    const KINDS: [(&str, &str); 3] = [("ServiceAccount", "serviceAccount"), ("User", "user"), ("Group", "group")];
    let kind = s.get("kind").str();
    let Some((_, own)) = KINDS.iter().find(|(k, _)| *k == kind) else {
        return s.get("kind").not_supported(e, &["Group", "ServiceAccount", "User"]);
    };
    let at = s.get(own);
    if !at.present() {
        at.required(e, format!("{own} is required when subject kind is '{kind}'"));
    } else {
        at.get("name").need(e, "");
        if kind == "ServiceAccount" {
            if !["", "*"].contains(&at.get("name").str()) {
                at.get("name").check(e, names::subdomain);
            }
            if at.get("namespace").need(e, "must specify namespace for service account") {
                at.get("namespace").check(e, check::dns1123_label);
            }
        }
    }
    for (k, f) in KINDS.iter().filter(|(k, _)| *k != kind) {
        if s.has(f) {
            s.get(f).forbidden(e, format!("{f} is forbidden when subject kind is not '{k}'"));
        }
    }
}

static LEVEL_COLUMNS: [Column; 7] = [
    NAME,
    col("Type", ""),
    col("NominalConcurrencyShares", ""),
    col("Queues", ""),
    col("HandSize", ""),
    col("QueueLengthLimit", ""),
    AGE,
];

pub static PRIORITY_LEVEL: Rules = Rules {
    default: |obj| {
        for (f, shares) in [("limited", 30), ("exempt", 0)] {
            if meta::at(obj, &["spec", f]).is_some_and(Value::is_object) {
                set_default(obj, &["spec", f, "nominalConcurrencyShares"], shares);
                set_default(obj, &["spec", f, "lendablePercent"], 0);
            }
        }
        if meta::at(obj, &["spec", "limited", "limitResponse", "queuing"]).is_some_and(Value::is_object) {
            for (f, n) in [("handSize", 8), ("queues", 64), ("queueLengthLimit", 50)] {
                default_number(obj, &["spec", "limited", "limitResponse", "queuing", f], n);
            }
        }
    },
    validate: |root, _, e| {
        let s = root.get("spec");
        let (kind, limited, exempt) = (s.get("type"), s.get("limited"), s.get("exempt"));
        if (meta::name(root.v) == "exempt") != (kind.str() == "Exempt") {
            kind.invalid_str(e, "must be 'Exempt' if and only if `name` is 'exempt'");
        }
        match kind.str() {
            "Exempt" => {
                if limited.present() {
                    limited.forbidden(e, "must be nil if the type is not Limited");
                }
                exempt.get("nominalConcurrencyShares").non_negative(e);
                percent(exempt.get("lendablePercent"), e);
            }
            "Limited" => {
                if exempt.present() {
                    exempt.forbidden(e, "must be nil if the type is Limited");
                }
                if limited.present() { limits(limited, e) } else { limited.required(e, "must not be empty when type is Limited") }
            }
            _ => kind.not_supported(e, &["Exempt", "Limited"]),
        }
    },
    columns: &LEVEL_COLUMNS,
    cells: |obj, now| {
        let or_none = |path: &[&str]| match value_at(obj, path) {
            Value::Null => print::NONE.into(),
            v => v.clone(),
        };
        let queuing = |f| or_none(&["spec", "limited", "limitResponse", "queuing", f]);
        cells([
            print::name(obj),
            print::text(obj, &["spec", "type"]),
            or_none(&["spec", "limited", "nominalConcurrencyShares"]),
            queuing("queues"),
            queuing("handSize"),
            queuing("queueLengthLimit"),
            print::age(obj, now),
        ])
    },
    ..Rules::WITH_STATUS
};

fn percent(at: At, e: &mut ErrorList) {
    if at.present() {
        at.in_range(e, 0, 100);
    }
}

fn limits(l: At, e: &mut ErrorList) {
    l.get("nominalConcurrencyShares").non_negative(e);
    percent(l.get("lendablePercent"), e);
    let (response, queuing) = (l.get("limitResponse"), l.at(&["limitResponse", "queuing"]));
    match response.get("type").str() {
        "Reject" => {
            if queuing.present() {
                queuing.forbidden(e, "must be nil if limited.limitResponse.type is not Limited");
            }
        }
        "Queue" if !queuing.present() => queuing.required(e, "must not be empty if limited.limitResponse.type is Limited"),
        "Queue" => {
            let (queues, hand, length) = (queuing.get("queues"), queuing.get("handSize"), queuing.get("queueLengthLimit"));
            for at in [queues, hand, length] {
                if at.int() <= 0 {
                    at.invalid_value(e, at.int(), "must be positive");
                }
            }
            if queues.int() > 10_000_000 {
                queues.invalid(e, "must not be greater than 10000000");
            }
            if hand.int() > queues.int() {
                hand.invalid(e, format!("should not be greater than queues ({})", queues.int()));
            }
        }
        _ => response.get("type").not_supported(e, &["Queue", "Reject"]),
    }
}
