//! CronJob.

use super::{cron, job};
use crate::at::{At, set_default, value_at};
use crate::core::pod::{defaults, warnings};
use crate::print::{self, AGE, CONTAINERS, IMAGES, NAME, cells, col, int, wide};
use crate::rules::Rules;
use crate::strategy::Column;
use crate::{names, selectors, workload};
use machinery::field::ErrorList;
use machinery::{Value, meta};

static COLUMNS: [Column; 10] = [
    NAME,
    col("Schedule", ""),
    col("Timezone", ""),
    Column { name: "Suspend", kind: "boolean", format: "", description: "", priority: 0 },
    int("Active", ""),
    col("Last Schedule", ""),
    AGE,
    CONTAINERS,
    IMAGES,
    wide("Selector", ""),
];

pub static CRON_JOB: Rules = Rules {
    default: |obj| {
        workload::default_template(obj, &["spec", "jobTemplate", "spec"], defaults::pod_spec);
        job::default_failure_policy(obj, &["spec", "jobTemplate"]);
        set_default(obj, &["spec", "concurrencyPolicy"], "Allow");
        set_default(obj, &["spec", "suspend"], false);
        set_default(obj, &["spec", "successfulJobsHistoryLimit"], 3);
        set_default(obj, &["spec", "failedJobsHistoryLimit"], 1);
    },
    validate,
    warnings: |root, old| {
        let t = root.at(&["spec", "jobTemplate", "spec", "template"]);
        let mut out = crate::workload::name_warning(root, old);
        if old.is_none_or(|o| !crate::at::same(value_at(o, &["spec", "jobTemplate", "spec", "template"]), t.v)) {
            out.extend(warnings::pod(t));
        }
        out
    },
    columns: &COLUMNS,
    cells: |obj, now| {
        let [names, images] =
            print::containers(meta::list_at(obj, &["spec", "jobTemplate", "spec", "template", "spec", "containers"]));
        let last = meta::str_at(obj, &["status", "lastScheduleTime"]);
        let suspend = meta::at(obj, &["spec", "suspend"]).and_then(Value::as_bool);
        cells([
            print::name(obj),
            print::text(obj, &["spec", "schedule"]),
            print::text_or_none(obj, &["spec", "timeZone"]),
            suspend.map_or("<unset>", |s| if s { "True" } else { "False" }).into(),
            meta::list_at(obj, &["status", "active"]).len().into(),
            if last.is_empty() { print::NONE.to_owned() } else { print::since(last, now) }.into(),
            print::age(obj, now),
            names,
            images,
            selectors::format_selector(value_at(obj, &["spec", "jobTemplate", "spec", "selector"])).into(),
        ])
    },
    ..Rules::WITH_STATUS
};

fn validate(root: At, old: Option<&Value>, e: &mut ErrorList) {
    let s = root.get("spec");
    let name = root.at(&["metadata", "name"]);
    // Jobs are named after it, eleven characters longer, and still fit a label.
    if old.is_none() && name.len() > 52 {
        name.invalid(e, "must be no more than 52 characters");
    }
    let schedule = s.get("schedule");
    if schedule.need(e, "") {
        if let Err(why) = cron::check(schedule.str()) {
            schedule.invalid(e, why);
        }
        if schedule.str().contains("TZ") && old.is_none_or(|o| !meta::str_at(o, &["spec", "schedule"]).contains("TZ")) {
            schedule.invalid(e, "cannot use TZ or CRON_TZ in schedule, use timeZone field instead");
        }
    }
    let zone = s.get("timeZone");
    if zone.present() && old.is_none_or(|o| !crate::at::same_at(root.v, o, &["spec", "timeZone"])) {
        time_zone(zone, e);
    }
    if s.has("startingDeadlineSeconds") {
        s.get("startingDeadlineSeconds").non_negative(e);
    }
    s.get("concurrencyPolicy").need_one_of(e, &["Allow", "Forbid", "Replace"]);
    let template = s.get("jobTemplate");
    names::template_meta(template.get("metadata"), e);
    job::job_template(template.get("spec"), old.map(|o| value_at(o, &["spec", "jobTemplate", "spec"])), e);
    for f in ["successfulJobsHistoryLimit", "failedJobsHistoryLimit"] {
        s.get(f).non_negative(e);
    }
}

fn time_zone(zone: At, e: &mut ErrorList) {
    let name = zone.str();
    if name.is_empty() {
        return zone.invalid(e, "timeZone must be nil or non-empty string");
    }
    if name.eq_ignore_ascii_case("local") {
        zone.invalid(e, "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones");
        if name == "Local" {
            return;
        }
    }
    // Names are those of files: their case matters.
    let known = name == "UTC" || jiff::tz::TimeZone::get(name).is_ok_and(|z| z.iana_name().is_none_or(|n| n == name));
    if !known {
        zone.invalid(e, format!("unknown time zone {name}"));
    }
}
