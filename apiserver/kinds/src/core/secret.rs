//! Secret: what each type must hold, immutability.

use super::config_map::{MAX_SIZE, decoded_len, stays_immutable};
use crate::at::{At, set_default, value_at};
use crate::check;
use crate::print::{self, AGE, NAME, cells, col};
use crate::rules::Rules;
use crate::strategy::Column;
use base64::Engine;
use machinery::field::ErrorList;
use machinery::{Map, Value, meta};

static COLUMNS: [Column; 4] = [NAME, col("Type", ""), col("Data", ""), AGE];

pub static SECRET: Rules = Rules {
    default: |obj| {
        string_data(obj);
        set_default(obj, &["type"], "Opaque");
    },
    validate,
    fields: &["type"],
    columns: &COLUMNS,
    cells: |obj, now| {
        cells([print::name(obj), print::text(obj, &["type"]), meta::map_at(obj, &["data"]).len().into(), print::age(obj, now)])
    },
    ..Rules::BASE
};

/// `stringData` is a way to write `data`.
fn string_data(obj: &mut Value) {
    let Some(Value::Object(plain)) = meta::remove(obj, &["stringData"]) else { return };
    if plain.is_empty() {
        return;
    }
    let data = meta::entry(obj, &["data"]);
    for (k, v) in plain {
        if let Value::String(s) = v {
            data.insert(k, base64::engine::general_purpose::STANDARD.encode(s).into());
        }
    }
}

fn validate(root: At, old: Option<&Value>, e: &mut ErrorList) {
    if let Some(old) = old {
        root.get("type").immutable(e, value_at(old, &["type"]));
    }
    stays_immutable(root, old, &["data"], e);
    let data = root.get("data");
    let mut size = 0;
    for (k, v) in data.entries() {
        v.messages_for(e, k, check::config_map_key(k));
        size += decoded_len(v.str());
    }
    if size > MAX_SIZE {
        data.too_long(e, MAX_SIZE);
    }
    let need = |e: &mut ErrorList, k: &'static str| {
        let missing = data.v.get(k).is_none();
        if missing {
            data.key(k).required(e, "");
        }
        missing
    };
    let json = |e: &mut ErrorList, k: &'static str| {
        if need(e, k) {
            return;
        }
        let bytes = base64::engine::general_purpose::STANDARD.decode(data.key(k).str()).unwrap_or_default();
        if let Err(err) = serde_json::from_slice::<Map<String, Value>>(&bytes) {
            data.key(k).invalid_value(e, "<secret contents redacted>", err.to_string());
        }
    };
    match root.get("type").str() {
        "kubernetes.io/service-account-token" => {
            let name = root.at(&["metadata", "annotations"]).key("kubernetes.io/service-account.name");
            if name.is_empty() {
                name.required(e, "");
            }
        }
        "kubernetes.io/dockercfg" => json(e, ".dockercfg"),
        "kubernetes.io/dockerconfigjson" => json(e, ".dockerconfigjson"),
        "kubernetes.io/basic-auth" if data.v.get("username").is_none() && data.v.get("password").is_none() => {
            need(e, "username");
            need(e, "password");
        }
        "kubernetes.io/ssh-auth" if data.key("ssh-privatekey").is_empty() => data.key("ssh-privatekey").required(e, ""),
        "kubernetes.io/tls" => {
            need(e, "tls.crt");
            need(e, "tls.key");
        }
        _ => {}
    }
}
