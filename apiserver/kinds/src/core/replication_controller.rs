//! ReplicationController: the ReplicaSet of old, with a map for a selector.

use super::pod::{defaults, spec, warnings};
use crate::at::{At, value_at};
use crate::rules::Rules;
use crate::selectors;
use crate::workload;
use machinery::field::ErrorList;
use machinery::{Value, meta};

pub static REPLICATION_CONTROLLER: Rules = Rules {
    orphans: true,
    default: |obj| {
        let labels = value_at(obj, &["spec", "template", "metadata", "labels"]).clone();
        if !labels.is_null() {
            for path in [&["spec", "selector"][..], &["metadata", "labels"]] {
                if meta::map_at(obj, path).is_empty() {
                    meta::set(obj, path, labels.clone());
                }
            }
        }
        crate::at::set_default(obj, &["spec", "replicas"], 1);
        if meta::at(obj, &["spec", "template"]).is_some_and(Value::is_object) {
            workload::default_template(obj, &["spec"], defaults::pod_spec);
        }
    },
    validate: |root, old, e| {
        let s = root.get("spec");
        s.get("minReadySeconds").non_negative(e);
        if s.get("selector").is_empty() {
            s.get("selector").required(e, "");
        }
        if s.has("replicas") {
            s.get("replicas").non_negative(e);
        } else {
            s.get("replicas").required(e, "");
        }
        template(s, old, e);
    },
    validate_status: |root, old, e| {
        workload::replica_status(root, old, e, &["replicas", "fullyLabeledReplicas", "readyReplicas", "availableReplicas"])
    },
    warnings: |root, old| workload::template_warnings(root.at(&["spec", "template"]), old, warnings::pod),
    fields: &["status.replicas"],
    columns: &workload::REPLICA_COLUMNS,
    cells: |obj, now| workload::replica_cells(obj, selectors::format_labels(meta::map_at(obj, &["spec", "selector"])), now),
    ..Rules::WITH_STATUS
};

fn template(s: At, old: Option<&Value>, e: &mut ErrorList) {
    let t = s.get("template");
    if !t.present() {
        return t.required(e, "");
    }
    let labels = t.at(&["metadata", "labels"]);
    if s.get("selector").entries().any(|(k, v)| labels.v.get(k) != Some(v.v)) {
        labels.invalid(e, workload::MISMATCH);
    }
    spec::template(t, e, old.map(|o| value_at(o, &["spec", "template"])));
    let policy = t.at(&["spec", "restartPolicy"]);
    if policy.str() != "Always" {
        policy.not_supported(e, &["Always"]);
    }
    if t.at(&["spec", "activeDeadlineSeconds"]).present() {
        t.at(&["spec", "activeDeadlineSeconds"]).forbidden(e, "activeDeadlineSeconds in ReplicationController is not Supported");
    }
}
