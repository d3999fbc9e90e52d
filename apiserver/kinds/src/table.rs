//! `meta.k8s.io/v1` Tables: what `kubectl get` prints (apiserver's endpoints/handlers/response.go, pkg/printers).

use crate::strategy::{Column, Strategy};
use machinery::{Map, Value, json, meta};

/// How much of each object a row carries (`includeObject`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum IncludeObject {
    None,
    #[default]
    Metadata,
    Object,
}

impl IncludeObject {
    /// `None` for a value that upstream refuses.
    pub fn parse(s: &str) -> Option<Self> {
        match s {
            "" | "Metadata" => Some(Self::Metadata),
            "None" => Some(Self::None),
            "Object" => Some(Self::Object),
            _ => None,
        }
    }
}

pub const NAME_DESCRIPTION: &str = "Name must be unique within a namespace. Is required when creating resources, although some resources may allow a client to request the generation of an appropriate name automatically. Name is primarily intended for creation idempotence and configuration definition. Cannot be updated. More info: https://kubernetes.io/docs/concepts/overview/working-with-objects/names#names";
pub const CREATED_DESCRIPTION: &str = "CreationTimestamp is a timestamp representing the server time when this object was created. It is not guaranteed to be set in happens-before order across separate operations. Clients may not set this value. It is represented in RFC3339 form and is in UTC.\n\nPopulated by the system. Read-only. Null for lists. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#metadata";

/// Columns of a kind that has none of its own.
pub static DEFAULT_COLUMNS: [Column; 2] = [
    Column { name: "Name", kind: "string", format: "name", description: NAME_DESCRIPTION, priority: 0 },
    Column { name: "Created At", kind: "date", format: "", description: CREATED_DESCRIPTION, priority: 0 },
];

/// `columnDefinitions` of a kind.
pub fn column_definitions(strategy: &dyn Strategy) -> Value {
    strategy.column_definitions().unwrap_or_else(|| definitions(&DEFAULT_COLUMNS))
}

/// Columns as a Table defines them.
pub fn definitions(columns: &[Column]) -> Value {
    columns
        .iter()
        .map(
            |c| json!({"name": c.name, "type": c.kind, "format": c.format, "description": c.description, "priority": c.priority}),
        )
        .collect()
}

/// One row: cells, conditions and as much of the object as asked for.
pub fn row(strategy: &dyn Strategy, obj: &Value, include: IncludeObject, now: i64) -> Value {
    let (cells, conditions) = if !strategy.has_columns() {
        let created = meta::at(obj, &["metadata", "creationTimestamp"]).cloned().unwrap_or(Value::Null);
        (vec![meta::name(obj).into(), created], Vec::new())
    } else {
        strategy.row(obj, now)
    };
    let mut row = Map::new();
    row.insert("cells".into(), cells.into());
    if !conditions.is_empty() {
        row.insert("conditions".into(), conditions.into());
    }
    let object = match include {
        IncludeObject::None => Value::Null,
        IncludeObject::Metadata => json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1",
            "metadata": obj.get("metadata").cloned().unwrap_or_else(|| json!({}))}),
        IncludeObject::Object => obj.clone(),
    };
    row.insert("object".into(), object);
    row.into()
}

/// A Table of `objects`; `list_meta` is the list's `metadata` (resourceVersion, continue, remainingItemCount).
/// Watch events send the columns with their first row only, hence `with_columns`.
pub fn table<'a>(
    strategy: &dyn Strategy,
    objects: impl IntoIterator<Item = &'a Value>,
    list_meta: Value,
    include: IncludeObject,
    now: i64,
    with_columns: bool,
) -> Value {
    let columns = if with_columns { column_definitions(strategy) } else { Value::Null };
    let rows: Vec<Value> = objects.into_iter().map(|o| row(strategy, o, include, now)).collect();
    json!({"kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": list_meta, "columnDefinitions": columns, "rows": rows})
}
