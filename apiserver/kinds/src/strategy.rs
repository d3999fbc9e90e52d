//! The trait every kind's rule file implements; a kind without one is ruled by its schema alone. Upstream:
//! pkg/registry/<group>/<kind>/strategy.go, pkg/apis/<group>/<version>/defaults.go, pkg/apis/<group>/validation,
//! pkg/printers/internalversion/printers.go.

use machinery::Value;
use machinery::field::ErrorList;

/// What a rule may know of the request.
#[derive(Clone, Debug, Default)]
pub struct Context {
    pub namespace: String,
    pub user: String,
    /// The rest of who asks, for kinds that record it.
    pub requester: Requester,
    /// Subresource written to: `status`, `scale`, … or empty. Those that write the object itself without being `status`
    /// (`ephemeralcontainers`, `resize`, `finalize`, `approval`) go through `prepare_for_update` and `validate_update`.
    pub subresource: String,
    /// Seconds since the epoch, from the server's clock.
    pub now: i64,
    pub dry_run: bool,
}

/// Who asks, beside the name.
#[derive(Clone, Debug, Default)]
pub struct Requester {
    pub uid: String,
    pub groups: Vec<String>,
    pub extra: std::collections::BTreeMap<String, Vec<String>>,
}

/// What deleting an object means (upstream's RESTGracefulDeleteStrategy).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Deletion {
    /// Gone at once, unless finalizers hold it.
    Immediate,
    /// Marked with a deletion timestamp; somebody (the kubelet) deletes it with grace 0 later.
    Graceful { seconds: i64 },
}

/// A column of a server-side Table (`metav1.TableColumnDefinition`).
#[derive(Clone, Debug)]
pub struct Column {
    pub name: &'static str,
    /// `string`, `integer`, `date`, …
    pub kind: &'static str,
    /// `name` for the name column, else empty.
    pub format: &'static str,
    pub description: &'static str,
    /// 0 always shown, 1 with `-o wide`.
    pub priority: i32,
}

/// One row: cells in the order of the columns, and `conditions` (a completed pod).
pub type PrinterRow = (Vec<Value>, Vec<Value>);

/// Rules of one kind, on objects in its storage version. Every method has the default of a kind without rules.
pub trait Strategy: Send + Sync {
    /// Go-coded defaults (`SetDefaults_*`), run on decode of requests after the schema's own; idempotent.
    fn default(&self, _obj: &mut Value) {}

    fn prepare_for_create(&self, _cx: &Context, _obj: &mut Value) {}
    /// `metadata` is validated by the caller (names by `validate_name`).
    fn validate(&self, _cx: &Context, _obj: &Value) -> ErrorList {
        ErrorList::new()
    }
    /// Messages for the `Warning` header.
    fn warnings(&self, _cx: &Context, _obj: &Value, _old: Option<&Value>) -> Vec<String> {
        Vec::new()
    }
    /// Reasons why `name` is no name for this kind, in upstream's words. With `prefix`, a `generateName`.
    fn validate_name(&self, name: &str, prefix: bool) -> Vec<String>;

    fn prepare_for_update(&self, _cx: &Context, _obj: &mut Value, _old: &Value) {}
    fn validate_update(&self, _cx: &Context, obj: &Value, _old: &Value) -> ErrorList {
        self.validate(_cx, obj)
    }
    /// For the `status` subresource: by default the caller keeps everything but `status` (and its managed fields) from `old`.
    fn prepare_for_status_update(&self, _cx: &Context, _obj: &mut Value, _old: &Value) {}
    fn validate_status_update(&self, _cx: &Context, _obj: &Value, _old: &Value) -> ErrorList {
        ErrorList::new()
    }
    /// The kind keeps `metadata.generation`: 1 when created, one more for each change of spec.
    fn has_generation(&self) -> bool {
        false
    }
    /// An update without resourceVersion is accepted.
    fn allow_unconditional_update(&self) -> bool {
        true
    }
    /// PUT of a name that does not exist creates it.
    fn allow_create_on_update(&self) -> bool {
        false
    }
    /// What a delete with this grace period (`None`: not given) does to `obj`.
    fn deletion(&self, _obj: &Value, _grace_seconds: Option<i64>) -> Deletion {
        Deletion::Immediate
    }
    /// A delete without a propagation policy orphans the dependents (kinds older than the garbage collector).
    fn orphans_dependents(&self) -> bool {
        false
    }
    /// Field-selector values beyond `metadata.name` and `metadata.namespace`.
    fn selectable_fields(&self, _obj: &Value) -> Vec<(&str, String)> {
        Vec::new()
    }
    /// Names of the selectable fields, so that a selector on any other is refused.
    fn selectable_field_names(&self) -> &'static [&'static str] {
        &[]
    }
    /// `field` is one of the selectable fields.
    fn selects(&self, field: &str) -> bool {
        self.selectable_field_names().contains(&field)
    }
    /// `columnDefinitions` of a kind that has columns of its own; [`Self::columns`] by default.
    fn column_definitions(&self) -> Option<Value> {
        let own = self.columns();
        (!own.is_empty()).then(|| crate::table::definitions(own))
    }
    /// It has columns of its own.
    fn has_columns(&self) -> bool {
        !self.columns().is_empty()
    }
    /// Columns of `kubectl get`; empty means the default `Name`, `Created At`.
    fn columns(&self) -> &'static [Column] {
        &[]
    }
    /// Cells of one object. `now` in seconds since the epoch, for ages.
    fn row(&self, _obj: &Value, _now: i64) -> PrinterRow {
        (Vec::new(), Vec::new())
    }
}
