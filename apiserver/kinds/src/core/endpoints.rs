//! Endpoints: addresses and ports of a service, superseded by EndpointSlice.

use crate::at::{At, list_mut, same, set_default, value_at};
use crate::print::{self, AGE, NAME, cells, col};
use crate::rules::Rules;
use crate::strategy::Column;
use crate::{check, names};
use machinery::field::ErrorList;
use machinery::{Value, meta, validation};

static COLUMNS: [Column; 3] = [NAME, col("Endpoints", ""), AGE];

pub static ENDPOINTS: Rules = Rules {
    create_on_update: true,
    default: |obj| {
        for p in list_mut(obj, &["subsets"]).flat_map(|s| list_mut(s, &["ports"])).filter(|p| p.is_object()) {
            set_default(p, &["protocol"], "TCP");
        }
    },
    validate: |root, old, e| {
        let subsets = root.get("subsets");
        if old.is_none_or(|o| !same(value_at(o, &["subsets"]), subsets.v)) {
            subsets.items().for_each(|s| subset(s, e));
        }
    },
    warnings: |_, _| vec!["v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice".into()],
    columns: &COLUMNS,
    cells: |obj, now| cells([print::name(obj), text(obj).into(), print::age(obj, now)]),
    ..Rules::BASE
};

fn subset(s: At, e: &mut ErrorList) {
    if s.get("addresses").is_empty() && s.get("notReadyAddresses").is_empty() {
        s.required(e, "must specify `addresses` or `notReadyAddresses`");
    }
    for a in ["addresses", "notReadyAddresses"].iter().flat_map(|l| s.get(l).items()) {
        let ip = a.get("ip");
        ip.legacy_ip(e);
        a.get("hostname").check_if_set(e, check::dns1123_label);
        if a.has("nodeName") {
            a.get("nodeName").check(e, names::subdomain);
        }
        endpoint_ip(ip, e);
    }
    for p in s.get("ports").items() {
        let name = p.get("name");
        if s.get("ports").len() > 1 && name.is_empty() {
            name.required(e, "");
        } else {
            name.check_if_set(e, check::dns1123_label);
        }
        p.get("port").port_num(e);
        p.get("protocol").need_one_of(e, &["TCP", "UDP", "SCTP"]);
        if p.has("appProtocol") {
            p.get("appProtocol").check(e, check::qualified_name);
        }
    }
}

/// An address that traffic may be sent to: no loopback, no link-local, no `0.0.0.0`.
pub fn endpoint_ip(at: At, e: &mut ErrorList) {
    let Some(ip) = validation::parse_ip_sloppy(at.str()) else {
        return at.invalid_str(e, "must be a valid IP address");
    };
    let (link_local, link_multicast) = match ip.to_canonical() {
        std::net::IpAddr::V4(v4) => (v4.is_link_local(), v4.octets()[..3] == [224, 0, 0]),
        std::net::IpAddr::V6(v6) => (v6.is_unicast_link_local(), v6.segments()[0] & 0xff0f == 0xff02),
    };
    let ip = ip.to_canonical();
    for (is, text) in [
        (ip.is_unspecified(), format!("may not be unspecified ({})", at.str())),
        (ip.is_loopback(), "may not be in the loopback range (127.0.0.0/8, ::1/128)".into()),
        (link_local, "may not be in the link-local range (169.254.0.0/16, fe80::/10)".into()),
        (link_multicast, "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)".into()),
    ] {
        if is {
            at.invalid_str(e, text);
        }
    }
}

fn text(obj: &Value) -> String {
    let subsets = meta::list_at(obj, &["subsets"]);
    if subsets.is_empty() {
        return print::NONE.into();
    }
    let mut all = Vec::new();
    for s in subsets {
        let ips: Vec<&str> = meta::list_at(s, &["addresses"]).iter().map(|a| meta::str_at(a, &["ip"])).collect();
        let ports = meta::list_at(s, &["ports"]);
        if ports.is_empty() {
            all.extend(ips.iter().map(|ip| (*ip).to_owned()));
        }
        for p in ports {
            let port = meta::i64_at(p, &["port"]).unwrap_or(0);
            all.extend(ips.iter().map(|ip| if ip.contains(':') { format!("[{ip}]:{port}") } else { format!("{ip}:{port}") }));
        }
    }
    some_and_more(&all)
}

/// The first three, and how many more.
pub fn some_and_more(all: &[String]) -> String {
    let shown = all.iter().take(3).map(String::as_str).collect::<Vec<_>>().join(",");
    if all.len() > 3 { format!("{shown} + {} more...", all.len() - 3) } else { shown }
}
