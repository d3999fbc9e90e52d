//! CustomResourceDefinition: names, versions, conversion. Schemas are checked where they are compiled.

use crate::at::{At, set_default};
use crate::print::{self, NAME, cells, col};
use crate::rules::Rules;
use crate::strategy::Column;
use crate::{admission_registration, check};
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
    validate: |root, old, e| {
        let s = root.get("spec");
        let name = format!("{}.{}", s.at(&["names", "plural"]).str(), s.get("group").str());
        if meta::name(root.v) != name {
            root.at(&["metadata", "name"]).invalid_str(e, "must be spec.names.plural+\".\"+spec.group");
        }
        spec(s, e);
        if let Some(old) = old {
            s.get("scope").immutable(e, crate::at::value_at(old, &["spec", "scope"]));
            s.at(&["names", "kind"]).immutable(e, crate::at::value_at(old, &["spec", "names", "kind"]));
        }
    },
    columns: &COLUMNS,
    cells: |obj, _| cells([print::name(obj), print::text(obj, &["metadata", "creationTimestamp"])]),
    ..Rules::WITH_STATUS
};

fn spec(s: At, e: &mut ErrorList) {
    let group = s.get("group");
    if group.need(e, "") {
        group.check(e, check::dns1123_subdomain);
        if group.str().split('.').count() < 2 {
            group.invalid(e, "should be a domain with at least one dot");
        }
    }
    s.get("scope").need_one_of(e, &["Cluster", "Namespaced"]);
    let versions = s.get("versions");
    let (mut seen, mut stored) = (Vec::new(), 0);
    for v in versions.items() {
        let name = v.get("name");
        name.check(e, dns1035_label);
        if seen.contains(&name.str()) {
            e.push(machinery::field::Error::invalid(&versions.path(), versions.v.clone(), "must contain unique version names"));
        }
        seen.push(name.str());
        stored += usize::from(v.get("storage").bool());
        if v.has("deprecationWarning") && !v.get("deprecated").bool() {
            v.get("deprecationWarning").invalid(e, "can only be set for deprecated versions");
        }
        if !v.at(&["schema", "openAPIV3Schema"]).present() {
            v.at(&["schema", "openAPIV3Schema"]).required(e, "schemas are required");
        }
    }
    if stored != 1 {
        versions.invalid(e, "must have exactly one version marked as storage version");
    }
    let names = s.get("names");
    for f in ["plural", "singular"] {
        names.get(f).need_check(e, dns1035_label);
    }
    for f in ["kind", "listKind"] {
        let at = names.get(f);
        if at.need(e, "") {
            let reasons = dns1035_label(&at.str().to_lowercase());
            if !reasons.is_empty() {
                at.invalid(e, format!("may have mixed case, but should otherwise match: {}", reasons.join(",")));
            }
        }
    }
    if !names.get("kind").is_empty() && names.get("kind").str() == names.get("listKind").str() {
        names.get("listKind").invalid(e, "kind and listKind may not be the same");
    }
    for n in ["shortNames", "categories"].iter().flat_map(|l| names.get(l).items()) {
        n.check(e, dns1035_label);
    }
    let conversion = s.get("conversion");
    conversion.get("strategy").need_one_of(e, &["None", "Webhook"]);
    let webhook = conversion.get("webhook");
    match conversion.get("strategy").str() {
        "Webhook" if !webhook.has("clientConfig") => {
            webhook.get("clientConfig").required(e, "required when strategy is set to Webhook");
        }
        "Webhook" => admission_registration::client_config(webhook.get("clientConfig"), e),
        "None" if webhook.present() => webhook.forbidden(e, "should not be set when strategy is not set to Webhook"),
        _ => {}
    }
}
