//! One stored object as the cache keeps it: the bytes that clients get, and the little that selecting needs.
//!
//! The store holds objects without `metadata.resourceVersion`, since the revision is known only once written. The served form
//! is the stored form with `"resourceVersion":"N",` put in at the start of `metadata`, so neither form needs a second encoding.

use bytes::{Bytes, BytesMut};
use machinery::{Value, meta};
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
    /// Where `apiVersion` and `kind` are, each with the comma behind it: items of a list go without them.
    type_meta: [(u32, u8); 2],
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

/// What is where in an object's JSON.
pub(crate) struct Layout {
    /// Just behind the `{` of the top-level `metadata` object.
    metadata: usize,
    /// Start and length of `apiVersion` and `kind` with the comma behind; 0 where they are not before `metadata`.
    type_meta: [(u32, u8); 2],
}

/// A member `"key":"value",` whose key ends at `end`: its length from the key's opening quote at `start`.
fn text_member(json: &[u8], start: usize, end: usize) -> Option<(u32, u8)> {
    let open = json[end + 1..].strip_prefix(b":\"").map(|_| end + 3)?;
    let close = end_of_string(json, open)?;
    (json.get(close + 1) == Some(&b',')).then_some(())?;
    Some((u32::try_from(start).ok()?, u8::try_from(close + 2 - start).ok()?))
}

/// Scans an object up to its metadata; `None` if there is none.
pub(crate) fn layout(json: &[u8]) -> Option<Layout> {
    let mut depth = 0usize;
    let mut type_meta = [(0, 0); 2];
    let mut i = 0;
    while i < json.len() {
        match json[i] {
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth = depth.checked_sub(1)?,
            b'"' => {
                let start = i + 1;
                i = end_of_string(json, start)?;
                match &json[start..i] {
                    b"metadata" if depth == 1 => {
                        let mut rest = json[i + 1..].iter().enumerate().filter(|(_, c)| !c.is_ascii_whitespace());
                        if let (Some((_, b':')), Some((at, b'{'))) = (rest.next(), rest.next()) {
                            return Some(Layout { metadata: i + 1 + at + 1, type_meta });
                        }
                    }
                    key @ (b"apiVersion" | b"kind") if depth == 1 => {
                        if let Some(member) = text_member(json, start - 1, i) {
                            type_meta[usize::from(key == b"kind")] = member;
                        }
                    }
                    _ => {}
                }
            }
            _ => {}
        }
        i += 1;
    }
    None
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
        let Layout { metadata: at, type_meta } = layout(stored)?;
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
            type_meta,
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
            type_meta: self.type_meta,
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
    /// [`Object::bytes`] without `apiVersion` and `kind`, in pieces: an item of a list.
    pub fn untyped(&self) -> [&[u8]; 3] {
        let [mut a, mut b] = self.type_meta.map(|(at, len)| (at as usize, at as usize + usize::from(len)));
        if b.0 < a.0 {
            std::mem::swap(&mut a, &mut b);
        }
        [&self.bytes[..a.0], &self.bytes[a.1..b.0], &self.bytes[b.1..]]
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_of_lists_have_no_type() {
        for (name, stored, want) in [
            (
                "in front",
                r#"{"apiVersion":"v1","kind":"Pod","metadata":{"name":"a"}}"#,
                r#"{"metadata":{"resourceVersion":"7","name":"a"}}"#,
            ),
            (
                "with data between",
                r#"{"apiVersion":"v1","data":{"kind":"x","q":"\"}"},"kind":"ConfigMap","metadata":{}}"#,
                r#"{"data":{"kind":"x","q":"\"}"},"metadata":{"resourceVersion":"7"}}"#,
            ),
            (
                "values alike",
                r#"{"action":"kind","kind":"Event","metadata":{"kind":"x"},"reason":"kind"}"#,
                r#"{"action":"kind","metadata":{"resourceVersion":"7","kind":"x"},"reason":"kind"}"#,
            ),
        ] {
            let value = serde_json::from_str(stored).expect(name);
            let head = Head::new(&value, Vec::new(), &mut FieldNames::default());
            let object = Object::new("/registry/x/a".into(), 11, 7, stored.as_bytes(), head).expect(name);
            assert_eq!(String::from_utf8(object.untyped().concat()).expect(name), want, "{name}");
            let later = object.at_revision(8);
            assert_eq!(String::from_utf8(later.untyped().concat()).expect(name), want.replace('7', "8"), "{name}");
        }
    }
}
