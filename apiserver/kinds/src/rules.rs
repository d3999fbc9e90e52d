//! Most kinds' strategy as data: a name rule, a few flags and functions, where only what differs from the plain case is given.

use crate::at::{At, copy_from};
use crate::names::{self, NameRule};
use crate::strategy::{Column, Context, PrinterRow, Strategy};
use machinery::field::ErrorList;
use machinery::{Value, meta};

/// Validation on create (`None`) and update (the stored object).
pub type Validate = fn(At, Option<&Value>, &mut ErrorList);

pub struct Rules {
    pub name: NameRule,
    /// `status` is written through its subresource only.
    pub status: bool,
    pub generation: bool,
    pub unconditional_update: bool,
    pub create_on_update: bool,
    pub orphans: bool,
    pub default: fn(&mut Value),
    /// After the status was cleared.
    pub create: fn(&mut Value, &Context),
    /// After the status was kept.
    pub update: fn(&mut Value, &Value),
    pub validate: Validate,
    pub update_status: fn(&mut Value, &Value, &Context),
    pub validate_status: fn(At, &Value, &mut ErrorList),
    pub warnings: fn(At, Option<&Value>) -> Vec<String>,
    /// Selectable fields, each named by its path.
    pub fields: &'static [&'static str],
    pub columns: &'static [Column],
    pub cells: fn(&Value, i64) -> PrinterRow,
}

impl Rules {
    /// The plain case.
    pub const BASE: Self = Self {
        name: NameRule::Subdomain,
        status: false,
        generation: false,
        unconditional_update: true,
        create_on_update: false,
        orphans: false,
        default: |_| {},
        create: |_, _| {},
        update_status: |_, _, _| {},
        update: |_, _| {},
        validate: |_, _, _| {},
        validate_status: |_, _, _| {},
        warnings: |_, _| Vec::new(),
        fields: &[],
        columns: &[],
        cells: |_, _| (Vec::new(), Vec::new()),
    };
    /// A kind with spec, status and generation.
    pub const WITH_STATUS: Self = Self { status: true, generation: true, ..Self::BASE };
}

impl Strategy for Rules {
    fn default(&self, obj: &mut Value) {
        if obj.is_object() {
            (self.default)(obj);
        }
    }
    fn prepare_for_create(&self, cx: &Context, obj: &mut Value) {
        if self.status {
            meta::remove(obj, &["status"]);
        }
        if self.generation {
            meta::set(obj, &["metadata", "generation"], 1.into());
        }
        (self.create)(obj, cx);
    }
    fn validate(&self, _: &Context, obj: &Value) -> ErrorList {
        let mut e = ErrorList::new();
        (self.validate)(At::root(obj), None, &mut e);
        e
    }
    fn warnings(&self, _: &Context, obj: &Value, old: Option<&Value>) -> Vec<String> {
        (self.warnings)(At::root(obj), old)
    }
    fn validate_name(&self, name: &str, prefix: bool) -> Vec<String> {
        names::check(self.name, name, prefix)
    }
    fn prepare_for_update(&self, _: &Context, obj: &mut Value, old: &Value) {
        if self.status {
            copy_from(obj, old, &["status"]);
        }
        (self.update)(obj, old);
    }
    fn validate_update(&self, _: &Context, obj: &Value, old: &Value) -> ErrorList {
        let mut e = ErrorList::new();
        (self.validate)(At::root(obj), Some(old), &mut e);
        e
    }
    fn prepare_for_status_update(&self, cx: &Context, obj: &mut Value, old: &Value) {
        (self.update_status)(obj, old, cx);
    }
    fn validate_status_update(&self, _: &Context, obj: &Value, old: &Value) -> ErrorList {
        let mut e = ErrorList::new();
        (self.validate_status)(At::root(obj), old, &mut e);
        e
    }
    fn has_generation(&self) -> bool {
        self.generation
    }
    fn allow_unconditional_update(&self) -> bool {
        self.unconditional_update
    }
    fn allow_create_on_update(&self) -> bool {
        self.create_on_update
    }
    fn orphans_dependents(&self) -> bool {
        self.orphans
    }
    fn selectable_fields(&self, obj: &Value) -> Vec<(&'static str, String)> {
        let text = |path: &str| match meta::at(obj, &path.split('.').collect::<Vec<_>>()) {
            Some(Value::String(s)) => s.clone(),
            Some(v @ (Value::Bool(_) | Value::Number(_))) => v.to_string(),
            _ => String::new(),
        };
        let value = |name: &str| {
            let Some((_, paths, absent)) = ODD_FIELDS.iter().find(|(n, ..)| *n == name) else { return text(name) };
            paths.iter().map(|p| text(p)).find(|v| !v.is_empty()).unwrap_or_else(|| (*absent).to_owned())
        };
        self.fields.iter().map(|f| (*f, value(f))).collect()
    }
    fn selectable_field_names(&self) -> &'static [&'static str] {
        self.fields
    }
    fn columns(&self) -> &'static [Column] {
        self.columns
    }
    fn row(&self, obj: &Value, now: i64) -> PrinterRow {
        (self.cells)(obj, now)
    }
}

/// Selectable fields that lie elsewhere than their name says, or that are not strings: name, paths in order of preference, the value
/// when all are absent. Objects omit a zero; selectors compare it as Go prints it.
const ODD_FIELDS: [(&str, &[&str], &str); 5] = [
    ("name", &["metadata.name"], ""),
    ("source", &["source.component", "reportingComponent"], ""),
    ("spec.unschedulable", &["spec.unschedulable"], "false"),
    ("status.replicas", &["status.replicas"], "0"),
    ("status.successful", &["status.succeeded"], "0"),
];

#[cfg(test)]
mod tests {
    use crate::strategy::Strategy;
    use serde_json::json;

    #[test]
    fn selectable_fields_have_the_values_that_go_prints() {
        let cases: [(&str, &dyn Strategy, _, _); 7] = [
            ("a schedulable node", &crate::core::node::NODE, json!({"spec": {}}), ("spec.unschedulable", "false")),
            (
                "a cordoned node",
                &crate::core::node::NODE,
                json!({"spec": {"unschedulable": true}}),
                ("spec.unschedulable", "true"),
            ),
            ("a new ReplicaSet", &crate::apps::replica_set::REPLICA_SET, json!({}), ("status.replicas", "0")),
            ("a finished Job", &crate::batch::job::JOB, json!({"status": {"succeeded": 2}}), ("status.successful", "2")),
            ("a volume", &crate::core::persistent_volume::PERSISTENT_VOLUME, json!({"metadata": {"name": "v"}}), ("name", "v")),
            ("an old event", &crate::core::event::EVENT, json!({"source": {"component": "a"}}), ("source", "a")),
            ("a new event", &crate::core::event::EVENT, json!({"reportingComponent": "b"}), ("source", "b")),
        ];
        for (case, strategy, obj, (name, want)) in cases {
            let fields = strategy.selectable_fields(&obj);
            assert_eq!(fields.iter().find(|(n, _)| *n == name).map(|(_, v)| v.as_str()), Some(want), "{case}");
        }
    }
}
