//! The entries of `managedFields`: reading, writing, their order, and the cap on how many updaters are remembered.

use super::Request;
use crate::fieldset::Set;
use machinery::meta::str_at;
use machinery::time::{self, Timestamp};
use machinery::{Map, Value};
use std::collections::BTreeMap;

/// Updaters remembered one by one; older ones share an entry.
const MAX_UPDATE_MANAGERS: usize = 10;
/// The entry that old updaters share.
const ANCIENT: &str = "ancient-changes";

/// Who made the changes of an entry. An applier is one manager whatever version it speaks.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Id {
    pub manager: String,
    /// `Apply` sorts before `Update`.
    pub operation: Operation,
    /// Empty for `Apply`.
    pub api_version: String,
    pub subresource: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Operation {
    Apply,
    Update,
}

impl Operation {
    fn as_str(self) -> &'static str {
        match self {
            Self::Apply => "Apply",
            Self::Update => "Update",
        }
    }
}

/// One entry: the version its fields are written in, the fields, and when they last changed.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Entry {
    pub api_version: String,
    pub fields: Set,
    /// As written; empty where there is none.
    pub time: String,
}

/// All entries of an object.
pub(super) type Managers = BTreeMap<Id, Entry>;

impl Request<'_> {
    pub(super) fn id(&self, manager: &str, operation: Operation) -> Id {
        let manager = if manager.is_empty() { "unknown" } else { manager };
        let api_version = if operation == Operation::Apply { "" } else { self.api_version };
        Id { manager: manager.into(), operation, api_version: api_version.into(), subresource: self.subresource.into() }
    }
}

/// Reads `managedFields`; one bad entry spoils all, as upstream.
pub(super) fn decode(list: &[Value]) -> Result<Managers, String> {
    let mut out = Managers::new();
    for (i, e) in list.iter().enumerate() {
        let operation = match str_at(e, &["operation"]) {
            "Apply" => Operation::Apply,
            "Update" => Operation::Update,
            _ => return Err("operation must be `Apply` or `Update`".into()),
        };
        let api_version = str_at(e, &["apiVersion"]);
        if api_version.is_empty() {
            return Err("apiVersion must not be empty".into());
        }
        match str_at(e, &["fieldsType"]) {
            "FieldsV1" => {}
            "" => return Err(format!("missing fieldsType in managed fields entry {i}")),
            other => return Err(format!("invalid fieldsType {} in managed fields entry {i}", machinery::quote::quote(other))),
        }
        let empty = Value::Object(Map::new());
        let fields = Set::from_value(e.get("fieldsV1").filter(|v| !v.is_null()).unwrap_or(&empty))
            .map_err(|e| format!("error decoding set: {e}"))?;
        let id = Id {
            manager: str_at(e, &["manager"]).into(),
            operation,
            api_version: if operation == Operation::Apply { String::new() } else { api_version.into() },
            subresource: str_at(e, &["subresource"]).into(),
        };
        out.insert(id, Entry { api_version: api_version.into(), fields, time: str_at(e, &["time"]).into() });
    }
    Ok(out)
}

fn seconds(t: &str) -> i64 {
    time::parse(t).map_or(0, Timestamp::as_second)
}

/// Writes `managedFields`: appliers first, then by time, manager, version and subresource. `None` without entries.
pub(super) fn encode(managers: &Managers) -> Option<Value> {
    let mut list: Vec<(&Id, &Entry)> = managers.iter().collect();
    list.sort_by(|(a, x), (b, y)| {
        let key = |id: &Id, e: &Entry| (id.operation, seconds(&e.time));
        let rest = |id: &Id, e: &Entry| (id.manager.clone(), e.api_version.clone(), id.subresource.clone());
        key(a, x).cmp(&key(b, y)).then_with(|| rest(a, x).cmp(&rest(b, y)))
    });
    let entry = |(id, e): (&Id, &Entry)| {
        let mut m = Map::new();
        let mut put = |k: &str, v: &str| {
            if !v.is_empty() {
                m.insert(k.into(), v.into());
            }
        };
        put("manager", &id.manager);
        put("operation", id.operation.as_str());
        put("apiVersion", &e.api_version);
        put("time", &e.time);
        put("fieldsType", "FieldsV1");
        put("subresource", &id.subresource);
        m.insert("fieldsV1".into(), e.fields.to_value());
        Value::Object(m)
    };
    (!list.is_empty()).then(|| list.into_iter().map(entry).collect())
}

/// Lets the oldest updaters of a version share one entry until no more than ten are left.
pub(super) fn cap(managers: &mut Managers) {
    let mut updaters: Vec<Id> = managers.keys().filter(|id| id.operation == Operation::Update).cloned().collect();
    let mut length = updaters.len();
    if length <= MAX_UPDATE_MANAGERS {
        return;
    }
    updaters.sort_by_cached_key(|id| (managers.get(id).map_or(0, |e| seconds(&e.time)), id.clone()));
    let mut first_of: BTreeMap<String, Id> = BTreeMap::new();
    for id in updaters {
        if length <= MAX_UPDATE_MANAGERS {
            break;
        }
        let Some(version) = managers.get(&id).map(|e| e.api_version.clone()) else { continue };
        let Some(first) = first_of.get(&version) else {
            first_of.insert(version, id);
            continue;
        };
        let bucket =
            Id { manager: ANCIENT.into(), operation: Operation::Update, api_version: version, subresource: String::new() };
        if !managers.contains_key(&bucket)
            && let Some(e) = managers.remove(first)
        {
            managers.insert(bucket.clone(), e);
        }
        let Some(e) = managers.remove(&id) else { continue };
        if let Some(b) = managers.get_mut(&bucket) {
            b.fields.union_with(&e.fields);
            b.time = e.time;
        } else {
            managers.insert(bucket, e);
        }
        length -= 1;
    }
}
