//! Objects in Kubernetes' protobuf form.

use crate::resources::Entry;
use bytes::Bytes;
use machinery::{Value, json};
use schema::proto::Codec;
use std::sync::Arc;
use storage::{List, Object};

/// Encodes an object with the `k8s` magic and envelope.
pub fn encode(value: &Value) -> Result<Vec<u8>, String> {
    Codec::builtin().encode_object(value).map_err(|e| e.to_string())
}

/// Decodes an object, its kind and version from the envelope.
pub fn decode(bytes: &[u8]) -> Result<Value, String> {
    Codec::builtin().decode_object(bytes, None).map_err(|e| e.to_string())
}

/// A stored object without envelope; encoded once for all clients.
fn message(entry: &Entry, object: &Object) -> Result<Bytes, String> {
    let codec = Codec::builtin();
    let kind = codec.kind(&entry.api_version(), &entry.gvk.kind).map_err(|e| e.to_string())?;
    object.binary(|json| codec.encode_json(json, kind)).map_err(|e| e.to_string())
}

/// A stored object that is served in the version it is stored in.
pub fn stored(entry: &Entry, object: &Object) -> Result<Vec<u8>, String> {
    Ok(Codec::seal(&entry.api_version(), &entry.gvk.kind, &message(entry, object)?))
}

/// Objects that are encoded in one go; more are shared out.
const AT_ONCE: usize = 64;

/// A list of such objects. The first one of many encodes them on as many threads as there are.
pub async fn list(entry: &Arc<Entry>, list: &List, list_meta: &Value) -> Result<Vec<u8>, String> {
    let fresh: Vec<Arc<Object>> = list.items.iter().filter(|o| !o.has_binary()).cloned().collect();
    if fresh.len() > AT_ONCE {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let share = fresh.len().div_ceil(threads).max(AT_ONCE);
        let mut shares = tokio::task::JoinSet::new();
        for objects in fresh.chunks(share) {
            let (entry, objects) = (entry.clone(), objects.to_vec());
            shares.spawn_blocking(move || objects.iter().try_for_each(|o| message(&entry, o).map(drop)));
        }
        while let Some(done) = shares.join_next().await {
            done.map_err(|e| e.to_string())??;
        }
    }
    let items = list.items.iter().map(|o| message(entry, o)).collect::<Result<Vec<_>, _>>()?;
    let head = json!({"kind": &*entry.row.list_kind, "apiVersion": entry.api_version(), "metadata": list_meta});
    Codec::builtin().encode_list(&head, &items).map_err(|e| e.to_string())
}
