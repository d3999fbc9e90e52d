//! StatefulSet: little of its spec may change.

use crate::at::{At, copy_from, list_mut, same, set_default, value_at};
use crate::core::persistent_volume_claim;
use crate::core::pod::{defaults, spec, warnings};
use crate::names::NameRule;
use crate::print::{self, AGE, CONTAINERS, IMAGES, NAME, cells, col};
use crate::rules::Rules;
use crate::strategy::Column;
use crate::workload::{self, at_most_100_percent, int_or_percent, int_or_percent_value};
use crate::{check, selectors};
use machinery::field::ErrorList;
use machinery::{Value, json, meta};

static COLUMNS: [Column; 5] = [NAME, col("Ready", "Number of the pod with ready state"), AGE, CONTAINERS, IMAGES];

/// Fields of the spec that an update may change.
const MUTABLE: [&str; 7] = [
    "replicas",
    "template",
    "updateStrategy",
    "minReadySeconds",
    "ordinals",
    "revisionHistoryLimit",
    "persistentVolumeClaimRetentionPolicy",
];

pub static STATEFUL_SET: Rules = Rules {
    name: NameRule::Label,
    default,
    validate: |root, old, e| {
        validate(root, old, e);
        if let Some(old) = old {
            let mut spec = root.get("spec").v.clone();
            let old_spec = value_at(old, &["spec"]);
            for f in MUTABLE {
                copy_from(&mut spec, old_spec, &[f]);
            }
            if !same(&spec, old_spec) {
                root.get("spec").forbidden(e, "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden");
            }
        }
    },
    validate_status: |root, old, e| {
        workload::replica_status(
            root,
            old,
            e,
            &["replicas", "readyReplicas", "currentReplicas", "updatedReplicas", "availableReplicas"],
        );
    },
    warnings: |root, old| {
        let mut out = workload::template_warnings(root.at(&["spec", "template"]), old, warnings::pod);
        let limit = root.at(&["spec", "revisionHistoryLimit"]);
        if limit.int() < 0 {
            out.push(
                "spec.revisionHistoryLimit: a negative value retains all historical revisions; a value >= 0 is recommended"
                    .into(),
            );
        }
        out
    },
    columns: &COLUMNS,
    cells: |obj, now| {
        let n = |path: &[&str]| meta::i64_at(obj, path).unwrap_or(0);
        let [names, images] = print::containers(meta::list_at(obj, &["spec", "template", "spec", "containers"]));
        let ready = format!("{}/{}", n(&["status", "readyReplicas"]), n(&["spec", "replicas"]));
        cells([print::name(obj), ready.into(), print::age(obj, now), names, images])
    },
    ..Rules::WITH_STATUS
};

fn default(obj: &mut Value) {
    workload::default_template(obj, &["spec"], defaults::pod_spec);
    set_default(obj, &["spec", "podManagementPolicy"], "OrderedReady");
    if meta::str_at(obj, &["spec", "updateStrategy", "type"]).is_empty() {
        set_default(obj, &["spec", "updateStrategy", "type"], "RollingUpdate");
        set_default(obj, &["spec", "updateStrategy", "rollingUpdate"], json!({}));
    }
    let rolling = meta::str_at(obj, &["spec", "updateStrategy", "type"]) == "RollingUpdate";
    if rolling && meta::at(obj, &["spec", "updateStrategy", "rollingUpdate"]).is_some() {
        set_default(obj, &["spec", "updateStrategy", "rollingUpdate", "partition"], 0);
    }
    for f in ["whenDeleted", "whenScaled"] {
        set_default(obj, &["spec", "persistentVolumeClaimRetentionPolicy", f], "Retain");
    }
    set_default(obj, &["spec", "replicas"], 1);
    set_default(obj, &["spec", "revisionHistoryLimit"], 10);
    for c in list_mut(obj, &["spec", "volumeClaimTemplates"]).filter(|c| c.is_object()) {
        set_default(c, &["kind"], "PersistentVolumeClaim");
        set_default(c, &["apiVersion"], "v1");
        set_default(c, &["status", "phase"], "Pending");
        persistent_volume_claim::default_spec(meta::entry(c, &["spec"]));
    }
}

fn validate(root: At, old: Option<&Value>, e: &mut ErrorList) {
    let s = root.get("spec");
    let policy = s.get("podManagementPolicy");
    if policy.need(e, "") && !["OrderedReady", "Parallel"].contains(&policy.str()) {
        policy.invalid(e, "must be 'OrderedReady' or 'Parallel'");
    }
    let strategy = s.get("updateStrategy");
    let rolling = strategy.get("rollingUpdate");
    match strategy.get("type").str() {
        "" => strategy.required(e, ""),
        "OnDelete" => {
            if rolling.present() {
                rolling.invalid(e, "only allowed for updateStrategy 'RollingUpdate'");
            }
        }
        "RollingUpdate" => {
            rolling.get("partition").non_negative(e);
            let unavailable = rolling.get("maxUnavailable");
            if unavailable.present() {
                int_or_percent(unavailable, e);
                if int_or_percent_value(unavailable) == 0 {
                    unavailable.invalid(e, "cannot be 0");
                }
                at_most_100_percent(unavailable, e);
            }
        }
        _ => strategy.invalid(e, "must be 'RollingUpdate' or 'OnDelete'"),
    }
    if let Some(retention) = s.get("persistentVolumeClaimRetentionPolicy").some() {
        for f in ["whenDeleted", "whenScaled"] {
            retention.get(f).one_of_in_order(e, &["Retain", "Delete"]);
        }
    }
    if old.is_none() {
        for c in s.get("volumeClaimTemplates").items() {
            persistent_volume_claim::claim_spec(c.get("spec"), e, false);
        }
        s.get("serviceName").check_if_set(e, check::dns1123_label);
    }
    s.get("replicas").non_negative(e);
    s.get("minReadySeconds").non_negative(e);
    s.get("ordinals.start").with(s.at(&["ordinals", "start"]).v).non_negative(e);
    workload::selector(s, e, "statefulset");
    pods(s, old, e);
}

/// The template as its pods will be: with a volume for each claim template.
fn pods(s: At, old: Option<&Value>, e: &mut ErrorList) {
    let t = s.get("template");
    let labels = t.at(&["metadata", "labels"]);
    let selector = s.get("selector");
    match selectors::matches(selector.v, meta::map_at(t.v, &["metadata", "labels"])) {
        None => selector.invalid(e, ""),
        Some(false) if !selector.present() || !selectors::is_empty(selector) => labels.invalid(e, workload::MISMATCH),
        Some(_) => {}
    }
    let mut filled = t.v.clone();
    for f in ["subdomain", "hostname"] {
        meta::remove(&mut filled, &["spec", f]);
    }
    let mut claims: Vec<&str> = s.get("volumeClaimTemplates").items().map(|c| meta::name(c.v)).collect();
    claims.sort_unstable();
    claims.dedup();
    if !claims.is_empty() && filled.is_object() {
        let own = meta::list_at(&filled, &["spec", "volumes"])
            .iter()
            .filter(|v| !claims.contains(&meta::str_at(v, &["name"])))
            .cloned();
        let made = claims.iter().map(|n| json!({"name": n, "persistentVolumeClaim": {"claimName": n}}));
        let all: Vec<Value> = made.chain(own).collect();
        meta::set(&mut filled, &["spec", "volumes"], all.into());
    }
    let root = json!({"spec": {"template": filled}});
    spec::template(At::root(&root).at(&["spec", "template"]), e, old.map(|o| value_at(o, &["spec", "template"])));
    workload::always_restarts(t, e, "StatefulSet");
}
