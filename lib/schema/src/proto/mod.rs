//! `application/vnd.kubernetes.protobuf`: object trees to Kubernetes' protobuf and back, driven by the field tables.
//!
//! Bytes are those of upstream's generated marshallers: fields in ascending order, scalars that are no pointers always
//! written, map keys sorted. Depth is bounded, lengths are checked against the input, and unknown fields are skipped.

mod decode;
mod encode;
mod plan;
#[cfg(test)]
mod tests;
mod tree;
pub(crate) mod wire;

use crate::registry::Registry;
use crate::types::{StructId, Types};
use plan::Entry;
use serde_json::Value;
use std::sync::LazyLock;
use tree::Node;

/// First bytes of an enveloped object.
pub const MAGIC: &[u8; 4] = b"k8s\0";

/// Nesting of messages; the same as the JSON parser's.
const MAX_DEPTH: u32 = 128;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProtoError {
    #[error("provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]")]
    Magic,
    #[error("unexpected EOF")]
    Truncated,
    #[error("proto: {0}")]
    Malformed(&'static str),
    #[error("no kind {kind:?} is registered for version {version:?}")]
    UnknownKind { version: String, kind: String },
    #[error("content type {0:?} inside a protobuf envelope is not supported")]
    ContentType(String),
    #[error("{0}")]
    Json(String),
    #[error("proto: {field}: {what} expected")]
    Type { field: String, what: &'static str },
}

/// The transcoder of one arena of types.
pub struct Codec {
    registry: &'static Registry,
    /// Per struct, its fields by number.
    plans: Vec<Vec<Entry>>,
}

impl Codec {
    /// The transcoder of the built-in kinds, prepared at first use.
    pub fn builtin() -> &'static Codec {
        static BUILTIN: LazyLock<Codec> = LazyLock::new(|| {
            let registry = Registry::builtin();
            Codec { registry, plans: registry.types().iter().map(|(_, s)| plan::plan(s)).collect() }
        });
        &BUILTIN
    }

    fn types(&self) -> &'static Types {
        self.registry.types()
    }
    fn plan(&self, id: StructId) -> &[Entry] {
        self.plans.get(id.0 as usize).map_or(&[], Vec::as_slice)
    }

    /// One message without envelope.
    pub fn encode(&self, value: &Value, root: StructId) -> Result<Vec<u8>, ProtoError> {
        encode::message(self, &Node::from(value), root)
    }

    /// The same of a JSON text, without making a tree of it.
    pub fn encode_json(&self, json: &[u8], root: StructId) -> Result<Vec<u8>, ProtoError> {
        let node = Node::parse(json).map_err(|e| ProtoError::Json(e.to_string()))?;
        encode::message(self, &node, root)
    }

    /// The inverse of [`Self::encode`]; the tree is normalized as the JSON decoder's.
    pub fn decode(&self, bytes: &[u8], root: StructId) -> Result<Value, ProtoError> {
        decode::message(self, bytes, root)
    }

    /// Magic, envelope and object; the kind is the object's own.
    pub fn encode_object(&self, value: &Value) -> Result<Vec<u8>, ProtoError> {
        let text = |key| value.get(key).and_then(Value::as_str).unwrap_or_default();
        let (api_version, kind) = (text("apiVersion"), text("kind"));
        let raw = self.encode(value, self.kind(api_version, kind)?)?;
        Ok(envelope(api_version, kind, &raw))
    }

    /// The same around an object that [`Self::encode`] gave.
    pub fn seal(api_version: &str, kind: &str, raw: &[u8]) -> Vec<u8> {
        envelope(api_version, kind, raw)
    }

    /// A list of objects that [`Self::encode`] gave; `head` is the list without items. Same bytes as of the whole tree.
    pub fn encode_list<T: AsRef<[u8]>>(&self, head: &Value, items: &[T]) -> Result<Vec<u8>, ProtoError> {
        /// Of `items` in every list; `metadata` is 1.
        const ITEMS: u32 = 2;
        let text = |key| head.get(key).and_then(Value::as_str).unwrap_or_default();
        let (api_version, kind) = (text("apiVersion"), text("kind"));
        let mut raw = self.encode(head, self.kind(api_version, kind)?)?;
        raw.reserve(items.iter().map(|i| i.as_ref().len() + 6).sum());
        for item in items {
            wire::bytes_field(&mut raw, ITEMS, item.as_ref());
        }
        Ok(envelope(api_version, kind, &raw))
    }

    /// An enveloped object. `default` is the (apiVersion, kind) of an envelope that names none.
    pub fn decode_object(&self, bytes: &[u8], default: Option<(&str, &str)>) -> Result<Value, ProtoError> {
        decode::object(self, bytes, default, 0)
    }

    /// A watch event around an object that [`Self::encode_object`] gave, with the length that frames it in the stream.
    pub fn watch_frame(event: &str, object: &[u8]) -> Vec<u8> {
        let mut raw = Vec::with_capacity(object.len() + 8);
        wire::bytes_field(&mut raw, 1, object);
        let mut out = vec![0; 4];
        wire::bytes_field(&mut out, 1, event.as_bytes());
        wire::bytes_field(&mut out, 2, &raw);
        let len = u32::try_from(out.len() - 4).unwrap_or(u32::MAX);
        out[..4].copy_from_slice(&len.to_be_bytes());
        out
    }

    /// Whether `kind` has a protobuf form.
    pub fn kind(&self, api_version: &str, kind: &str) -> Result<StructId, ProtoError> {
        let gv = api_version.rsplit_once('/').unwrap_or(("", api_version));
        let id = self.registry.kind(gv.0, gv.1, kind).filter(|id| !self.plan(*id).is_empty());
        id.ok_or_else(|| ProtoError::UnknownKind { version: api_version.into(), kind: kind.into() })
    }
}

/// `runtime.Unknown` around an encoded object.
fn envelope(api_version: &str, kind: &str, raw: &[u8]) -> Vec<u8> {
    let mut meta = Vec::with_capacity(api_version.len() + kind.len() + 4);
    wire::bytes_field(&mut meta, 1, api_version.as_bytes());
    wire::bytes_field(&mut meta, 2, kind.as_bytes());
    let mut out = Vec::with_capacity(raw.len() + meta.len() + 24);
    out.extend_from_slice(MAGIC);
    wire::bytes_field(&mut out, 1, &meta);
    wire::bytes_field(&mut out, 2, raw);
    wire::bytes_field(&mut out, 3, b"");
    wire::bytes_field(&mut out, 4, b"");
    out
}
