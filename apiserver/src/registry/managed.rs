//! Field ownership of every write: `metadata.managedFields`.

use super::options::WriteOptions;
use crate::resources::Entry;
use machinery::{Status, Value};
use patch::fieldset::Set;
use patch::managed::Request;
use schema::{Registry, Typed};
use std::sync::LazyLock;

static STATUS: LazyLock<Set> = LazyLock::new(|| Set::of_fields(&["status"]));
static NOT_STATUS: LazyLock<Set> = LazyLock::new(|| Set::of_fields(&["spec"]));

/// The type that an entry's objects have.
pub fn typed_of(entry: &Entry) -> Option<Typed<'_>> {
    if let Some(c) = &entry.custom {
        return Some(c.version.typed());
    }
    let r = Registry::builtin();
    r.typed_kind(&entry.gvk.group, &entry.gvk.version, &entry.gvk.kind)
}

fn request<'a>(entry: &'a Entry, subresource: &'a str, api_version: &'a str, opts: &'a WriteOptions) -> Option<Request<'a>> {
    let reset_fields = match subresource {
        "" if entry.subresource("status").is_some() => Some(&*STATUS),
        "status" => Some(&*NOT_STATUS),
        _ => None,
    };
    Some(Request {
        typed: typed_of(entry)?,
        manager: &opts.manager,
        api_version,
        subresource,
        reset_fields,
        now: machinery::time::Timestamp::now(),
    })
}

/// The new object with its managedFields brought up to date. `live` is `None` on create.
pub fn track(entry: &Entry, subresource: &str, opts: &WriteOptions, live: Option<&Value>, new: Value) -> Value {
    let api_version = entry.api_version();
    let Some(r) = request(entry, subresource, &api_version, opts) else { return new };
    if live.is_some() || entry.custom.is_some() {
        return patch::managed::update(live, new, &r);
    }
    // What Go's empty object writes was there before: `spec` is not the creator's, what is in it is.
    let mut empty = Value::Object(machinery::Map::new());
    schema::decode::complete(&mut empty, r.typed);
    patch::managed::update(Some(&empty), new, &r)
}

/// Server-side apply of a configuration.
pub fn apply(
    entry: &Entry,
    subresource: &str,
    opts: &WriteOptions,
    live: Option<&Value>,
    applied: &Value,
) -> Result<Value, Status> {
    let api_version = entry.api_version();
    let r = request(entry, subresource, &api_version, opts)
        .ok_or_else(|| Status::internal("server-side apply needs a schema, and this kind has none"))?;
    patch::managed::apply(live, applied, opts.force, &r)
}

/// The only difference is when entries were recorded: then there is no change, and the old times stay.
pub fn ignore_timestamps(new: &mut Value, old: &Value) {
    *new = patch::managed::ignore_timestamps(old, std::mem::take(new));
}
