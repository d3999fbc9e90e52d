//! DaemonSet: `templateGeneration` lives on in an annotation, below the surface of apps/v1.

use crate::at::{At, set_default, value_at};
use crate::core::pod::{defaults, spec, warnings};
use crate::print::{self, AGE, CONTAINERS, IMAGES, NAME, cells, col, int, wide};
use crate::rules::Rules;
use crate::selectors;
use crate::strategy::Column;
use crate::workload::{self, at_most_100_percent, int_or_percent, int_or_percent_value};
use machinery::field::{Error, ErrorList};
use machinery::meta;

static COLUMNS: [Column; 11] = [
    NAME,
    int("Desired", ""),
    int("Current", ""),
    int("Ready", ""),
    int("Up-to-date", ""),
    int("Available", ""),
    col("Node Selector", ""),
    AGE,
    CONTAINERS,
    IMAGES,
    wide("Selector", ""),
];

const TEMPLATE_GENERATION: &str = "deprecated.daemonset.template.generation";

fn set_template_generation(obj: &mut machinery::Value, n: i64) {
    meta::entry(obj, &["metadata", "annotations"]).insert(TEMPLATE_GENERATION.into(), n.to_string().into());
}

pub static DAEMON_SET: Rules = Rules {
    default: |obj| {
        workload::default_template(obj, &["spec"], defaults::pod_spec);
        set_default(obj, &["spec", "updateStrategy", "type"], "RollingUpdate");
        if meta::str_at(obj, &["spec", "updateStrategy", "type"]) == "RollingUpdate" {
            for (f, n) in [("maxUnavailable", 1), ("maxSurge", 0)] {
                set_default(obj, &["spec", "updateStrategy", "rollingUpdate", f], n);
            }
        }
        set_default(obj, &["spec", "revisionHistoryLimit"], 10);
        // Go's internal type has it as a number, which is always written.
        if !meta::annotations(obj).contains_key(TEMPLATE_GENERATION) {
            set_template_generation(obj, 0);
        }
    },
    create: |obj, _| {
        let given = meta::annotations(obj).get(TEMPLATE_GENERATION).and_then(|v| v.as_str()?.parse().ok()).unwrap_or(0);
        set_template_generation(obj, if given < 1 { 1 } else { given });
    },
    update: |obj, old| {
        let before = meta::annotations(old).get(TEMPLATE_GENERATION).and_then(|v| v.as_str()?.parse::<i64>().ok()).unwrap_or(0);
        let changed = !crate::at::same_at(obj, old, &["spec", "template"]);
        set_template_generation(obj, before.saturating_add(i64::from(changed)));
    },
    validate: |root, old, e| {
        let s = root.get("spec");
        let selector = s.get("selector");
        selectors::label_selector(selector, e);
        let t = s.get("template");
        let labels = t.at(&["metadata", "labels"]);
        if !selector.present() || selectors::matches(selector.v, meta::map_at(t.v, &["metadata", "labels"])) == Some(false) {
            labels.invalid(e, workload::MISMATCH);
        }
        if selector.present() && selectors::is_empty(selector) {
            selector.invalid(e, "empty selector is invalid for daemonset");
        }
        spec::template(t, e, old.map(|o| value_at(o, &["spec", "template"])));
        workload::always_restarts(t, e, "DaemonSet");
        s.get("minReadySeconds").non_negative(e);
        strategy(s.get("updateStrategy"), e);
        s.get("revisionHistoryLimit").non_negative(e);
        if let Some(old) = old {
            workload::immutable_selector(root, old, e);
        }
    },
    validate_status: |root, old, e| {
        workload::replica_status(
            root,
            old,
            e,
            &[
                "currentNumberScheduled",
                "numberMisscheduled",
                "desiredNumberScheduled",
                "numberReady",
                "updatedNumberScheduled",
                "numberAvailable",
                "numberUnavailable",
            ],
        );
    },
    warnings: |root, old| workload::template_warnings(root.at(&["spec", "template"]), old, warnings::pod),
    columns: &COLUMNS,
    cells: |obj, now| {
        let status = |f: &str| print::number(obj, &["status", f]);
        let [names, images] = print::containers(meta::list_at(obj, &["spec", "template", "spec", "containers"]));
        cells([
            print::name(obj),
            status("desiredNumberScheduled"),
            status("currentNumberScheduled"),
            status("numberReady"),
            status("updatedNumberScheduled"),
            status("numberAvailable"),
            selectors::format_labels(meta::map_at(obj, &["spec", "template", "spec", "nodeSelector"])).into(),
            print::age(obj, now),
            names,
            images,
            selectors::format_selector(value_at(obj, &["spec", "selector"])).into(),
        ])
    },
    ..Rules::WITH_STATUS
};

fn strategy(s: At, e: &mut ErrorList) {
    let rolling = s.get("rollingUpdate");
    match s.get("type").str() {
        "OnDelete" => {}
        "RollingUpdate" if !rolling.present() => rolling.required(e, ""),
        "RollingUpdate" => {
            let (unavailable, surge) = (rolling.get("maxUnavailable"), rolling.get("maxSurge"));
            for at in [unavailable, surge] {
                int_or_percent(at, e);
            }
            for at in [unavailable, surge] {
                at_most_100_percent(at, e);
            }
            match (int_or_percent_value(unavailable) != 0, int_or_percent_value(surge) != 0) {
                (true, true) => surge.invalid(e, "may not be set when maxUnavailable is non-zero"),
                (false, false) => unavailable.required(e, "cannot be 0 when maxSurge is 0"),
                _ => {}
            }
        }
        _ => e.push(Error::not_supported(&s.path(), s.v.clone(), &["RollingUpdate", "OnDelete"])),
    }
}
