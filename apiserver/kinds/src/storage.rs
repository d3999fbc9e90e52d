//! storage.k8s.io: classes, drivers, attachments, capacities.

use crate::at::{At, same, same_at, set_default, value_at};
use crate::core::pod::volumes::csi_driver_name;
use crate::print::{self, AGE, NAME, cells, col, int};
use crate::rules::Rules;
use crate::strategy::Column;
use crate::{check, names, resources, selectors};
use machinery::field::{Error, ErrorList};
use machinery::{Value, json, meta};

const fn flag(name: &'static str) -> Column {
    Column { name, kind: "boolean", format: "", description: "", priority: 0 }
}

static CLASS_COLUMNS: [Column; 6] =
    [NAME, col("Provisioner", ""), col("ReclaimPolicy", ""), col("VolumeBindingMode", ""), col("AllowVolumeExpansion", ""), AGE];

pub static STORAGE_CLASS: Rules = Rules {
    default: |obj| {
        set_default(obj, &["reclaimPolicy"], "Delete");
        set_default(obj, &["volumeBindingMode"], "Immediate");
    },
    validate: |root, old, e| {
        if let Some(old) = old {
            for f in ["parameters", "provisioner", "reclaimPolicy", "volumeBindingMode"] {
                root.get(f).immutable(e, value_at(old, &[f]));
            }
        }
        {
            provisioner(root.get("provisioner"), e);
            parameters(root.get("parameters"), e, true);
            if !root.get("reclaimPolicy").is_empty() {
                root.get("reclaimPolicy").one_of(e, &["Delete", "Retain"]);
            }
            root.get("volumeBindingMode").need_one_of(e, &["Immediate", "WaitForFirstConsumer"]);
            topologies(root.get("allowedTopologies"), e);
        }
    },
    columns: &CLASS_COLUMNS,
    cells: |obj, now| {
        let is_default = |a: &str| meta::annotations(obj).get(a).and_then(Value::as_str) == Some("true");
        let default = is_default("storageclass.kubernetes.io/is-default-class")
            || is_default("storageclass.beta.kubernetes.io/is-default-class");
        let or = |f: &str, d: &str| meta::at(obj, &[f]).and_then(Value::as_str).unwrap_or(d).to_owned();
        let name = meta::name(obj);
        cells([
            if default { format!("{name} (default)") } else { name.to_owned() }.into(),
            print::text(obj, &["provisioner"]),
            or("reclaimPolicy", "Delete").into(),
            or("volumeBindingMode", "Immediate").into(),
            meta::bool_at(obj, &["allowVolumeExpansion"]).into(),
            print::age(obj, now),
        ])
    },
    ..Rules::BASE
};

fn provisioner(at: At, e: &mut ErrorList) {
    if at.need(e, "") {
        let name = at.str().to_lowercase();
        at.messages_for(e, &name, check::qualified_name(&name));
    }
}

fn parameters(at: At, e: &mut ErrorList, may_be_empty: bool) {
    if at.len() > 512 {
        return at.too_long(e, 512);
    }
    let size: usize = at.entries().map(|(k, v)| k.len() + v.len()).sum();
    if at.entries().any(|(k, _)| k.is_empty()) {
        at.invalid_value(e, "", "field can not be empty.");
    }
    if size > 256 * 1024 {
        at.too_long(e, 256 * 1024);
    }
    if !may_be_empty && at.is_empty() {
        at.required(e, "must contain at least one key/value pair");
    }
}

fn topologies(at: At, e: &mut ErrorList) {
    let mut seen: Vec<&Value> = Vec::new();
    for t in at.items() {
        let mut keys = Vec::new();
        for x in t.get("matchLabelExpressions").items() {
            x.get("values").need(e, "");
            let mut values = Vec::new();
            for v in x.get("values").items() {
                if values.contains(&v.str()) {
                    v.duplicate(e);
                }
                values.push(v.str());
            }
            x.get("key").check(e, check::qualified_name);
            if keys.contains(&x.get("key").str()) {
                x.get("key").duplicate(e);
            }
            keys.push(x.get("key").str());
        }
        if seen.iter().any(|s| same(s, t.v)) {
            e.push(Error::duplicate(&t.get("matchLabelExpressions").path(), ""));
        }
        seen.push(t.v);
    }
}

static ATTRIBUTES_COLUMNS: [Column; 3] = [NAME, col("DriverName", ""), AGE];

pub static VOLUME_ATTRIBUTES_CLASS: Rules = Rules {
    validate: |root, old, e| {
        for f in ["driverName", "parameters"] {
            if old.is_some_and(|o| !same_at(root.v, o, &[f])) {
                root.get(f).forbidden(e, format!("updates to {f} are forbidden."));
            }
        }
        provisioner(root.get("driverName"), e);
        parameters(root.get("parameters"), e, false);
    },
    columns: &ATTRIBUTES_COLUMNS,
    cells: |obj, now| cells([print::name(obj), print::text(obj, &["driverName"]), print::age(obj, now)]),
    ..Rules::BASE
};

static ATTACHMENT_COLUMNS: [Column; 6] = [
    NAME,
    Column { name: "Attacher", kind: "string", format: "name", description: "", priority: 0 },
    col("PV", ""),
    col("Node", ""),
    flag("Attached"),
    AGE,
];

pub static VOLUME_ATTACHMENT: Rules = Rules {
    status: true,
    unconditional_update: false,
    validate: |root, old, e| {
        let s = root.get("spec");
        csi_driver_name(s.get("attacher"), e);
        let source = s.get("source");
        let name = source.get("persistentVolumeName");
        match (name.present(), source.has("inlineVolumeSpec")) {
            (false, false) => source.required(e, "must specify exactly one of inlineVolumeSpec and persistentVolumeName"),
            (true, true) => source.forbidden(e, "must specify exactly one of inlineVolumeSpec and persistentVolumeName"),
            (true, false) if name.need(e, "must specify non empty persistentVolumeName") => name.check(e, names::subdomain),
            _ => {}
        }
        s.get("nodeName").check(e, names::subdomain);
        if let Some(old) = old {
            s.immutable(e, value_at(old, &["spec"]));
        }
    },
    validate_status: |root, _, e| {
        for f in ["attachError", "detachError"] {
            if root.at(&["status", f, "message"]).len() > 1024 {
                root.at(&["status", f, "message"]).too_long(e, 256 * 1024);
            }
            if root.at(&["status", f, "errorCode"]).int() < 0 {
                root.at(&["status", f, "errorCode"]).in_range(e, 0, i64::from(i32::MAX));
            }
        }
    },
    columns: &ATTACHMENT_COLUMNS,
    cells: |obj, now| {
        cells([
            print::name(obj),
            print::text(obj, &["spec", "attacher"]),
            print::text(obj, &["spec", "source", "persistentVolumeName"]),
            print::text(obj, &["spec", "nodeName"]),
            meta::bool_at(obj, &["status", "attached"]).into(),
            print::age(obj, now),
        ])
    },
    ..Rules::BASE
};

static NODE_COLUMNS: [Column; 3] =
    [NAME, int("Drivers", "Drivers indicates the number of CSI drivers registered on the node"), AGE];

pub static CSI_NODE: Rules = Rules {
    unconditional_update: false,
    validate: |root, old, e| {
        let drivers = root.at(&["spec", "drivers"]);
        let mut seen = Vec::new();
        for d in drivers.items() {
            let (name, id) = (d.get("name"), d.get("nodeID"));
            csi_driver_name(name, e);
            id.need(e, "");
            if id.len() > 256 {
                id.invalid(e, "must be 256 characters or less");
            }
            d.at(&["allocatable", "count"]).non_negative(e);
            if seen.contains(&name.str()) {
                name.duplicate(e);
            }
            seen.push(name.str());
            let mut keys = Vec::new();
            for k in d.get("topologyKeys").items().map(|k| d.with(k.v)) {
                k.need(e, "");
                if keys.contains(&k.str()) {
                    k.duplicate(e);
                }
                keys.push(k.str());
                k.check(e, check::qualified_name);
            }
            let before = old
                .and_then(|o| meta::list_at(o, &["spec", "drivers"]).iter().find(|x| meta::str_at(x, &["name"]) == name.str()));
            if let Some(before) = before {
                let strip = |v: &Value| {
                    let mut v = v.clone();
                    meta::remove(&mut v, &["allocatable"]);
                    v
                };
                if !same(&strip(before), &strip(d.v)) {
                    drivers.with(d.v).invalid(e, crate::at::FIELD_IMMUTABLE);
                }
            }
        }
    },
    columns: &NODE_COLUMNS,
    cells: |obj, now| cells([print::name(obj), meta::list_at(obj, &["spec", "drivers"]).len().into(), print::age(obj, now)]),
    ..Rules::BASE
};

static DRIVER_COLUMNS: [Column; 8] = [
    NAME,
    flag("AttachRequired"),
    flag("PodInfoOnMount"),
    flag("StorageCapacity"),
    col("TokenRequests", ""),
    flag("RequiresRepublish"),
    col("Modes", ""),
    AGE,
];

pub static CSI_DRIVER: Rules = Rules {
    generation: true,
    unconditional_update: false,
    default: |obj| {
        set_default(obj, &["spec", "attachRequired"], true);
        for f in ["podInfoOnMount", "storageCapacity", "requiresRepublish", "seLinuxMount"] {
            set_default(obj, &["spec", f], false);
        }
        set_default(obj, &["spec", "fsGroupPolicy"], "ReadWriteOnceWithFSType");
        if meta::list_at(obj, &["spec", "volumeLifecycleModes"]).is_empty() {
            meta::set(obj, &["spec", "volumeLifecycleModes"], json!(["Persistent"]));
        }
    },
    validate: |root, old, e| {
        let s = root.get("spec");
        for (f, path) in
            [("attachRequired", "attachedRequired"), ("podInfoOnMount", "podInfoOnMount"), ("storageCapacity", "storageCapacity")]
        {
            if !s.has(f) {
                s.get(path).required(e, "");
            }
        }
        if s.has("fsGroupPolicy") {
            s.get("fsGroupPolicy").one_of(e, &["ReadWriteOnceWithFSType", "File", "None"]);
        }
        let mut audiences = Vec::new();
        for t in s.get("tokenRequests").items() {
            let (audience, seconds) = (t.get("audience"), t.get("expirationSeconds"));
            if audiences.contains(&audience.str()) {
                e.push(Error::duplicate(&audience.path(), audience.str()));
                continue;
            }
            audiences.push(audience.str());
            if seconds.opt_int().is_some_and(|n| n < 600) {
                seconds.invalid(e, "may not specify a duration less than 10 minutes");
            }
            if seconds.int() > 1 << 32 {
                seconds.invalid(e, "may not specify a duration larger than 2^32 seconds");
            }
        }
        for m in s.get("volumeLifecycleModes").items() {
            s.get("volumeLifecycleModes").with(m.v).one_of(e, &["Persistent", "Ephemeral"]);
        }
        let period = s.get("nodeAllocatableUpdatePeriodSeconds");
        if period.opt_int().is_some_and(|n| n < 10) {
            period.invalid(e, "must be greater than or equal to 10 seconds");
        }
        if s.has("serviceAccountTokenInSecrets") && s.get("tokenRequests").is_empty() {
            s.get("serviceAccountTokenInSecrets")
                .invalid(e, "serviceAccountTokenInSecrets is set but no tokenRequests are specified");
        }
        if let Some(old) = old {
            s.get("attachedRequired").with(s.get("attachRequired").v).immutable(e, value_at(old, &["spec", "attachRequired"]));
            s.get("volumeLifecycleModes").immutable(e, value_at(old, &["spec", "volumeLifecycleModes"]));
        }
    },
    warnings: |root, _| {
        if root.at(&["spec", "serviceAccountTokenInSecrets"]).present() || root.at(&["spec", "tokenRequests"]).is_empty() {
            return Vec::new();
        }
        vec!["spec.serviceAccountTokenInSecrets is unset; if supported by this CSI driver, set to true to prevent possible logging of tokens in volume attributes".into()]
    },
    columns: &DRIVER_COLUMNS,
    cells: |obj, now| {
        let flag = |f: &str| -> Value { meta::bool_at(obj, &["spec", f]).into() };
        let tokens = match meta::at(obj, &["spec", "tokenRequests"]) {
            None => "<unset>".to_owned(),
            Some(_) => meta::list_at(obj, &["spec", "tokenRequests"])
                .iter()
                .map(|t| meta::str_at(t, &["audience"]))
                .collect::<Vec<_>>()
                .join(","),
        };
        let attach = meta::at(obj, &["spec", "attachRequired"]).and_then(Value::as_bool).unwrap_or(true);
        let modes = print::strings(obj, &["spec", "volumeLifecycleModes"]).join(",");
        cells([
            print::name(obj),
            attach.into(),
            flag("podInfoOnMount"),
            flag("storageCapacity"),
            tokens.into(),
            flag("requiresRepublish"),
            print::or_none(&modes).into(),
            print::age(obj, now),
        ])
    },
    ..Rules::BASE
};

static CAPACITY_COLUMNS: [Column; 3] = [NAME, col("StorageClassName", ""), col("Capacity", "")];

pub static CSI_STORAGE_CAPACITY: Rules = Rules {
    unconditional_update: false,
    validate: |root, old, e| match old {
        None => {
            selectors::label_selector(root.get("nodeTopology"), e);
            root.get("storageClassName").check(e, names::subdomain);
            if resources::is_negative(root.get("capacity").v) {
                root.get("capacity").invalid(e, "must be greater than or equal to 0");
            }
        }
        Some(old) => {
            for f in ["nodeTopology", "storageClassName"] {
                root.get(f).immutable(e, value_at(old, &[f]));
            }
        }
    },
    columns: &CAPACITY_COLUMNS,
    cells: |obj, _| {
        let capacity = meta::at(obj, &["capacity"]).and_then(Value::as_str).unwrap_or("<unset>");
        cells([print::name(obj), print::text(obj, &["storageClassName"]), capacity.into()])
    },
    ..Rules::BASE
};
