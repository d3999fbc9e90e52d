//! ConfigMap: keys, total size, immutability.

use crate::at::{At, same_at};
use crate::check;
use crate::print::{self, AGE, NAME, cells, col};
use crate::rules::Rules;
use crate::strategy::Column;
use machinery::field::{Error, ErrorList, Path};
use machinery::{Value, meta};

/// Most bytes that the values of a ConfigMap or Secret take.
pub const MAX_SIZE: usize = 1024 * 1024;
pub const IMMUTABLE_SET: &str = "field is immutable when `immutable` is set";

static COLUMNS: [Column; 3] = [NAME, col("Data", ""), AGE];

pub static CONFIG_MAP: Rules = Rules {
    validate,
    columns: &COLUMNS,
    cells: |obj, now| {
        let n = meta::map_at(obj, &["data"]).len() + meta::map_at(obj, &["binaryData"]).len();
        cells([print::name(obj), n.into(), print::age(obj, now)])
    },
    ..Rules::BASE
};

/// Length of what base64 text stands for.
pub fn decoded_len(s: &str) -> usize {
    let padding = s.bytes().rev().take_while(|c| *c == b'=').count();
    (s.len() / 4 * 3).saturating_sub(padding)
}

/// An object that was made immutable stays as it is.
pub fn stays_immutable(root: At, old: Option<&Value>, fields: &'static [&'static str], e: &mut ErrorList) {
    let Some(old) = old.filter(|o| meta::bool_at(o, &["immutable"])) else { return };
    if !root.get("immutable").bool() {
        root.get("immutable").forbidden(e, IMMUTABLE_SET);
    }
    for f in fields {
        if !same_at(root.v, old, &[f]) {
            root.get(f).forbidden(e, IMMUTABLE_SET);
        }
    }
}

fn validate(root: At, old: Option<&Value>, e: &mut ErrorList) {
    stays_immutable(root, old, &["data", "binaryData"], e);
    let binary = root.get("binaryData");
    let mut size = 0;
    for (k, v) in root.get("data").entries() {
        v.messages_for(e, k, check::config_map_key(k));
        if binary.v.get(k).is_some() {
            v.invalid_value(e, k, "duplicate of key present in binaryData");
        }
        size += v.len();
    }
    for (k, v) in binary.entries() {
        v.messages_for(e, k, check::config_map_key(k));
        size += decoded_len(v.str());
    }
    if size > MAX_SIZE {
        e.push(Error::too_long(&Path::default(), MAX_SIZE));
    }
}
