//! Objects in Kubernetes' protobuf form.

use machinery::Value;
use schema::proto::Codec;

/// Encodes an object with the `k8s` magic and envelope.
pub fn encode(value: &Value) -> Result<Vec<u8>, String> {
    Codec::builtin().encode_object(value).map_err(|e| e.to_string())
}

/// Decodes an object, its kind and version from the envelope.
pub fn decode(bytes: &[u8]) -> Result<Value, String> {
    Codec::builtin().decode_object(bytes, None).map_err(|e| e.to_string())
}
