//! Deployment.

use crate::at::{At, set_default};
use crate::core::pod::{defaults, warnings};
use crate::print::{self, AGE, CONTAINERS, IMAGES, NAME, cells, col, wide};
use crate::rules::Rules;
use crate::strategy::Column;
use crate::workload::{self, at_most_100_percent, int_or_percent, int_or_percent_value};
use machinery::field::ErrorList;
use machinery::labels::Selector;
use machinery::meta;

static COLUMNS: [Column; 8] = [
    NAME,
    col("Ready", "Number of the pod with ready state"),
    col("Up-to-date", ""),
    col("Available", ""),
    AGE,
    CONTAINERS,
    IMAGES,
    wide("Selector", ""),
];

pub static DEPLOYMENT: Rules = Rules {
    default: |obj| {
        workload::default_template(obj, &["spec"], defaults::pod_spec);
        set_default(obj, &["spec", "replicas"], 1);
        set_default(obj, &["spec", "strategy", "type"], "RollingUpdate");
        if meta::str_at(obj, &["spec", "strategy", "type"]) == "RollingUpdate" {
            for f in ["maxUnavailable", "maxSurge"] {
                set_default(obj, &["spec", "strategy", "rollingUpdate", f], "25%");
            }
        }
        set_default(obj, &["spec", "revisionHistoryLimit"], 10);
        set_default(obj, &["spec", "progressDeadlineSeconds"], 600);
    },
    update: |obj, old| {
        // Annotations are copied to ReplicaSets, so a change of theirs is one for the controller, too.
        let same = |path: &[&str]| crate::at::same_at(obj, old, path);
        if !same(&["metadata", "annotations"]) && same(&["spec"]) {
            let generation = meta::i64_at(old, &["metadata", "generation"]).unwrap_or(0);
            meta::set(obj, &["metadata", "generation"], generation.saturating_add(1).into());
        }
    },
    validate: |root, old, e| {
        let s = root.get("spec");
        s.get("replicas").non_negative(e);
        workload::selector(s, e, "deployment");
        workload::template(s, old, e, "ReplicaSet");
        strategy(s.get("strategy"), e);
        s.get("minReadySeconds").non_negative(e);
        s.get("revisionHistoryLimit").non_negative(e);
        let deadline = s.get("progressDeadlineSeconds");
        if deadline.present() {
            deadline.non_negative(e);
            if deadline.int() <= s.get("minReadySeconds").int() {
                deadline.invalid(e, "must be greater than minReadySeconds");
            }
        }
        if let Some(old) = old {
            workload::immutable_selector(root, old, e);
        }
    },
    validate_status: |root, old, e| {
        workload::replica_status(
            root,
            old,
            e,
            &["replicas", "updatedReplicas", "readyReplicas", "availableReplicas", "unavailableReplicas", "terminatingReplicas"],
        );
    },
    warnings: |root, old| {
        let mut out = workload::name_warning(root, old);
        out.extend(workload::template_warnings(root.at(&["spec", "template"]), old, warnings::pod));
        out
    },
    columns: &COLUMNS,
    cells: |obj, now| {
        let n = |path: &[&str]| meta::i64_at(obj, path).unwrap_or(0);
        let [names, images] = print::containers(meta::list_at(obj, &["spec", "template", "spec", "containers"]));
        let selector = Selector::from_label_selector(meta::at(obj, &["spec", "selector"]))
            .map_or_else(|_| "<invalid>".into(), |s| s.to_string());
        cells([
            print::name(obj),
            format!("{}/{}", n(&["status", "readyReplicas"]), n(&["spec", "replicas"])).into(),
            n(&["status", "updatedReplicas"]).into(),
            n(&["status", "availableReplicas"]).into(),
            print::age(obj, now),
            names,
            images,
            selector.into(),
        ])
    },
    ..Rules::WITH_STATUS
};

fn strategy(s: At, e: &mut ErrorList) {
    let rolling = s.get("rollingUpdate");
    match s.get("type").str() {
        "Recreate" => {
            if rolling.present() {
                rolling.forbidden(e, "may not be specified when strategy `type` is 'Recreate'");
            }
        }
        "RollingUpdate" if !rolling.present() => rolling.required(e, "this should be defaulted and never be nil"),
        "RollingUpdate" => {
            let (unavailable, surge) = (rolling.get("maxUnavailable"), rolling.get("maxSurge"));
            int_or_percent(unavailable, e);
            int_or_percent(surge, e);
            if int_or_percent_value(unavailable) == 0 && int_or_percent_value(surge) == 0 {
                unavailable.invalid(e, "may not be 0 when `maxSurge` is 0");
            }
            at_most_100_percent(unavailable, e);
        }
        _ => e.push(machinery::field::Error::not_supported(&s.path(), s.v.clone(), &["Recreate", "RollingUpdate"])),
    }
}
