//! Parts of printer columns and cells that many kinds share (pkg/printers/internalversion/printers.go).

use crate::strategy::{Column, PrinterRow};
use crate::table::{CREATED_DESCRIPTION, NAME_DESCRIPTION};
use machinery::{Value, duration, meta, time};

pub const NONE: &str = "<none>";
pub const NAME: Column = Column { name: "Name", kind: "string", format: "name", description: NAME_DESCRIPTION, priority: 0 };
pub const AGE: Column = col("Age", CREATED_DESCRIPTION);

/// A column of text.
pub const fn col(name: &'static str, description: &'static str) -> Column {
    Column { name, kind: "string", format: "", description, priority: 0 }
}
/// A column of numbers.
pub const fn int(name: &'static str, description: &'static str) -> Column {
    Column { name, kind: "integer", format: "", description, priority: 0 }
}
/// A column of `-o wide`.
pub const fn wide(name: &'static str, description: &'static str) -> Column {
    Column { name, kind: "string", format: "", description, priority: 1 }
}
pub const CONTAINERS: Column = wide("Containers", "Names of each container in the template.");
pub const IMAGES: Column = wide("Images", "Images referenced by each container in the template.");

/// A row without conditions.
pub fn cells<const N: usize>(cells: [Value; N]) -> PrinterRow {
    (cells.into(), Vec::new())
}

pub fn name(obj: &Value) -> Value {
    meta::name(obj).into()
}

/// Seconds since the epoch of an API timestamp; `None` for an absent or zero one.
pub fn seconds(timestamp: &str) -> Option<i64> {
    time::parse(timestamp).map(|t| t.as_second())
}

/// How long ago, as `5m10s`; `<unknown>` where absent.
pub fn since(timestamp: &str, now: i64) -> String {
    seconds(timestamp).map_or_else(|| "<unknown>".into(), |t| duration::human(now.saturating_sub(t)))
}

pub fn age(obj: &Value, now: i64) -> Value {
    since(meta::str_at(obj, &["metadata", "creationTimestamp"]), now).into()
}

/// The text at `path`, as a cell.
pub fn text(obj: &Value, path: &[&str]) -> Value {
    meta::str_at(obj, path).into()
}
/// The text at `path`, or `<none>`.
pub fn text_or_none(obj: &Value, path: &[&str]) -> Value {
    or_none(meta::str_at(obj, path)).into()
}
pub fn or_none(s: &str) -> &str {
    if s.is_empty() { NONE } else { s }
}
/// The number at `path`, 0 where absent.
pub fn number(obj: &Value, path: &[&str]) -> Value {
    meta::i64_at(obj, path).unwrap_or(0).into()
}

/// Names and images of a list of containers.
pub fn containers(list: &[Value]) -> [Value; 2] {
    ["name", "image"].map(|f| list.iter().map(|c| meta::str_at(c, &[f])).collect::<Vec<_>>().join(",").into())
}

/// The strings of a list.
pub fn strings<'a>(obj: &'a Value, path: &[&str]) -> Vec<&'a str> {
    meta::list_at(obj, path).iter().filter_map(Value::as_str).collect()
}

/// A number, or the text of an IntOrString.
pub fn int_or_string(v: &Value) -> String {
    v.as_str().map_or_else(|| v.to_string(), str::to_owned)
}
