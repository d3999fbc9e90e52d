//! ReplicaSet.

use crate::at::set_default;
use crate::core::pod::{defaults, warnings};
use crate::rules::Rules;
use crate::selectors;
use crate::workload;

pub static REPLICA_SET: Rules = Rules {
    default: |obj| {
        workload::default_template(obj, &["spec"], defaults::pod_spec);
        set_default(obj, &["spec", "replicas"], 1);
    },
    validate: |root, old, e| {
        let s = root.get("spec");
        s.get("replicas").non_negative(e);
        s.get("minReadySeconds").non_negative(e);
        // Upstream validates both kinds with one function, whose text names the other.
        workload::selector(s, e, "deployment");
        workload::template(s, old, e, "ReplicaSet");
        if let Some(old) = old {
            workload::immutable_selector(root, old, e);
        }
    },
    validate_status: |root, old, e| {
        workload::replica_status(
            root,
            old,
            e,
            &["replicas", "fullyLabeledReplicas", "readyReplicas", "availableReplicas", "terminatingReplicas"],
        );
    },
    warnings: |root, old| workload::template_warnings(root.at(&["spec", "template"]), old, warnings::pod),
    fields: &["status.replicas"],
    columns: &workload::REPLICA_COLUMNS,
    cells: |obj, now| {
        workload::replica_cells(obj, selectors::format_selector(crate::at::value_at(obj, &["spec", "selector"])), now)
    },
    ..Rules::WITH_STATUS
};
