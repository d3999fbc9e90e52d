//! The conflict of an apply: which fields, owned by whom.

use super::entries::{Id, Operation};
use crate::fieldset::{Element, Set, path_string};
use machinery::quote::Quoted;
use machinery::{Status, Value, json};
use std::collections::BTreeMap;

/// Conflicting fields by owner.
pub(super) type Conflicts = BTreeMap<Id, Set>;

fn owner(id: &Id) -> String {
    let mut s = Quoted(&id.manager).to_string();
    if !id.subresource.is_empty() {
        s.push_str(&format!(" with subresource {}", Quoted(&id.subresource)));
    }
    if id.operation == Operation::Update {
        s.push_str(&format!(" using {}", id.api_version));
    }
    s
}

/// The 409 that the client sees.
pub(super) fn status(conflicts: &Conflicts) -> Status {
    let mut causes: Vec<Value> = Vec::new();
    let mut lines = Vec::new();
    let mut single = String::new();
    for (id, set) in conflicts {
        let who = owner(id);
        lines.push(format!("conflicts with {who}:"));
        set.for_each(|path: &[Element]| {
            let field = path_string(path);
            lines.push(format!("- {field}"));
            single = format!("conflict with {who}: {field}");
            causes.push(json!({"reason": "FieldManagerConflict", "message": format!("conflict with {who}"), "field": field}));
        });
    }
    let message = match causes.len() {
        1 => format!("Apply failed with 1 conflict: {single}"),
        n => format!("Apply failed with {n} conflicts: {}", lines.join("\n")),
    };
    let mut s = Status::new(409, "Conflict", message);
    s.details.insert("causes".into(), causes.into());
    s
}
