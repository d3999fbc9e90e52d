//! APIService: a group and version, and which server answers for it (kube-aggregator/pkg/apis/apiregistration).

use crate::at::{At, copy_from, set_default};
use crate::names::NameRule;
use crate::print::{self, AGE, NAME, cells, col};
use crate::rules::Rules;
use crate::strategy::Column;
use machinery::validation::{dns1035_label, dns1123_subdomain};
use machinery::{Value, json, meta, time};

static COLUMNS: [Column; 4] = [
    NAME,
    col("Service", "The reference to the service that hosts this API endpoint."),
    col("Available", "Whether this service is available."),
    AGE,
];

fn local(obj: &Value) -> bool {
    !meta::at(obj, &["spec", "service"]).is_some_and(Value::is_object)
}

fn available(obj: &Value) -> String {
    let condition = meta::list_at(obj, &["status", "conditions"]).iter().find(|c| c["type"] == "Available");
    match condition.map(|c| (meta::str_at(c, &["status"]), meta::str_at(c, &["reason"]))) {
        None => "Unknown".into(),
        Some((status, reason)) if status == "True" || reason.is_empty() => status.into(),
        Some((status, reason)) => format!("{status} ({reason})"),
    }
}

pub static API_SERVICE: Rules = Rules {
    name: NameRule::PathSegment,
    generation: false,
    unconditional_update: false,
    default: |obj| {
        if !local(obj) {
            set_default(obj, &["spec", "service", "port"], 443);
        }
    },
    create: |obj, cx| {
        // What this server serves itself is there at once.
        if local(obj) {
            let now = time::Timestamp::from_second(cx.now).map(time::format).unwrap_or_default();
            let condition = json!({"type": "Available", "status": "True", "reason": "Local",
                "message": "Local APIServices are always available", "lastTransitionTime": now});
            meta::set(obj, &["status"], json!({"conditions": [condition]}));
        }
    },
    validate: |root, _, e| {
        let s = root.get("spec");
        let (group, version) = (s.get("group"), s.get("version"));
        let name = format!("{}.{}", version.str(), group.str());
        if !meta::name(root.v).is_empty() && meta::name(root.v) != name {
            root.at(&["metadata", "name"]).invalid_str(e, format!("must be `spec.version+\".\"+spec.group`: {name:?}"));
        }
        if group.is_empty() && version.str() != "v1" {
            group.required(e, "only v1 may have an empty group and it better be legacy kube");
        }
        if !group.is_empty() {
            group.check(e, dns1123_subdomain);
        }
        version.check(e, dns1035_label);
        for (field, max) in [("groupPriorityMinimum", 20000), ("versionPriority", 1000)] {
            let at = s.get(field);
            if !(1..=max).contains(&at.int()) {
                at.invalid_value(e, at.int(), format!("must be positive and less than {max}"));
            }
        }
        service(s, e);
    },
    update_status: |obj, old, _| {
        for f in ["labels", "annotations", "finalizers", "ownerReferences"] {
            copy_from(obj, old, &["metadata", f]);
        }
    },
    validate_status: |root, _, e| {
        for c in root.at(&["status", "conditions"]).items() {
            c.get("status").one_of_in_order(e, &["True", "False", "Unknown"]);
        }
    },
    columns: &COLUMNS,
    cells: |obj, now| {
        let service = match meta::at(obj, &["spec", "service"]).filter(|s| s.is_object()) {
            Some(s) => format!("{}/{}", meta::str_at(s, &["namespace"]), meta::str_at(s, &["name"])),
            None => "Local".into(),
        };
        cells([print::name(obj), service.into(), available(obj).into(), print::age(obj, now)])
    },
    ..Rules::WITH_STATUS
};

fn service(s: At, e: &mut machinery::field::ErrorList) {
    let (bundle, insecure, service) = (s.get("caBundle"), s.get("insecureSkipTLSVerify"), s.get("service"));
    if !service.present() {
        if !bundle.is_empty() {
            // Upstream counts the decoded bytes.
            let bytes = bundle.str().trim_end_matches('=').len() * 3 / 4;
            bundle.invalid_value(e, format!("{bytes} bytes"), "local APIServices may not have a caBundle");
        }
        if insecure.bool() {
            insecure.invalid_value(e, true, "local APIServices may not have insecureSkipTLSVerify");
        }
        return;
    }
    service.get("namespace").need(e, "");
    service.get("name").need(e, "");
    let port = service.get("port");
    if !(1..=65535).contains(&port.int()) {
        port.invalid_value(e, port.int(), "port is not valid: must be between 1 and 65535, inclusive");
    }
    if insecure.bool() && !bundle.is_empty() {
        insecure.invalid_value(e, true, "may not be true if caBundle is present");
    }
}
