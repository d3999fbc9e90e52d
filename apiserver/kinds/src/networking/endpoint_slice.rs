//! EndpointSlice.

use crate::at::{At, list_mut, same, value_at};
use crate::core::endpoints::{endpoint_ip, some_and_more};
use crate::print::{self, AGE, NAME, cells, col};
use crate::rules::Rules;
use crate::strategy::Column;
use crate::{check, names};
use machinery::field::{Error, ErrorList};
use machinery::validation::{ip, parse_ip_sloppy, warnings_for_ip};
use machinery::{Value, meta};

static COLUMNS: [Column; 5] = [NAME, col("AddressType", ""), col("Ports", ""), col("Endpoints", ""), AGE];

pub static ENDPOINT_SLICE: Rules = Rules {
    default: |obj| {
        for p in list_mut(obj, &["ports"]).filter(|p| p.is_object()) {
            for (f, v) in [("name", ""), ("protocol", "TCP")] {
                // Pointers both: an empty name is a name.
                if meta::at(p, &[f]).is_none() {
                    meta::set(p, &[f], v.into());
                }
            }
        }
    },
    create: |obj, _| {
        meta::set(obj, &["metadata", "generation"], 1.into());
        drop_topology(obj);
    },
    update: |obj, old| {
        let body = |o: &Value| {
            let mut o = o.clone();
            meta::remove(&mut o, &["metadata"]);
            o
        };
        let unchanged = same(&body(obj), &body(old)) && crate::at::same_at(obj, old, &["metadata", "labels"]);
        let generation = meta::i64_at(old, &["metadata", "generation"]).unwrap_or(0);
        meta::set(obj, &["metadata", "generation"], generation.saturating_add(i64::from(!unchanged)).into());
        drop_topology(obj);
    },
    validate: |root, old, e| {
        let kind = root.get("addressType");
        kind.need_one_of(e, &["IPv4", "IPv6", "FQDN"]);
        ports(root.get("ports"), e);
        let endpoints = root.get("endpoints");
        if old.is_none_or(|o| !same(value_at(o, &["endpoints"]), endpoints.v)) {
            if endpoints.len() > 1000 {
                endpoints.too_many(e, 1000);
            } else {
                endpoints.items().for_each(|x| endpoint(x, kind.str(), e));
            }
        }
        if let Some(old) = old {
            kind.immutable(e, value_at(old, &["addressType"]));
        }
    },
    warnings: |root, old| {
        let mut out = Vec::new();
        if old.is_none() && root.get("addressType").str() == "FQDN" {
            out.push("spec.addressType: FQDN endpoints are deprecated".into());
        }
        let manager = root.at(&["metadata", "labels"]).key("endpointslice.kubernetes.io/managed-by");
        if !["endpointslice-controller.k8s.io", "endpointslicemirroring-controller.k8s.io"].contains(&manager.str()) {
            for a in root.get("endpoints").items().flat_map(|x| x.get("addresses").items().collect::<Vec<_>>()) {
                out.extend(warnings_for_ip(&a.path(), a.str()));
            }
        }
        out
    },
    columns: &COLUMNS,
    cells: |obj, now| {
        let ports: Vec<String> = meta::list_at(obj, &["ports"])
            .iter()
            .map(|p| match (meta::i64_at(p, &["port"]), meta::at(p, &["name"]).and_then(Value::as_str)) {
                (Some(n), _) => n.to_string(),
                (None, Some(name)) => name.to_owned(),
                _ => "*".into(),
            })
            .collect();
        let addresses: Vec<String> = meta::list_at(obj, &["endpoints"])
            .iter()
            .flat_map(|x| print::strings(x, &["addresses"]))
            .map(str::to_owned)
            .collect();
        let or_unset = |s: String| if s.is_empty() { "<unset>".to_owned() } else { s };
        cells([
            print::name(obj),
            print::text(obj, &["addressType"]),
            or_unset(some_and_more(&ports)).into(),
            or_unset(some_and_more(&addresses)).into(),
            print::age(obj, now),
        ])
    },
    ..Rules::BASE
};

/// `deprecatedTopology` is v1beta1's.
fn drop_topology(obj: &mut Value) {
    for x in list_mut(obj, &["endpoints"]) {
        meta::remove(x, &["deprecatedTopology"]);
    }
}

fn ports(at: At, e: &mut ErrorList) {
    if at.len() > 20_000 {
        return at.too_many(e, 20_000);
    }
    let mut seen = std::collections::HashSet::new();
    for p in at.items() {
        let name = p.get("name");
        name.check_if_set(e, check::dns1123_label);
        if !seen.insert(name.str()) {
            e.push(Error::duplicate(&name.path(), name.str()));
        }
        p.get("protocol").need_one_of(e, &["TCP", "UDP", "SCTP"]);
        if p.has("appProtocol") {
            p.get("appProtocol").check(e, check::qualified_name);
        }
    }
}

fn endpoint(x: At, kind: &str, e: &mut ErrorList) {
    let addresses = x.get("addresses");
    if addresses.is_empty() {
        addresses.required(e, "must contain at least 1 address");
    } else if addresses.len() > 100 {
        addresses.too_many(e, 100);
    }
    for a in addresses.items() {
        if kind == "FQDN" {
            a.check(e, check::dns1123_subdomain);
            continue;
        }
        let parsed = parse_ip_sloppy(a.str());
        let errs = if kind == "IPv6" {
            ip(&a.path(), a.str())
        } else {
            machinery::validation::ip_legacy(&a.path(), a.str(), false, &[])
        };
        if !errs.is_empty() {
            e.extend(errs);
            continue;
        }
        match kind {
            "IPv4" if parsed.is_some_and(|p| !p.to_canonical().is_ipv4()) => {
                addresses.with(a.v).invalid(e, "must be an IPv4 address")
            }
            "IPv6" if parsed.is_some_and(|p| p.is_ipv4()) => addresses.with(a.v).invalid(e, "must be an IPv6 address"),
            _ => {}
        }
        if matches!(kind, "IPv4" | "IPv6") {
            endpoint_ip(a, e);
        }
    }
    if x.has("nodeName") {
        x.get("nodeName").check(e, names::subdomain);
    }
    if x.has("hostname") {
        x.get("hostname").check(e, check::dns1123_label);
    }
    for (list, rule) in [("forZones", check::label_value as fn(&str) -> Vec<String>), ("forNodes", names::subdomain)] {
        let hints = x.at(&["hints", list]);
        if hints.len() > 8 {
            hints.too_many(e, 8);
            continue;
        }
        let mut seen = Vec::new();
        for h in hints.items().map(|h| h.get("name")) {
            if seen.contains(&h.str()) {
                h.duplicate(e);
            }
            seen.push(h.str());
            h.check(e, rule);
        }
    }
}
