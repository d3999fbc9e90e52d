//! CustomResourceDefinition: defaults, status, conversion; the rest is the business of the crate `extensions`.

use crate::admission_registration;
use crate::at::{At, set_default};
use crate::print::{self, NAME, cells, col};
use crate::rules::Rules;
use crate::strategy::Column;
use machinery::field::ErrorList;
use machinery::validation::dns1035_label;
use machinery::{Value, meta};

static COLUMNS: [Column; 2] = [NAME, col("Created At", crate::table::CREATED_DESCRIPTION)];

pub static CUSTOM_RESOURCE_DEFINITION: Rules = Rules {
    default: |obj| {
        let kind = meta::str_at(obj, &["spec", "names", "kind"]).to_owned();
        if !kind.is_empty() {
            set_default(obj, &["spec", "names", "singular"], kind.to_lowercase());
            set_default(obj, &["spec", "names", "listKind"], format!("{kind}List"));
        }
        set_default(obj, &["spec", "conversion", "strategy"], "None");
        if meta::at(obj, &["spec", "conversion", "webhook", "clientConfig", "service"]).is_some_and(Value::is_object) {
            set_default(obj, &["spec", "conversion", "webhook", "clientConfig", "service", "port"], 443);
        }
    },
    unconditional_update: false,
    create: |obj, _| extensions::definition::initial_status(obj),
    update: |obj, _| extensions::definition::note_storage_version(obj),
    validate: |root, old, e| {
        let s = root.get("spec");
        let name = format!("{}.{}", s.at(&["names", "plural"]).str(), s.get("group").str());
        if !meta::name(root.v).is_empty() && meta::name(root.v) != name {
            root.at(&["metadata", "name"]).invalid_str(e, "must be spec.names.plural+\".\"+spec.group");
        }
        extensions::definition::validate(root.v, old, e);
        conversion(s, e);
    },
    validate_status: |root, _, e| extensions::definition::validate_status(root.v, e),
    columns: &COLUMNS,
    cells: |obj, _| cells([print::name(obj), print::text(obj, &["metadata", "creationTimestamp"])]),
    ..Rules::WITH_STATUS
};

fn conversion(s: At, e: &mut ErrorList) {
    let conversion = s.get("conversion");
    conversion.get("strategy").need_one_of(e, &["None", "Webhook"]);
    let webhook = conversion.get("webhook");
    match conversion.get("strategy").str() {
        "Webhook" if !webhook.has("clientConfig") => {
            webhook.get("clientConfig").required(e, "required when strategy is set to Webhook");
        }
        "Webhook" => {
            admission_registration::client_config(webhook.get("clientConfig"), e);
            review_versions(webhook.get("conversionReviewVersions"), e);
        }
        "None" if webhook.present() => webhook.forbidden(e, "should not be set when strategy is not set to Webhook"),
        _ => {}
    }
}

fn review_versions(list: At, e: &mut ErrorList) {
    if !list.need(e, "") {
        return;
    }
    let mut seen = Vec::new();
    for v in list.items() {
        if seen.contains(&v.str()) {
            v.invalid(e, "duplicate version");
            continue;
        }
        seen.push(v.str());
        v.check(e, dns1035_label);
    }
    if !seen.iter().any(|v| matches!(*v, "v1" | "v1beta1")) {
        list.invalid(e, "must include at least one of v1, v1beta1");
    }
}
