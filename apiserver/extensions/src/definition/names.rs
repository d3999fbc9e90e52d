//! Names are given once per group: who came first keeps them. Upstream: apiextensions-apiserver/pkg/controller/status.

use super::{is, set_condition};
use machinery::{Value, json, meta};
use std::collections::HashSet;

/// Brings `status.acceptedNames` and the conditions that follow from them up to date, given all definitions. True if anything changed.
pub fn accept(crd: &mut Value, all: &[Value], now: &str) -> bool {
    let group = meta::str_at(crd, &["spec", "group"]).to_owned();
    let (mut resources, mut kinds) = (HashSet::new(), HashSet::new());
    let same_group = |c: &&Value| meta::str_at(c, &["spec", "group"]) == group;
    for other in all.iter().filter(same_group) {
        let names = other.pointer("/status/acceptedNames").unwrap_or(&Value::Null);
        for k in ["plural", "singular"] {
            resources.insert(meta::str_at(names, &[k]).to_owned());
        }
        resources.extend(meta::list_at(names, &["shortNames"]).iter().filter_map(Value::as_str).map(str::to_owned));
        for k in ["kind", "listKind"] {
            kinds.insert(meta::str_at(names, &[k]).to_owned());
        }
    }
    let wanted = crd.pointer("/spec/names").cloned().unwrap_or(json!({}));
    let had = crd.pointer("/status/acceptedNames").cloned().unwrap_or(json!({}));
    let mut accepted = had.clone();
    if !accepted.is_object() {
        accepted = json!({});
    }
    let mut conflict: Option<(&str, String)> = None;
    let taken = |name: &str, mine: &str, used: &HashSet<String>| {
        (name != mine && used.contains(name)).then(|| format!("{} is already in use", machinery::quote::quote(name)))
    };
    let set = |accepted: &mut Value, key: &str| match wanted.get(key) {
        Some(v) => accepted[key] = v.clone(),
        None => _ = accepted.as_object_mut().map(|m| m.remove(key)),
    };
    for (key, used, reason) in [
        ("plural", &resources, "PluralConflict"),
        ("singular", &resources, "SingularConflict"),
        ("shortNames", &resources, "ShortNamesConflict"),
        ("kind", &kinds, "KindConflict"),
        ("listKind", &kinds, "ListKindConflict"),
    ] {
        let problem = if key == "shortNames" {
            let mine = meta::list_at(&had, &[key]);
            let list = meta::list_at(&wanted, &[key]);
            let bad: Vec<String> = list
                .iter()
                .filter(|n| !mine.contains(n))
                .filter_map(|n| taken(n.as_str().unwrap_or_default(), "", used))
                .collect();
            match bad.as_slice() {
                [] => None,
                [one] => Some(one.clone()),
                many => Some(format!("[{}]", many.join(", "))),
            }
        } else {
            taken(meta::str_at(&wanted, &[key]), meta::str_at(&had, &[key]), used)
        };
        match problem {
            Some(p) => conflict = Some((reason, p)),
            None => set(&mut accepted, key),
        }
    }
    set(&mut accepted, "categories");
    let mut changed = accepted != had;
    if changed {
        meta::set(crd, &["status", "acceptedNames"], accepted);
    }
    changed |= match &conflict {
        Some((reason, message)) => set_condition(crd, "NamesAccepted", "False", reason, message, now),
        None => set_condition(crd, "NamesAccepted", "True", "NoConflicts", "no conflicts found", now),
    };
    if !is(crd, "Established") {
        changed |= match conflict {
            None => {
                set_condition(crd, "Established", "True", "InitialNamesAccepted", "the initial names have been accepted", now)
            }
            Some(_) => set_condition(crd, "Established", "False", "NotAccepted", "not all names are accepted", now),
        };
    }
    changed
}
