//! Tests of `proto`.

use super::*;
use crate::decode::{Mode, decode as decode_json};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;
use std::io::Read;

/// What upstream's marshallers wrote (hack/schema-gen/vectors): JSON and protobuf of each kind, empty and full.
fn vectors() -> Vec<(Value, Vec<u8>)> {
    let mut text = String::new();
    let packed = &include_bytes!("../../testdata/vectors.tsv.gz")[..];
    flate2::read::GzDecoder::new(packed).read_to_string(&mut text).expect("gzip");
    let line = |l: &str| {
        let (json, proto) = l.split_once('\t').expect("two columns");
        (serde_json::from_str(json).expect("JSON"), STANDARD.decode(proto).expect("base64"))
    };
    text.lines().map(line).collect()
}

/// The first place where two trees differ.
fn difference(path: &str, a: &Value, b: &Value) -> Option<String> {
    match (a, b) {
        (Value::Object(x), Value::Object(y)) => {
            let mut keys: Vec<_> = x.keys().chain(y.keys()).collect();
            keys.sort();
            keys.dedup();
            keys.iter().find_map(|k| match (x.get(*k), y.get(*k)) {
                (Some(a), Some(b)) => difference(&format!("{path}.{k}"), a, b),
                (a, b) => Some(format!("{path}.{k}: {a:?} against {b:?}")),
            })
        }
        (Value::Array(x), Value::Array(y)) if x.len() == y.len() => {
            x.iter().zip(y).enumerate().find_map(|(i, (a, b))| difference(&format!("{path}[{i}]"), a, b))
        }
        _ => (a != b).then(|| format!("{path}: {a} against {b}")),
    }
}

#[test]
fn same_as_upstream() {
    let codec = Codec::builtin();
    let mut failures = Vec::new();
    for (json, proto) in vectors() {
        let name = format!("{} {}", json["apiVersion"], json["kind"]);
        match codec.decode_object(&proto, None) {
            Ok(got) => failures.extend(difference("", &got, &json).map(|d| format!("{name} from protobuf {d}"))),
            Err(e) => failures.push(format!("{name} from protobuf: {e}")),
        }
        match codec.encode_object(&json) {
            Ok(got) if got == proto => {}
            Ok(got) => failures.push(format!("{name} to protobuf: {} bytes against {}", got.len(), proto.len())),
            Err(e) => failures.push(format!("{name} to protobuf: {e}")),
        }
        let typed = {
            let id = codec.kind(json["apiVersion"].as_str().expect("version"), json["kind"].as_str().expect("kind"));
            Registry::builtin().typed(id.expect("kind"))
        };
        match decode_json(json.to_string().as_bytes(), typed, Mode::Strict) {
            Ok((got, problems)) => {
                failures.extend(difference("", &got, &json).map(|d| format!("{name} from JSON {d}")));
                failures.extend(problems.first().map(|p| format!("{name} from JSON: {p}")));
            }
            Err(e) => failures.push(format!("{name} from JSON: {e}")),
        }
        let mut tree = json.clone();
        match crate::decode::normalize(&mut tree, typed) {
            Ok(problems) => {
                failures.extend(difference("", &tree, &json).map(|d| format!("{name} from a tree {d}")));
                failures.extend(problems.first().map(|p| format!("{name} from a tree: {p}")));
            }
            Err(e) => failures.push(format!("{name} from a tree: {e}")),
        }
    }
    assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures[..failures.len().min(40)].join("\n"));
}

#[test]
fn bombs_and_garbage_are_refused() {
    let codec = Codec::builtin();
    let id = Registry::builtin().types().by_name(crate::decode::SCHEMA).expect("schema");
    // `not` inside `not`, 100,000 deep.
    let not = Registry::builtin().types().get(id).field("not").and_then(|f| f.proto).expect("number").0;
    let mut bytes = Vec::new();
    for _ in 0..2_000 {
        let mut outer = Vec::new();
        wire::bytes_field(&mut outer, not, &bytes);
        bytes = outer;
    }
    assert_eq!(codec.decode(&bytes, id), Err(ProtoError::Malformed("exceeded max depth")));
    let pod = codec.kind("v1", "Pod").expect("Pod");
    for (name, bytes, want) in [
        ("length beyond the end", &b"\x0a\xff\xff\xff\xff\x0f"[..], ProtoError::Truncated),
        ("group", b"\x0b", ProtoError::Malformed("illegal wireType")),
        ("field 0", b"\x00\x00", ProtoError::Malformed("illegal tag")),
        ("endless varint", b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", ProtoError::Malformed("integer overflow")),
    ] {
        assert_eq!(codec.decode(bytes, pod), Err(want), "{name}");
    }
    assert_eq!(codec.decode_object(b"{}", None), Err(ProtoError::Magic));
}

proptest! {
    #[test]
    fn never_panics(bytes in prop::collection::vec(any::<u8>(), 0..300), at in 0usize..300) {
        let codec = Codec::builtin();
        let pod = codec.kind("v1", "Pod").expect("Pod");
        let _ = codec.decode(&bytes, pod);
        let mut envelope = MAGIC.to_vec();
        envelope.extend(&bytes);
        let _ = codec.decode_object(&envelope, Some(("v1", "Pod")));
        // A real object with one byte changed.
        let mut damaged = codec.encode_object(&serde_json::json!({"apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": "p", "labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}})).expect("encodes");
        let i = at % damaged.len();
        damaged[i] ^= bytes.first().copied().unwrap_or(1);
        let _ = codec.decode_object(&damaged, None);
    }

    #[test]
    fn there_and_back(name in "\\PC{0,20}", labels in prop::collection::btree_map("[a-z]{1,8}", "\\PC{0,10}", 0..4),
                      replicas in prop::option::of(any::<i32>()), paused in any::<bool>()) {
        let mut spec = serde_json::json!({"template": {"metadata": {"labels": labels}, "spec": {"containers": [{"name": name}]}},
            "selector": {"matchLabels": labels}, "paused": paused});
        if let Some(n) = replicas {
            spec["replicas"] = n.into();
        }
        let mut object = serde_json::json!({"apiVersion": "apps/v1", "kind": "Deployment", "spec": spec});
        let typed = Registry::builtin().typed_kind("apps", "v1", "Deployment").expect("Deployment");
        crate::decode::normalize(&mut object, typed).expect("normalizes");
        let codec = Codec::builtin();
        let bytes = codec.encode_object(&object).expect("encodes");
        prop_assert_eq!(codec.decode_object(&bytes, None).expect("decodes"), object);
    }
}

#[test]
fn a_list_of_encoded_items_is_the_list() {
    let codec = Codec::builtin();
    let items: Vec<Value> = vectors().into_iter().map(|(json, _)| json).filter(|v| v["kind"] == "Pod").collect();
    assert!(!items.is_empty());
    let pod = codec.kind("v1", "Pod").expect("kind");
    let encoded: Vec<Vec<u8>> = items.iter().map(|v| codec.encode(v, pod).expect("encodes")).collect();
    let mut list =
        serde_json::json!({"apiVersion": "v1", "kind": "PodList", "metadata": {"resourceVersion": "7", "continue": "x"}});
    let joined = codec.encode_list(&list, &encoded).expect("encodes");
    list["items"] = items.into();
    assert_eq!(joined, codec.encode_object(&list).expect("encodes"));
}
