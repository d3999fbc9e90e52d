//! Node: taints, pod CIDRs, capacity, roles.

use super::pod::defaults::resource_list;
use super::pod::taint_effect;
use crate::at::{At, copy_from, same, same_at, value_at};
use crate::print::{self, AGE, NAME, cells, col, wide};
use crate::rules::Rules;
use crate::strategy::Column;
use crate::{check, resources};
use machinery::field::{Error, ErrorList};
use machinery::{Value, meta};

static COLUMNS: [Column; 10] = [
    NAME,
    col("Status", "The status of the node"),
    col("Roles", "The roles of the node"),
    AGE,
    col("Version", ""),
    wide("Internal-IP", ""),
    wide("External-IP", ""),
    wide("OS-Image", ""),
    wide("Kernel-Version", ""),
    wide("Container-Runtime", ""),
];

pub static NODE: Rules = Rules {
    default: |obj| {
        // One field in two versions of itself.
        let (one, all) = (
            meta::str_at(obj, &["spec", "podCIDR"]).to_owned(),
            print::strings(obj, &["spec", "podCIDRs"]).first().map(|s| (*s).to_owned()),
        );
        match all {
            Some(first) if one.is_empty() => meta::set(obj, &["spec", "podCIDR"], first.into()),
            None if !one.is_empty() => meta::set(obj, &["spec", "podCIDRs"], vec![one].into()),
            _ => {}
        }
        for list in ["capacity", "allocatable"] {
            if let Some(l) = obj.get_mut("status").and_then(|s| s.get_mut(list)) {
                resource_list(l);
            }
        }
        if meta::at(obj, &["status", "allocatable"]).is_none()
            && let Some(capacity) = meta::at(obj, &["status", "capacity"]).cloned()
        {
            meta::set(obj, &["status", "allocatable"], capacity);
        }
    },
    // The kubelet registers with a status; the main resource may not change it later.
    update: |obj, old| copy_from(obj, old, &["status"]),
    validate: |at, old, e| {
        cidrs(at, e);
        if let Some(old) = old {
            update(at, old, e);
        }
        common(at, e);
    },
    validate_status: |at, old, e| {
        update(at, old, e);
        common(at, e);
    },
    fields: &["spec.unschedulable"],
    columns: &COLUMNS,
    cells: |obj, now| {
        let info = |f: &str| meta::str_at(obj, &["status", "nodeInfo", f]);
        let or_unknown = |s: &str| if s.is_empty() { "<unknown>".to_owned() } else { s.to_owned() };
        let mut kernel = or_unknown(info("kernelVersion"));
        if !info("architecture").is_empty() {
            kernel = format!("{kernel} ({})", info("architecture"));
        }
        cells([
            print::name(obj),
            status(obj).into(),
            print::or_none(&roles(obj)).into(),
            print::age(obj, now),
            info("kubeletVersion").into(),
            address(obj, "InternalIP").into(),
            address(obj, "ExternalIP").into(),
            or_unknown(info("osImage")).into(),
            kernel.into(),
            or_unknown(info("containerRuntimeVersion")).into(),
        ])
    },
    ..Rules::BASE
};

fn common(root: At, e: &mut ErrorList) {
    for list in ["capacity", "allocatable"] {
        for (name, q) in root.at(&["status", list]).entries() {
            resources::quantity_value(root.at(&["status", list]).get(name).with(q.v), e, name);
        }
    }
    let taints = root.at(&["spec", "taints"]);
    let all: Vec<At> = taints.items().collect();
    let here = root.at(&["metadata", "taints"]);
    for (i, t) in all.iter().enumerate() {
        // Upstream reports taints below metadata.
        let at = here.nth(i).with(t.v);
        at.get("key").check(e, check::qualified_name);
        let reasons = check::label_value(t.get("value").str());
        if !reasons.is_empty() {
            at.get("value").invalid_str(e, reasons.join(";"));
        }
        if at.get("effect").need(e, "") {
            taint_effect(at.get("effect"), e);
        }
        let twin = |o: &At| o.get("key").str() == t.get("key").str() && o.get("effect").str() == t.get("effect").str();
        if all[..i].iter().any(twin) {
            let mut err = Error::duplicate(&at.path(), t.v.clone());
            err.detail = "taints must be unique by key and effect pair".into();
            e.push(err);
        }
    }
}

fn cidrs(root: At, e: &mut ErrorList) {
    let cidrs = root.at(&["spec", "podCIDRs"]);
    for c in cidrs.items() {
        c.legacy_cidr(e);
    }
    let v6 = cidrs.items().filter(|c| c.str().contains(':')).count();
    if cidrs.len() > 2 || (cidrs.len() == 2 && v6 != 1) {
        cidrs.invalid(e, "may specify no more than one CIDR for each IP family");
    }
}

fn update(root: At, old: &Value, e: &mut ErrorList) {
    let addresses: Vec<At> = root.at(&["status", "addresses"]).items().collect();
    for (i, a) in addresses.iter().enumerate() {
        if addresses[..i].iter().any(|b| same(a.v, b.v)) {
            a.duplicate(e);
        }
    }
    let spec = root.get("spec");
    if !meta::list_at(old, &["spec", "podCIDRs"]).is_empty() && !same_at(root.v, old, &["spec", "podCIDRs"]) {
        spec.get("podCIDRs").forbidden(e, "node updates may not change podCIDR except from \"\" to valid");
    }
    let provider = meta::str_at(old, &["spec", "providerID"]);
    if !provider.is_empty() && provider != spec.get("providerID").str() {
        spec.get("providerID").forbidden(e, "node updates may not change providerID except from \"\" to valid");
    }
    if !same(spec.get("externalID").v, value_at(old, &["spec", "externalID"])) {
        spec.get("externalID").forbidden(e, "may not be updated");
    }
}

fn status(obj: &Value) -> String {
    let ready = meta::list_at(obj, &["status", "conditions"]).iter().rfind(|c| meta::str_at(c, &["type"]) == "Ready");
    let text = match ready.map(|c| meta::str_at(c, &["status"])) {
        Some("True") => "Ready",
        Some(_) => "NotReady",
        None => "Unknown",
    };
    if meta::bool_at(obj, &["spec", "unschedulable"]) { format!("{text},SchedulingDisabled") } else { text.into() }
}

fn roles(obj: &Value) -> String {
    let mut out: Vec<&str> = meta::labels(obj)
        .iter()
        .filter_map(|(k, v)| match k.strip_prefix("node-role.kubernetes.io/") {
            Some(role) => Some(role),
            None if k == "kubernetes.io/role" => v.as_str(),
            None => None,
        })
        .filter(|r| !r.is_empty())
        .collect();
    out.sort_unstable();
    out.dedup();
    out.join(",")
}

fn address<'a>(obj: &'a Value, kind: &str) -> &'a str {
    let all = meta::list_at(obj, &["status", "addresses"]);
    all.iter().find(|a| meta::str_at(a, &["type"]) == kind).map_or(print::NONE, |a| meta::str_at(a, &["address"]))
}
