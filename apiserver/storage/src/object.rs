//! One stored object as the cache keeps it: the bytes that clients get, and the little that selecting needs.
//!
//! The store holds objects without `metadata.resourceVersion`, since the revision is known only once written. The served form
//! is the stored form with `"resourceVersion":"N",` put in at the start of `metadata`, so neither form needs a second encoding.

use bytes::{Bytes, BytesMut};
use machinery::{Value, meta};
use std::ops::Range;
use std::sync::{Arc, OnceLock};
use store::Revision;

/// Names of the selectable fields; shared by all objects of a kind.
pub(crate) type FieldNames = Arc<[Box<str>]>;

/// An object at a revision. Cheap to share: hold it by `Arc`.
pub struct Object {
    key: Arc<str>,
    revision: Revision,
    /// JSON as served.
    bytes: Bytes,
    /// The other encoding, once somebody has asked for it.
    binary: OnceLock<Bytes>,
    /// Where the resourceVersion was put in, and how long it is with its punctuation.
    splice: (u32, u8),
    /// Length of the store prefix in `key`.
    prefix: u16,
    deleting: bool,
    /// The store holds another form of it, which the next write replaces.
    stale: bool,
    /// `key NUL value NUL …`, in the order of the object.
    labels: Box<str>,
    /// Values of `field_names`, each followed by NUL.
    fields: Box<str>,
    field_names: FieldNames,
}

/// What selecting needs of an object, before it has a revision.
#[derive(Clone)]
pub(crate) struct Head {
    pub deleting: bool,
    pub labels: Box<str>,
    pub fields: Box<str>,
    pub field_names: FieldNames,
}

impl Head {
    /// `last_names` is reused when it fits, so that the objects of a kind share one list of names.
    pub fn new(value: &Value, fields: Vec<(String, String)>, last_names: &mut FieldNames) -> Self {
        let mut labels = String::new();
        for (k, v) in meta::labels(value) {
            if let Some(v) = v.as_str() {
                push(&mut labels, k);
                push(&mut labels, v);
            }
        }
        let same = last_names.len() == fields.len() && last_names.iter().zip(&fields).all(|(a, (b, _))| **a == **b);
        if !same {
            *last_names = fields.iter().map(|(n, _)| n.as_str().into()).collect();
        }
        let mut values = String::new();
        for (_, v) in &fields {
            push(&mut values, v);
        }
        Self {
            deleting: meta::deletion_timestamp(value).is_some(),
            labels: labels.into(),
            fields: values.into(),
            field_names: last_names.clone(),
        }
    }
}

/// NUL ends an item, so one inside (never valid in a label or a selectable field) is left out.
fn push(to: &mut String, item: &str) {
    to.extend(item.chars().filter(|c| *c != '\0'));
    to.push('\0');
}

/// The offset just behind the `{` of the top-level `metadata` object; `None` if there is none.
pub(crate) fn metadata_offset(json: &[u8]) -> Option<usize> {
    let mut depth = 0usize;
    let mut i = 0;
    while i < json.len() {
        match json[i] {
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth = depth.checked_sub(1)?,
            b'"' => {
                let start = i + 1;
                i = end_of_string(json, start)?;
                if depth == 1 && &json[start..i] == b"metadata" {
                    let mut rest = json[i + 1..].iter().enumerate().filter(|(_, c)| !c.is_ascii_whitespace());
                    if let (Some((_, b':')), Some((at, b'{'))) = (rest.next(), rest.next()) {
                        return Some(i + 1 + at + 1);
                    }
                }
            }
            _ => {}
        }
        i += 1;
    }
    None
}

/// Where the top-level fields `apiVersion` and `kind` of an encoded object are, each with the comma that it would leave behind.
pub fn type_fields(json: &[u8]) -> Vec<Range<usize>> {
    let mut found: Vec<Range<usize>> = Vec::with_capacity(2);
    let (mut depth, mut i) = (0usize, 0);
    // Start of the field whose name has been read, and whether it is one of the two.
    let mut field: Option<(usize, bool)> = None;
    // The comma in front of the present field.
    let mut comma = None;
    while i < json.len() && found.len() < 2 {
        match json[i] {
            b'{' | b'[' => depth += 1,
            end @ (b'}' | b']' | b',') if depth == 1 => {
                if let Some((start, true)) = field {
                    found.push(match (end, comma) {
                        (b',', _) => start..i + 1,
                        // The last one takes the comma in front of it.
                        (_, Some(comma)) if found.last().is_none_or(|f| f.end <= comma) => comma..i,
                        _ => start..i,
                    });
                }
                field = None;
                comma = (end == b',').then_some(i);
                depth -= usize::from(end != b',');
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            b'"' => {
                let Some(end) = end_of_string(json, i + 1) else { break };
                if depth == 1 && field.is_none() {
                    field = Some((i, matches!(&json[i + 1..end], b"apiVersion" | b"kind")));
                }
                i = end;
            }
            _ => {}
        }
        i += 1;
    }
    found
}

/// Index of the closing quote of the string whose first byte is at `from`.
fn end_of_string(json: &[u8], from: usize) -> Option<usize> {
    let mut i = from;
    loop {
        match *json.get(i)? {
            b'"' => return Some(i),
            b'\\' => i += 2,
            _ => i += 1,
        }
    }
}

/// `"resourceVersion":"N"`, with a comma unless `metadata` is empty otherwise.
fn splice_text(revision: Revision, empty: bool) -> String {
    format!("\"resourceVersion\":\"{revision}\"{}", if empty { "" } else { "," })
}

impl Object {
    /// The object whose stored form is `stored`. `None` if that is no object with metadata.
    pub(crate) fn new(key: Arc<str>, prefix: u16, revision: Revision, stored: &[u8], head: Head) -> Option<Self> {
        let at = metadata_offset(stored)?;
        let empty = stored[at..].iter().find(|c| !c.is_ascii_whitespace()) == Some(&b'}');
        let text = splice_text(revision, empty);
        let mut bytes = BytesMut::with_capacity(stored.len() + text.len());
        bytes.extend_from_slice(&stored[..at]);
        bytes.extend_from_slice(text.as_bytes());
        bytes.extend_from_slice(&stored[at..]);
        let splice = (u32::try_from(at).ok()?, u8::try_from(text.len()).ok()?);
        let Head { deleting, labels, fields, field_names } = head;
        Some(Self {
            key,
            revision,
            bytes: bytes.freeze(),
            binary: OnceLock::new(),
            splice,
            prefix,
            deleting,
            stale: false,
            labels,
            fields,
            field_names,
        })
    }

    /// The same content at another revision: what a watcher is told of an object that is gone.
    pub(crate) fn at_revision(&self, revision: Revision) -> Self {
        let (before, after) = self.stored_parts();
        let empty = after.iter().find(|c| !c.is_ascii_whitespace()) == Some(&b'}');
        let text = splice_text(revision, empty);
        let mut bytes = BytesMut::with_capacity(before.len() + after.len() + text.len());
        bytes.extend_from_slice(before);
        bytes.extend_from_slice(text.as_bytes());
        bytes.extend_from_slice(after);
        Self {
            key: self.key.clone(),
            revision,
            bytes: bytes.freeze(),
            binary: OnceLock::new(),
            // A revision has at most 20 digits: the text is at most 41 bytes.
            splice: (self.splice.0, u8::try_from(text.len()).unwrap_or(u8::MAX)),
            prefix: self.prefix,
            deleting: self.deleting,
            stale: self.stale,
            labels: self.labels.clone(),
            fields: self.fields.clone(),
            field_names: self.field_names.clone(),
        }
    }

    /// The stored form in two pieces: what precedes the resourceVersion, and what follows it.
    pub(crate) fn stored_parts(&self) -> (&[u8], &[u8]) {
        let at = self.splice.0 as usize;
        (&self.bytes[..at], &self.bytes[at + usize::from(self.splice.1)..])
    }

    pub(crate) fn into_stale(self) -> Self {
        Self { stale: true, ..self }
    }

    /// Whether `stored` is this object's stored form.
    pub(crate) fn is_stored_as(&self, stored: &[u8]) -> bool {
        if self.stale {
            return false;
        }
        let (before, after) = self.stored_parts();
        stored.len() == before.len() + after.len() && stored.starts_with(before) && stored.ends_with(after)
    }

    /// Bytes this object holds in memory, roughly.
    pub(crate) fn weight(&self) -> usize {
        self.bytes.len() + self.labels.len() + self.fields.len() + size_of::<Self>()
    }

    /// Key in the store: `/registry/pods/default/web`.
    pub fn key(&self) -> &Arc<str> {
        &self.key
    }
    pub fn revision(&self) -> Revision {
        self.revision
    }
    /// The object as clients get it: JSON in its storage version with `metadata.resourceVersion`.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }
    /// The object in a second encoding, which `encode` makes of its JSON the first time; kept with the object, so that lists and
    /// watches of all clients copy the same bytes.
    pub fn binary<E>(&self, encode: impl FnOnce(&[u8]) -> Result<Vec<u8>, E>) -> Result<Bytes, E> {
        if let Some(made) = self.binary.get() {
            return Ok(made.clone());
        }
        // To size: it stays as long as the object.
        let made = Bytes::from(encode(&self.bytes)?.into_boxed_slice());
        Ok(self.binary.get_or_init(|| made).clone())
    }
    /// Whether the second encoding has been made.
    pub fn has_binary(&self) -> bool {
        self.binary.get().is_some()
    }
    /// The object as a tree. Parses anew on each call; selecting and serving don't need it.
    pub fn value(&self) -> Value {
        serde_json::from_slice(&self.bytes).unwrap_or(Value::Null)
    }
    /// Name, from the key.
    pub fn name(&self) -> &str {
        let rest = &self.key[usize::from(self.prefix)..];
        rest.rsplit_once('/').map_or(rest, |(_, name)| name)
    }
    /// Namespace from the key; empty for objects of the cluster.
    pub fn namespace(&self) -> &str {
        self.key[usize::from(self.prefix)..].rsplit_once('/').map_or("", |(ns, _)| ns)
    }
    /// It has a deletionTimestamp.
    pub fn deleting(&self) -> bool {
        self.deleting
    }
    /// Labels in the object's order.
    pub fn labels(&self) -> impl Iterator<Item = (&str, &str)> {
        let mut items = self.labels.split_terminator('\0');
        std::iter::from_fn(move || Some((items.next()?, items.next()?)))
    }
    pub fn label(&self, key: &str) -> Option<&str> {
        self.labels().find(|(k, _)| *k == key).map(|(_, v)| v)
    }
    /// A selectable field; `metadata.name` and `metadata.namespace` are always there.
    pub fn field(&self, name: &str) -> Option<&str> {
        match name {
            "metadata.name" => Some(self.name()),
            "metadata.namespace" => Some(self.namespace()),
            _ => {
                let i = self.field_names.iter().position(|n| **n == *name)?;
                self.fields.split_terminator('\0').nth(i)
            }
        }
    }
}

impl std::fmt::Debug for Object {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}@{}", self.key, self.revision)
    }
}
