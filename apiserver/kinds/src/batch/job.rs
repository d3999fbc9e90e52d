//! Job: a generated selector, completion modes, failure and success policies, a status that must add up.

use crate::at::{At, copy_from, list_mut, same, set_default, value_at};
use crate::core::pod::{defaults, spec, warnings};
use crate::print::{self, AGE, CONTAINERS, IMAGES, NAME, col, wide};
use crate::rules::Rules;
use crate::strategy::{Column, Context};
use crate::{check, selectors, workload};
use machinery::field::{Error, ErrorList, Path};
use machinery::{Value, duration, meta};
use std::collections::HashSet;

static COLUMNS: [Column; 8] = [
    NAME,
    col("Status", "Status of the job."),
    col("Completions", ""),
    col("Duration", "Time required to complete the job."),
    AGE,
    CONTAINERS,
    IMAGES,
    wide("Selector", ""),
];

pub static JOB: Rules = Rules {
    orphans: true,
    default,
    create: generate_selector,
    validate: |root, old, e| {
        let s = root.get("spec");
        if old.is_none() {
            generated_selector(root, e);
        }
        job_template(s, old.map(|o| value_at(o, &["spec"])), e);
        let selector = s.get("selector");
        if selector.present() {
            selectors::label_selector(selector, e);
        } else {
            selector.required(e, "");
        }
        let labels = s.at(&["template", "metadata", "labels"]);
        if selectors::matches(selector.v, meta::map_at(s.v, &["template", "metadata", "labels"])) == Some(false) {
            labels.invalid(e, workload::MISMATCH);
        }
        match old {
            Some(old) => update(s, old, e),
            None => {
                let n = s.get("completions").int();
                let pod = format!("{}-{}", meta::name(root.v), n - 1);
                if s.get("completionMode").str() == "Indexed" && n > 0 && !check::dns1123_label(&pod).is_empty() {
                    root.at(&["metadata", "name"])
                        .invalid(e, format!("will not able to create pod with invalid DNS label: {pod}"));
                }
            }
        }
    },
    validate_status: status,
    warnings: |root, old| {
        let mut out = crate::workload::name_warning(root, old);
        let s = root.get("spec");
        if s.get("completionMode").str() == "Indexed"
            && s.get("completions").int() > 100_000
            && s.get("parallelism").int() > 10_000
        {
            out.push("In Indexed Jobs with a number of completions higher than 10^5 and a parallelism higher than 10^4, Kubernetes might not be able to track completedIndexes when a big number of indexes fail".into());
        }
        out.extend(workload::template_warnings(s.get("template"), old, warnings::pod));
        out
    },
    fields: &["status.successful"],
    columns: &COLUMNS,
    cells,
    ..Rules::WITH_STATUS
};

fn cells(obj: &Value, now: i64) -> crate::strategy::PrinterRow {
    let n = |path: &[&str]| meta::i64_at(obj, path);
    let succeeded = n(&["status", "succeeded"]).unwrap_or(0);
    let completions = match n(&["spec", "completions"]) {
        Some(c) => format!("{succeeded}/{c}"),
        None => match n(&["spec", "parallelism"]).unwrap_or(0) {
            p if p > 1 => format!("{succeeded}/1 of {p}"),
            _ => format!("{succeeded}/1"),
        },
    };
    let time = |f: &str| print::seconds(meta::str_at(obj, &["status", f]));
    let took = time("startTime")
        .map_or(String::new(), |start| duration::human(time("completionTime").unwrap_or(now).saturating_sub(start)));
    let is = |c: &str| condition(obj, c);
    let status = match () {
        () if is("Complete") => "Complete",
        () if is("Failed") => "Failed",
        () if meta::deletion_timestamp(obj).is_some() => "Terminating",
        () if is("Suspended") => "Suspended",
        () if is("FailureTarget") => "FailureTarget",
        () if is("SuccessCriteriaMet") => "SuccessCriteriaMet",
        () => "Running",
    };
    let [names, images] = print::containers(meta::list_at(obj, &["spec", "template", "spec", "containers"]));
    print::cells([
        print::name(obj),
        status.into(),
        completions.into(),
        took.into(),
        print::age(obj, now),
        names,
        images,
        selectors::format_selector(value_at(obj, &["spec", "selector"])).into(),
    ])
}

fn condition(obj: &Value, kind: &str) -> bool {
    let list = meta::list_at(obj, &["status", "conditions"]);
    list.iter().find(|c| meta::str_at(c, &["type"]) == kind).is_some_and(|c| meta::str_at(c, &["status"]) == "True")
}

/// Condition patterns of a failure policy mean `True`.
pub fn default_failure_policy(obj: &mut Value, at: &[&str]) {
    let path: Vec<&str> = at.iter().copied().chain(["spec", "podFailurePolicy", "rules"]).collect();
    for r in list_mut(obj, &path) {
        for p in list_mut(r, &["onPodConditions"]).filter(|p| p.is_object()) {
            set_default(p, &["status"], "True");
        }
    }
}

fn default(obj: &mut Value) {
    workload::default_template(obj, &["spec"], defaults::pod_spec);
    default_failure_policy(obj, &[]);
    let has = |obj: &Value, f: &str| meta::at(obj, &["spec", f]).is_some();
    if !has(obj, "completions") && !has(obj, "parallelism") {
        set_default(obj, &["spec", "completions"], 1);
    }
    set_default(obj, &["spec", "parallelism"], 1);
    let limit = if has(obj, "backoffLimitPerIndex") { i64::from(i32::MAX) } else { 6 };
    set_default(obj, &["spec", "backoffLimit"], limit);
    let labels = value_at(obj, &["spec", "template", "metadata", "labels"]).clone();
    if !labels.is_null() && meta::labels(obj).is_empty() {
        meta::set(obj, &["metadata", "labels"], labels);
    }
    set_default(obj, &["spec", "completionMode"], "NonIndexed");
    set_default(obj, &["spec", "suspend"], false);
    let replacement = if has(obj, "podFailurePolicy") { "Failed" } else { "TerminatingOrFailed" };
    set_default(obj, &["spec", "podReplacementPolicy"], replacement);
    set_default(obj, &["spec", "manualSelector"], false);
}

const UID_LABELS: [&str; 2] = ["controller-uid", "batch.kubernetes.io/controller-uid"];
const NAME_LABELS: [&str; 2] = ["job-name", "batch.kubernetes.io/job-name"];

/// Unless the user selects: the pods are those labelled with the job's UID. Needs `metadata.uid`.
fn generate_selector(obj: &mut Value, _: &Context) {
    if meta::bool_at(obj, &["spec", "manualSelector"]) {
        return;
    }
    let (name, uid) = (Value::from(meta::name(obj)), Value::from(meta::uid(obj)));
    let labels = meta::entry(obj, &["spec", "template", "metadata", "labels"]);
    for l in NAME_LABELS {
        labels.entry(l).or_insert_with(|| name.clone());
    }
    for l in UID_LABELS {
        labels.entry(l).or_insert_with(|| uid.clone());
    }
    meta::entry(obj, &["spec", "selector", "matchLabels"]).entry(UID_LABELS[1]).or_insert(uid);
}

fn generated_selector(root: At, e: &mut ErrorList) {
    let s = root.get("spec");
    if s.get("manualSelector").bool() || !s.has("selector") {
        return;
    }
    let (name, uid) = (meta::name(root.v), meta::uid(root.v));
    let template = s.at(&["template", "metadata", "labels"]);
    let pairs = [(UID_LABELS[0], uid), (NAME_LABELS[0], name), (UID_LABELS[1], uid), (NAME_LABELS[1], name)];
    for (label, want) in pairs {
        let at = template.key(label);
        if !at.present() {
            at.required(e, format!("must be '{want}'"));
        } else if at.str() != want {
            at.invalid_value(e, template.v.clone(), format!("must be '{want}'"));
        }
    }
    let expected = pairs.iter().map(|(k, v)| ((*k).to_owned(), Value::from(*v))).collect();
    if selectors::matches(s.get("selector").v, &expected) == Some(false) {
        s.get("selector").invalid(e, "`selector` not auto-generated");
    }
}

/// The spec of a Job, or of a CronJob's template.
pub fn job_template(s: At, old: Option<&Value>, e: &mut ErrorList) {
    for f in [
        "parallelism",
        "completions",
        "activeDeadlineSeconds",
        "backoffLimit",
        "ttlSecondsAfterFinished",
        "backoffLimitPerIndex",
        "maxFailedIndexes",
    ] {
        s.get(f).non_negative(e);
    }
    let (max_failed, per_index, completions, parallelism) =
        (s.get("maxFailedIndexes"), s.get("backoffLimitPerIndex"), s.get("completions"), s.get("parallelism"));
    if max_failed.present() && !per_index.present() {
        per_index.required(e, "when maxFailedIndexes is specified");
    }
    let managed = s.get("managedBy");
    if managed.present() {
        e.extend(machinery::validation::domain_prefixed_path(&managed.path(), managed.str()));
        if managed.len() > 63 {
            managed.too_long(e, 63);
        }
    }
    let indexed = s.get("completionMode").str() == "Indexed";
    if s.has("completionMode") {
        s.get("completionMode").one_of_in_order(e, &["NonIndexed", "Indexed"]);
    }
    if indexed {
        if !completions.present() {
            completions.required(e, "when completion mode is Indexed");
        }
        if parallelism.int() > 100_000 {
            parallelism.invalid(e, "must be less than or equal to 100000 when completion mode is Indexed");
        }
        if completions.present() && max_failed.present() && max_failed.int() > completions.int() {
            max_failed.invalid(e, "must be less than or equal to completions");
        }
        if max_failed.int() > 100_000 {
            max_failed.invalid(e, "must be less than or equal to 100000");
        }
        if completions.int() > 100_000 && per_index.present() {
            const HIGH: &str =
                "must be less than or equal to 10000 when completions are above 100000 and used with backoff limit per index";
            if !max_failed.present() {
                max_failed.required(e, "must be specified when completions is above 100000");
            }
            for f in [parallelism, max_failed] {
                if f.int() > 10_000 {
                    f.invalid(e, HIGH);
                }
            }
        }
    } else {
        for f in [per_index, max_failed] {
            if f.present() {
                f.invalid(e, "requires indexed completion mode");
            }
        }
    }
    let failure = s.get("podFailurePolicy");
    if failure.present() {
        failure_policy(s, failure, e);
    }
    let success = s.get("successPolicy");
    if success.present() {
        if indexed { success_policy(s, success, e) } else { success.invalid(e, "requires indexed completion mode") }
    }
    let replacement = s.get("podReplacementPolicy");
    if replacement.present() {
        replacement.one_of(e, if failure.present() { &["Failed"] } else { &["Failed", "TerminatingOrFailed"] });
    }
    let t = s.get("template");
    spec::template(t, e, old.map(|o| value_at(o, &["template"])));
    let policy = t.at(&["spec", "restartPolicy"]);
    match policy.str() {
        "" | "Always" => policy.required(e, "valid values: \"OnFailure\", \"Never\""),
        "OnFailure" if failure.present() => policy.invalid(e, "only \"Never\" is supported when podFailurePolicy is specified"),
        "OnFailure" | "Never" => {}
        _ => {
            policy.one_of_in_order(e, &["OnFailure", "Never"]);
        }
    }
}

/// An error without a value: upstream omits it for conditions and rules.
fn omitted(at: At, e: &mut ErrorList, detail: &str) {
    e.push(Error::invalid(&at.path(), "", detail));
}

fn failure_policy(s: At, p: At, e: &mut ErrorList) {
    let rules = p.get("rules");
    if rules.len() > 20 {
        rules.too_many(e, 20);
    }
    let names: HashSet<&str> = ["containers", "initContainers"]
        .iter()
        .flat_map(|l| s.at(&["template", "spec"]).get(l).items())
        .map(|c| c.get("name").str())
        .collect();
    for r in rules.items() {
        let (action, codes, conditions) = (r.get("action"), r.get("onExitCodes"), r.get("onPodConditions"));
        match action.str() {
            "" => action.required(e, "valid values: [\"Count\" \"FailIndex\" \"FailJob\" \"Ignore\"]"),
            "FailIndex" => {
                if !s.has("backoffLimitPerIndex") {
                    action.invalid(e, "requires the backoffLimitPerIndex to be set");
                }
            }
            _ => drop(action.one_of(e, &["Count", "FailIndex", "FailJob", "Ignore"])),
        }
        if codes.present() {
            exit_codes(codes, e, &names);
        }
        if conditions.len() > 20 {
            conditions.too_many(e, 20);
        }
        for c in conditions.items() {
            c.get("type").check(e, check::qualified_name);
            if c.get("status").need(e, "valid values: [\"False\" \"True\" \"Unknown\"]") {
                c.get("status").one_of(e, &["False", "True", "Unknown"]);
            }
        }
        match (codes.present(), !conditions.is_empty()) {
            (true, true) => omitted(r, e, "specifying both OnExitCodes and OnPodConditions is not supported"),
            (false, false) => omitted(r, e, "specifying one of OnExitCodes and OnPodConditions is required"),
            _ => {}
        }
    }
}

fn exit_codes(c: At, e: &mut ErrorList, names: &HashSet<&str>) {
    let (operator, values, name) = (c.get("operator"), c.get("values"), c.get("containerName"));
    if operator.need(e, "valid values: [\"In\" \"NotIn\"]") {
        operator.one_of(e, &["In", "NotIn"]);
    }
    if name.present() && !names.contains(name.str()) {
        name.invalid(e, "must be one of the container or initContainer names in the pod template");
    }
    if values.is_empty() {
        values.invalid(e, "at least one value is required");
    } else if values.len() > 255 {
        values.too_many(e, 255);
    }
    let (mut seen, mut last, mut ordered) = (HashSet::new(), i64::MIN, true);
    for v in values.items() {
        if operator.str() == "In" && v.int() == 0 {
            v.invalid(e, "must not be 0 for the In operator");
        }
        if !seen.insert(v.int()) {
            v.duplicate(e);
        }
        ordered &= last <= v.int();
        last = v.int();
    }
    if !ordered {
        values.invalid(e, "must be ordered");
    }
}

/// `1,3-5`: ascending, below `completions`; how many indexes it names.
fn indexes(text: &str, completions: i64) -> Result<i64, String> {
    if text.is_empty() {
        return Ok(0);
    }
    let (mut last, mut total) = (-1i64, 0);
    for interval in text.split(',') {
        let ends: Vec<&str> = interval.split('-').collect();
        if ends.len() > 2 {
            return Err(format!(
                "the fragment {interval:?} violates the requirement that an index interval can have at most two parts separated by '-'"
            ));
        }
        let parse = |s: &str| s.parse::<i64>().map_err(|_| format!("cannot convert string to integer for index: {s:?}"));
        let first = parse(ends[0])?;
        let end = if ends.len() == 2 { parse(ends[1])? } else { first };
        for n in [first, end] {
            if n >= completions {
                return Err(format!("too large index: {n:?}", n = n.to_string()));
            }
        }
        if first <= last {
            return Err(format!("non-increasing order, previous: {last}, current: {first}"));
        }
        if ends.len() == 2 && first >= end {
            return Err(format!("non-increasing order, previous: {first}, current: {end}"));
        }
        last = end;
        total += end - first + 1;
    }
    Ok(total)
}

fn success_policy(s: At, p: At, e: &mut ErrorList) {
    let rules = p.get("rules");
    if rules.is_empty() {
        rules.required(e, "at least one rules must be specified when the successPolicy is specified");
    }
    if rules.len() > 20 {
        rules.too_many(e, 20);
    }
    let completions = s.get("completions").int();
    for r in rules.items() {
        let (count, list) = (r.get("succeededCount"), r.get("succeededIndexes"));
        if !count.present() && !list.present() {
            r.required(e, "at least one of succeededCount or succeededIndexes must be specified");
        }
        let mut total = 0;
        if list.present() {
            if list.len() > 64 * 1024 {
                list.too_long(e, 64 * 1024);
            }
            match indexes(list.str(), completions) {
                Ok(n) => total = n,
                Err(why) => list.invalid(e, format!("error parsing succeededIndexes: {why}")),
            }
        }
        if count.present() {
            count.non_negative(e);
            if count.int() > completions {
                count.invalid(e, format!("must be less than or equal to {completions} (the number of specified completions)"));
            }
            if list.present() && count.int() > total {
                count.invalid(
                    e,
                    format!(
                        "must be less than or equal to {total} (the number of indexes in the specified succeededIndexes field)"
                    ),
                );
            }
        }
    }
}

/// What may change: completions of an elastic indexed job, a suspended job's scheduling and resources.
fn update(s: At, old: &Value, e: &mut ErrorList) {
    let old_spec = value_at(old, &["spec"]);
    let (completions, before) = (s.get("completions"), value_at(old_spec, &["completions"]));
    if !same(completions.v, before) {
        if s.get("completionMode").str() != "Indexed" {
            completions.invalid(e, crate::at::FIELD_IMMUTABLE);
        } else if completions.present() && completions.opt_int() != s.get("parallelism").opt_int() {
            completions.invalid(e, format!("can only be modified in tandem with {}", Path::new("spec").child("parallelism")));
        }
    }
    s.get("selector").immutable(e, value_at(old_spec, &["selector"]));
    let mut template = value_at(old_spec, &["template"]).clone();
    let not_started = meta::at(old, &["status", "startTime"]).is_none();
    let suspended = meta::bool_at(old_spec, &["suspend"]);
    if suspended && (not_started || condition(old, "Suspended")) && meta::i64_at(old, &["status", "active"]).unwrap_or(0) == 0 {
        let new = s.get("template").v;
        copy_from(&mut template, new, &["spec", "affinity", "nodeAffinity"]);
        if meta::map_at(&template, &["spec", "affinity"]).is_empty() {
            meta::remove(&mut template, &["spec", "affinity"]);
        }
        for path in [
            &["spec", "nodeSelector"][..],
            &["spec", "tolerations"],
            &["spec", "schedulingGates"],
            &["metadata", "annotations"],
            &["metadata", "labels"],
        ] {
            copy_from(&mut template, new, path);
        }
        for list in ["containers", "initContainers"] {
            for (c, n) in list_mut(&mut template, &["spec", list]).zip(meta::list_at(new, &["spec", list])) {
                copy_from(c, n, &["resources"]);
            }
        }
    }
    s.get("template").immutable(e, &template);
    for f in ["completionMode", "podFailurePolicy", "backoffLimitPerIndex", "managedBy", "successPolicy"] {
        s.get(f).immutable(e, value_at(old_spec, &[f]));
    }
}

fn status(root: At, old: &Value, e: &mut ErrorList) {
    let (s, spec) = (root.get("status"), root.get("spec"));
    for f in ["active", "succeeded", "failed", "ready", "terminating"] {
        s.get(f).non_negative(e);
    }
    let mut seen = HashSet::new();
    let uncounted = s.get("uncountedTerminatedPods");
    for u in ["succeeded", "failed"].iter().flat_map(|l| uncounted.get(l).items()) {
        if u.is_empty() {
            u.invalid_str(e, "must not be empty");
        } else if !seen.insert(u.str()) {
            u.duplicate(e);
        }
    }
    let is = |c: &str| condition(root.v, c);
    let (complete, failed, target, met) = (is("Complete"), is("Failed"), is("FailureTarget"), is("SuccessCriteriaMet"));
    let finished = complete || failed;
    let was = |c: &str| condition(old, c);
    let was_finished = was("Complete") || was("Failed");
    let conditions = s.get("conditions");
    for (wrong, text) in [
        (complete && failed, "cannot set Complete=True and Failed=true conditions"),
        (complete && target, "cannot set Complete=True and FailureTarget=true conditions"),
        (failed && !target && !was("Failed"), "cannot set Failed=True condition without the FailureTarget=true condition"),
        (
            complete && !met && !was("Complete"),
            "cannot set Complete=True condition without the SuccessCriteriaMet=true condition",
        ),
        (met && failed, "cannot set SuccessCriteriaMet=True and Failed=true conditions"),
        (met && target, "cannot set SuccessCriteriaMet=True and FailureTarget=true conditions"),
    ] {
        if wrong {
            omitted(conditions, e, text);
        }
    }
    let (start, completion) = (s.get("startTime"), s.get("completionTime"));
    if completion.present() && !complete {
        completion.invalid(e, "cannot set completionTime when there is no Complete=True condition");
    }
    if complete && !completion.present() {
        completion.required(e, "completionTime is required for Complete jobs");
    }
    if let (Some(a), Some(b)) = (print::seconds(start.str()), print::seconds(completion.str()))
        && b < a
    {
        completion.invalid(e, "must be equal to or after `startTime`");
    }
    if finished && !was_finished {
        if s.get("active").int() > 0 {
            s.get("active").invalid(e, "active>0 is invalid for finished job");
        }
        if !start.present() {
            start.required(e, "startTime is required for finished job");
        }
        if !seen.is_empty() {
            uncounted.invalid(e, "must be empty for finished job");
        }
        if s.get("terminating").int() > 0 {
            s.get("terminating").invalid(e, "terminating>0 is invalid for finished job");
        }
    }
    let (completed, failed_indexes) = (s.get("completedIndexes"), s.get("failedIndexes"));
    if spec.get("completionMode").str() != "Indexed" && !completed.is_empty() {
        completed.invalid(e, "cannot set non-empty completedIndexes when non-indexed completion mode");
    } else if let Some(n) = spec.get("completions").opt_int() {
        if let Err(why) = indexes(completed.str(), n) {
            completed.invalid(e, format!("error parsing completedIndexes: {why}"));
        }
        if let Err(why) = indexes(failed_indexes.str(), n) {
            failed_indexes.invalid(e, format!("error parsing failedIndexes: {why}"));
        }
    }
    if failed_indexes.present() && !spec.has("backoffLimitPerIndex") {
        failed_indexes.invalid(e, "cannot set non-null failedIndexes when backoffLimitPerIndex is null");
    }
    if s.get("ready").int() > s.get("active").int() && !finished {
        s.get("ready").invalid(e, "cannot set more ready pods than active");
    }
    for (now, before, text) in [
        (is("Complete"), was("Complete"), "Complete"),
        (failed, was("Failed"), "Failed"),
        (target, was("FailureTarget"), "FailureTarget"),
        (met, was("SuccessCriteriaMet"), "SuccessCriteriaMet"),
    ] {
        if before && !now {
            omitted(conditions, e, &format!("cannot disable the {text}=True condition"));
        }
    }
    if was_finished && !same(value_at(old, &["status", "startTime"]), start.v) {
        start.required(e, "startTime cannot be removed for unsuspended job");
    }
}
