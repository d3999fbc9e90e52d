//! Where a pod may run: affinity, tolerations, topology spread.

use crate::at::At;
use crate::{check, selectors};
use machinery::field::{Error, ErrorList, ErrorType};

const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";

fn weight(at: At, e: &mut ErrorList) {
    if !(1..=100).contains(&at.int()) {
        at.invalid_value(e, at.int(), "must be in the range 1-100");
    }
}

/// `spec.affinity`; `strict` checks label values too, which an update does not hold against a pod that was stored with them.
pub fn affinity(at: At, e: &mut ErrorList, strict: bool) {
    let node = at.get("nodeAffinity");
    if node.has(REQUIRED) {
        selectors::node_selector(node.get(REQUIRED), e, strict);
    }
    for t in node.get(PREFERRED).items() {
        weight(t.get("weight"), e);
        selectors::node_selector_term(t.get("preference"), e, false);
    }
    for kind in ["podAffinity", "podAntiAffinity"] {
        for t in at.get(kind).get(REQUIRED).items() {
            pod_term(t, e);
        }
        for t in at.get(kind).get(PREFERRED).items() {
            weight(t.get("weight"), e);
            pod_term(t.get("podAffinityTerm"), e);
        }
    }
}

fn pod_term(t: At, e: &mut ErrorList) {
    selectors::label_selector(t.get("labelSelector"), e);
    selectors::label_selector(t.get("namespaceSelector"), e);
    for ns in t.get("namespaces").items() {
        t.get("namespace").with(ns.v).check(e, check::dns1123_label);
    }
    label_keys(t, e);
    let key = t.get("topologyKey");
    if key.is_empty() {
        key.required(e, "can not be empty");
    }
    key.check(e, check::qualified_name);
}

/// matchLabelKeys and mismatchLabelKeys, which are merged into the selector when the pod is created.
fn label_keys(t: At, e: &mut ErrorList) {
    let selector = t.get("labelSelector");
    let (matching, mismatching) = (t.get("matchLabelKeys"), t.get("mismatchLabelKeys"));
    for keys in [matching, mismatching] {
        if keys.is_empty() {
            continue;
        }
        if !selector.present() {
            keys.forbidden(e, "must not be specified when labelSelector is not set");
            continue;
        }
        for k in keys.items() {
            k.check(e, check::qualified_name);
        }
    }
    let mut used: Vec<&str> = selector.get("matchLabels").entries().map(|(k, _)| k).collect();
    for x in selector.get("matchExpressions").items() {
        let key = x.get("key").str();
        if used.contains(&key)
            && let Some(i) = matching.items().position(|k| k.str() == key)
        {
            t.nth(i).invalid_value(e, key, "exists in both matchLabelKeys and labelSelector");
        }
        used.push(key);
    }
    for k in matching.items().filter(|k| mismatching.items().any(|m| m.str() == k.str())) {
        k.invalid(e, "exists in both matchLabelKeys and mismatchLabelKeys");
    }
}

/// `spec.tolerations`.
pub fn tolerations(at: At, e: &mut ErrorList) {
    for t in at.items() {
        let (key, operator, value, effect) = (t.get("key"), t.get("operator"), t.get("value"), t.get("effect"));
        key.check_if_set(e, check::qualified_name);
        if key.is_empty() && operator.str() != "Exists" {
            operator.invalid_str(e, "operator must be Exists when `key` is empty, which means \"match all values and all keys\"");
        }
        if t.has("tolerationSeconds") && effect.str() != "NoExecute" {
            effect.invalid_str(e, "effect must be 'NoExecute' when `tolerationSeconds` is set");
        }
        match operator.str() {
            "" | "Equal" => {
                let reasons = check::label_value(value.str());
                if !reasons.is_empty() {
                    operator.invalid_value(e, value.str(), reasons.join(";"));
                }
            }
            "Exists" => {
                if !value.is_empty() {
                    operator.invalid_value(e, value.str(), "value must be empty when `operator` is 'Exists'");
                }
            }
            // Numeric comparison is a feature that is off.
            "Lt" | "Gt" => {
                let quoted = "supported values: \"Equal\", \"Exists\", \"Lt\", \"Gt\"";
                e.push(Error::new(ErrorType::NotSupported, &operator.path(), operator.str(), quoted));
            }
            _ => operator.not_supported(e, &["Equal", "Exists"]),
        }
        if !effect.is_empty() {
            taint_effect(effect, e);
        }
    }
}

pub fn taint_effect(at: At, e: &mut ErrorList) {
    at.one_of_in_order(e, &["NoSchedule", "PreferNoSchedule", "NoExecute"]);
}

/// `spec.topologySpreadConstraints`; `strict` as for affinity.
pub fn topology_spread(at: At, e: &mut ErrorList, strict: bool) {
    let all: Vec<At> = at.items().collect();
    for (i, c) in all.iter().enumerate() {
        c.get("maxSkew").positive(e);
        let (key, action) = (c.get("topologyKey"), c.get("whenUnsatisfiable"));
        key.need(e, "can not be empty");
        action.one_of(e, &["DoNotSchedule", "ScheduleAnyway"]);
        let twin = |o: &&At| o.get("topologyKey").str() == key.str() && o.get("whenUnsatisfiable").str() == action.str();
        if all[i + 1..].iter().any(|o| twin(&o)) {
            e.push(Error::duplicate(
                &c.get("{topologyKey, whenUnsatisfiable}").path(),
                format!("{{{}, {}}}", key.str(), action.str()),
            ));
        }
        let domains = c.get("minDomains");
        if domains.present() {
            domains.positive(e);
            if action.str() != "DoNotSchedule" {
                domains.invalid(e, format!("can only use minDomains if whenUnsatisfiable=DoNotSchedule, not {}", action.str()));
            }
        }
        for f in ["nodeAffinityPolicy", "nodeTaintsPolicy"] {
            if c.has(f) {
                c.get(f).one_of(e, &["Ignore", "Honor"]);
            }
        }
        if strict {
            label_keys(*c, e);
            selectors::label_selector(c.get("labelSelector"), e);
        }
    }
}
