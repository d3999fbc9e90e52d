//! PersistentVolume: one source, capacity, claim reference; a source never changes.

use super::persistent_volume_claim::{access_modes, access_modes_text};
use super::pod::volumes;
use crate::at::{At, copy_from, same_at, set_default, value_at};
use crate::print::{self, AGE, NAME, cells, col, wide};
use crate::rules::Rules;
use crate::strategy::Column;
use crate::{check, diff, names, resources, selectors};
use machinery::field::ErrorList;
use machinery::{Value, json, meta, time};

static COLUMNS: [Column; 11] = [
    NAME,
    col("Capacity", ""),
    col("Access Modes", ""),
    col("Reclaim Policy", ""),
    col("Status", ""),
    col("Claim", ""),
    col("StorageClass", "StorageClass of the pv"),
    col("VolumeAttributesClass", "VolumeAttributesClass of the pv"),
    col("Reason", ""),
    AGE,
    wide("VolumeMode", ""),
];

pub static PERSISTENT_VOLUME: Rules = Rules {
    status: true,
    default: |obj| {
        set_default(obj, &["status", "phase"], "Pending");
        set_default(obj, &["spec", "persistentVolumeReclaimPolicy"], "Retain");
        set_default(obj, &["spec", "volumeMode"], "Filesystem");
        if let Some(c) = obj.get_mut("spec").and_then(|s| s.get_mut("capacity")) {
            super::pod::defaults::resource_list(c);
        }
        if let Some(h) = obj.get_mut("spec").and_then(|s| s.get_mut("hostPath")).filter(|h| h.is_object())
            && h.get("type").is_none_or(Value::is_null)
        {
            meta::set(h, &["type"], "".into());
        }
    },
    create: |obj, cx| meta::set(obj, &["status"], json!({"phase": "Pending", "lastPhaseTransitionTime": timestamp(cx.now)})),
    update_status: |obj, old, cx| {
        const TIME: [&str; 2] = ["status", "lastPhaseTransitionTime"];
        if same_at(obj, old, &["status", "phase"]) {
            if meta::at(obj, &TIME).is_none() {
                copy_from(obj, old, &TIME);
            }
        } else if meta::at(obj, &TIME).is_none() || same_at(obj, old, &TIME) {
            meta::set(obj, &TIME, timestamp(cx.now).into());
        }
    },
    validate: |root, old, e| {
        validate(root, e);
        if let Some(old) = old {
            update(root, old, e);
        }
    },
    fields: &["name"],
    columns: &COLUMNS,
    cells: |obj, now| {
        let claim = meta::at(obj, &["spec", "claimRef"]);
        let claim =
            claim.map_or(String::new(), |c| format!("{}/{}", meta::str_at(c, &["namespace"]), meta::str_at(c, &["name"])));
        let phase = if meta::deletion_timestamp(obj).is_some() { "Terminating" } else { meta::str_at(obj, &["status", "phase"]) };
        let or_unset = |f: &str| meta::at(obj, &["spec", f]).and_then(Value::as_str).unwrap_or("<unset>").to_owned();
        let class = meta::annotations(obj).get("volume.beta.kubernetes.io/storage-class").and_then(Value::as_str);
        let capacity = meta::str_at(obj, &["spec", "capacity", "storage"]);
        cells([
            print::name(obj),
            if capacity.is_empty() { "0" } else { capacity }.into(),
            access_modes_text(meta::list_at(obj, &["spec", "accessModes"])).into(),
            print::text(obj, &["spec", "persistentVolumeReclaimPolicy"]),
            phase.into(),
            claim.into(),
            class.unwrap_or(meta::str_at(obj, &["spec", "storageClassName"])).into(),
            or_unset("volumeAttributesClassName").into(),
            print::text(obj, &["status", "reason"]),
            print::age(obj, now),
            or_unset("volumeMode").into(),
        ])
    },
    ..Rules::BASE
};

fn timestamp(seconds: i64) -> String {
    time::Timestamp::from_second(seconds).map(time::format).unwrap_or_default()
}

/// Fields of the spec that are no sources.
const NO_SOURCE: [&str; 10] = [
    "capacity",
    "accessModes",
    "claimRef",
    "persistentVolumeReclaimPolicy",
    "storageClassName",
    "mountOptions",
    "volumeMode",
    "nodeAffinity",
    "volumeAttributesClassName",
    "mountOption",
];

fn validate(root: At, e: &mut ErrorList) {
    let spec = root.get("spec");
    access_modes(spec.get("accessModes"), e, "");
    let capacity = spec.get("capacity");
    capacity.need(e, "");
    if capacity.v.get("storage").is_none() || capacity.len() > 1 {
        // Upstream names the whole list.
        e.push(machinery::field::Error::not_supported(&capacity.path(), capacity.v.clone(), &["storage"]));
    }
    for (_, q) in capacity.entries() {
        let amount = resources::amount(q.v);
        if let Some(n) = amount.as_ref().filter(|q| q.sign() < 0) {
            q.invalid_value(e, n.value(), "must be a valid resource quantity");
        }
        if amount.is_some_and(|q| q.sign() <= 0) {
            q.invalid(e, "must be greater than zero");
        }
    }
    if !spec.get("persistentVolumeReclaimPolicy").is_empty() {
        spec.get("persistentVolumeReclaimPolicy").one_of(e, &["Delete", "Recycle", "Retain"]);
    }
    let affinity = spec.get("nodeAffinity");
    if affinity.present() {
        match affinity.get("required").some() {
            Some(r) => selectors::node_selector(r, e, true),
            None => affinity.get("required").required(e, "must specify required node constraints"),
        }
    }
    let mut found = 0;
    for (name, rule) in volumes::SOURCES {
        let Some(s) = spec.get(name).some() else { continue };
        found += 1;
        if found > 1 {
            s.forbidden(e, "may not specify more than 1 volume type");
        } else if name == "csi" {
            volumes::csi_driver_name(s.get("driver"), e);
            s.get("volumeHandle").need(e, "");
        } else if name == "iscsi" || name != "secret" {
            rule(s, e);
        }
    }
    if let Some(s) = spec.get("local").some() {
        found += 1;
        s.get("path").need(e, "");
        volumes::no_backsteps(s.get("path"), e);
        if !affinity.present() {
            affinity.required(e, "Local volume requires node affinity");
        }
    }
    if found == 0 {
        spec.required(e, "must specify a volume type");
    }
    let host = spec.at(&["hostPath", "path"]);
    if host.str() == "/" && spec.get("persistentVolumeReclaimPolicy").str() == "Recycle" {
        spec.get("persistentVolumeReclaimPolicy").forbidden(e, "may not be 'recycle' for a hostPath mount of '/'");
    }
    spec.get("storageClassName").check_if_set(e, names::subdomain);
    if spec.has("volumeMode") {
        spec.get("volumeMode").one_of(e, &["Block", "Filesystem"]);
    }
    if let Some(class) = spec.get("volumeAttributesClassName").some() {
        if class.need(e, "") {
            class.check(e, check::dns1123_subdomain);
        }
        if !spec.has("csi") {
            spec.get("csi").required(e, "has to be specified when using volumeAttributesClassName");
        }
    }
}

fn update(root: At, old: &Value, e: &mut ErrorList) {
    let spec = root.get("spec");
    let source = |o: &Value| -> Value {
        meta::map_at(o, &["spec"])
            .iter()
            .filter(|(k, _)| !NO_SOURCE.contains(&k.as_str()))
            .map(|(k, v)| (k.clone(), v.clone()))
            .collect::<machinery::Map<_, _>>()
            .into()
    };
    let (mut new_source, old_source) = (source(root.v), source(old));
    // The secret that expansion uses may be set late.
    for f in ["controllerExpandSecretRef", "nodeExpandSecretRef"] {
        if meta::at(&old_source, &["csi", f]).is_none() {
            copy_from(&mut new_source, &old_source, &["csi", f]);
        }
    }
    if !crate::at::same(&new_source, &old_source) {
        spec.get("persistentvolumesource").forbidden(
            e,
            format!("spec.persistentvolumesource is immutable after creation\n{}", diff::unified(&old_source, &new_source)),
        );
    }
    root.get("spec").get("volumeMode").with(spec.get("volumeMode").v).immutable(e, value_at(old, &["spec", "volumeMode"]));
    if meta::at(old, &["spec", "nodeAffinity"]).is_some() && !same_at(root.v, old, &["spec", "nodeAffinity"]) {
        spec.get("nodeAffinity").invalid(e, crate::at::FIELD_IMMUTABLE);
    }
}
