//! ServiceCIDR and IPAddress: the ranges that service addresses come from, and the addresses given out.

use crate::at::value_at;
use crate::check;
use crate::names::NameRule;
use crate::print::{self, AGE, NAME, cells, col};
use crate::rules::Rules;
use crate::strategy::Column;
use machinery::validation::{cidr, path_segment_name};
use machinery::{GroupResource, meta};

static CIDR_COLUMNS: [Column; 3] = [NAME, col("CIDRs", ""), AGE];

pub static SERVICE_CIDR: Rules = Rules {
    generation: false,
    validate: |root, old, e| {
        let cidrs = root.at(&["spec", "cidrs"]);
        if let Some(old) = old {
            return cidrs.immutable(e, value_at(old, &["spec", "cidrs"]));
        }
        if cidrs.is_empty() {
            return cidrs.required(e, "at least one CIDR required");
        }
        let v6 = cidrs.items().filter(|c| c.str().contains(':')).count();
        if cidrs.len() > 2 {
            cidrs.invalid(e, "may only hold up to 2 values");
        } else if cidrs.len() == 2 && v6 != 1 {
            cidrs.invalid(e, "may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/96");
        }
        for c in cidrs.items() {
            e.extend(cidr(&c.path(), c.str()));
        }
    },
    columns: &CIDR_COLUMNS,
    cells: |obj, now| cells([print::name(obj), print::strings(obj, &["spec", "cidrs"]).join(",").into(), print::age(obj, now)]),
    ..Rules::WITH_STATUS
};

static ADDRESS_COLUMNS: [Column; 3] = [NAME, col("ParentRef", ""), AGE];

pub static IP_ADDRESS: Rules = Rules {
    name: NameRule::Address,
    validate: |root, old, e| {
        let p = root.at(&["spec", "parentRef"]);
        if let Some(old) = old {
            return p.immutable(e, value_at(old, &["spec", "parentRef"]));
        }
        if !p.present() {
            return p.required(e, "");
        }
        p.get("group").check_if_set(e, check::dns1123_subdomain);
        for f in ["resource", "name", "namespace"] {
            let at = p.get(f);
            if (f == "namespace" && at.is_empty()) || !at.need(e, "") {
                continue;
            }
            at.messages(e, path_segment_name(at.str(), false));
        }
    },
    columns: &ADDRESS_COLUMNS,
    fields: &["spec.parentRef.name"],
    cells: |obj, now| {
        let parent = meta::at(obj, &["spec", "parentRef"]).map_or_else(
            || print::NONE.to_owned(),
            |p| {
                let gr =
                    GroupResource::new(meta::str_at(p, &["group"]), meta::str_at(p, &["resource"])).to_string().to_lowercase();
                let namespace = meta::str_at(p, &["namespace"]);
                let prefix = if namespace.is_empty() { String::new() } else { format!("/{namespace}") };
                format!("{gr}{prefix}/{}", meta::str_at(p, &["name"]))
            },
        );
        cells([print::name(obj), parent.into(), print::age(obj, now)])
    },
    ..Rules::BASE
};
