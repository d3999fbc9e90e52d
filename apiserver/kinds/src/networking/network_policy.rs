//! NetworkPolicy.

use crate::at::{At, list_mut, set_default, value_at};
use crate::print::{self, AGE, NAME, cells, col};
use crate::rules::Rules;
use crate::selectors;
use crate::strategy::Column;
use machinery::field::ErrorList;
use machinery::validation::parse_cidr_sloppy;
use machinery::{json, meta};

static COLUMNS: [Column; 3] = [NAME, col("Pod-Selector", ""), AGE];

pub static NETWORK_POLICY: Rules = Rules {
    generation: true,
    unconditional_update: false,
    default: |obj| {
        for direction in ["ingress", "egress"] {
            for p in list_mut(obj, &["spec", direction]).flat_map(|r| list_mut(r, &["ports"])).filter(|p| p.is_object()) {
                set_default(p, &["protocol"], "TCP");
            }
        }
        if meta::list_at(obj, &["spec", "policyTypes"]).is_empty() {
            let both = !meta::list_at(obj, &["spec", "egress"]).is_empty();
            meta::set(obj, &["spec", "policyTypes"], if both { json!(["Ingress", "Egress"]) } else { json!(["Ingress"]) });
        }
    },
    validate: |root, _, e| {
        let s = root.get("spec");
        selectors::label_selector(s.get("podSelector"), e);
        for (direction, peers) in [("ingress", "from"), ("egress", "to")] {
            for r in s.get(direction).items() {
                r.get("ports").items().for_each(|p| port(p, e));
                r.get(peers).items().for_each(|p| peer(p, e));
            }
        }
        let types = s.get("policyTypes");
        if types.len() > 2 {
            return types.invalid(e, "may not specify more than two policyTypes");
        }
        for t in types.items() {
            t.one_of(e, &["Ingress", "Egress"]);
        }
    },
    columns: &COLUMNS,
    cells: |obj, now| {
        let selector = selectors::format_selector(value_at(obj, &["spec", "podSelector"]));
        cells([print::name(obj), selector.into(), print::age(obj, now)])
    },
    ..Rules::BASE
};

fn port(p: At, e: &mut ErrorList) {
    if p.has("protocol") {
        p.get("protocol").one_of(e, &["TCP", "UDP", "SCTP"]);
    }
    let (port, end) = (p.get("port"), p.get("endPort"));
    if !port.present() {
        if end.present() {
            end.invalid(e, "may not be specified when `port` is not specified");
        }
    } else if port.v.is_string() {
        if end.present() {
            end.invalid(e, "may not be specified when `port` is non-numeric");
        }
        port.port_num_or_name(e);
    } else {
        port.port_num(e);
        if end.present() {
            if end.int() < port.int() {
                end.invalid_value(e, port.int(), "must be greater than or equal to `port`");
            }
            end.port_num(e);
        }
    }
}

fn peer(p: At, e: &mut ErrorList) {
    let mut count = 0;
    for f in ["podSelector", "namespaceSelector"] {
        if p.has(f) {
            count += 1;
            selectors::label_selector(p.get(f), e);
        }
    }
    if let Some(block) = p.get("ipBlock").some() {
        count += 1;
        ip_block(block, e);
    }
    if count == 0 {
        p.required(e, "must specify a peer");
    } else if count > 1 && p.has("ipBlock") {
        p.forbidden(e, "may not specify both ipBlock and another peer");
    }
}

fn ip_block(b: At, e: &mut ErrorList) {
    let cidr = b.get("cidr");
    if !cidr.need(e, "") {
        return;
    }
    cidr.legacy_cidr(e);
    let Some((_, net)) = parse_cidr_sloppy(cidr.str()) else { return };
    for x in b.get("except").items() {
        x.legacy_cidr(e);
        if let Some((_, except)) = parse_cidr_sloppy(x.str())
            && (!net.contains(&except.network()) || net.prefix_len() >= except.prefix_len())
        {
            x.invalid(e, "must be a strict subset of `cidr`");
        }
    }
}
