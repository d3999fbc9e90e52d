//! `fieldsV1`: a set as nested JSON objects, with `f:`, `k:`, `v:` and `i:` keys, and `.` where a node with children is a member.

use super::{Element, Node, Scalar, Set};
use crate::MAX_DEPTH;
use machinery::{Map, Value};

/// Why a `fieldsV1` could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct DecodeError(String);

impl Set {
    /// The `fieldsV1` object.
    pub fn to_value(&self) -> Value {
        let mut out = Map::new();
        for (e, n) in &self.nodes {
            let mut child = n.children.to_value();
            if n.member
                && let Value::Object(m) = &mut child
                && !m.is_empty()
            {
                m.insert(".".into(), Value::Object(Map::new()));
            }
            out.insert(encode(e), child);
        }
        Value::Object(out)
    }

    /// Reads a `fieldsV1` object.
    pub fn from_value(v: &Value) -> Result<Self, DecodeError> {
        decode_level(v, 0).map(|n| n.children)
    }
}

fn decode_level(v: &Value, depth: usize) -> Result<Node, DecodeError> {
    if depth > MAX_DEPTH {
        return Err(DecodeError("nested too deeply".into()));
    }
    let m = match v {
        Value::Null => return Ok(Node { member: true, children: Set::new() }),
        Value::Object(m) => m,
        other => return Err(DecodeError(format!("expected an object, found {other}"))),
    };
    let mut node = Node { member: m.is_empty() || m.contains_key("."), children: Set::new() };
    for (k, v) in m.iter().filter(|(k, _)| *k != ".") {
        let child = decode_level(v, depth + 1)?;
        node.children.nodes.insert(decode(k)?, child);
    }
    Ok(node)
}

fn encode(e: &Element) -> String {
    match e {
        Element::Field(name) => format!("f:{name}"),
        Element::Key(keys) => {
            let keys: Map<String, Value> = keys.iter().map(|(k, v)| (k.to_string(), v.0.clone())).collect();
            format!("k:{}", Value::Object(keys))
        }
        Element::Value(v) => format!("v:{}", v.0),
        Element::Index(i) => format!("i:{i}"),
    }
}

fn decode(s: &str) -> Result<Element, DecodeError> {
    let bad = |why: &dyn std::fmt::Display| DecodeError(format!("bad path element {s:?}: {why}"));
    let Some((kind, rest)) = s.split_once(':') else { return Err(bad(&"missing colon")) };
    let json = || serde_json::from_str::<Value>(rest).map_err(|e| bad(&e));
    match kind {
        "f" => Ok(Element::field(rest)),
        "v" => json().map(|v| Element::Value(Scalar(v))),
        "k" => match json()? {
            Value::Object(m) => {
                let mut keys: Vec<_> = m.into_iter().map(|(k, v)| (k.into_boxed_str(), Scalar(v))).collect();
                keys.sort();
                Ok(Element::Key(keys))
            }
            _ => Err(bad(&"a key must be an object")),
        },
        "i" => rest.parse().map(Element::Index).map_err(|e| bad(&e)),
        _ => Err(bad(&"unknown path element type")),
    }
}
