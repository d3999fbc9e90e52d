//! Which node ports are taken, as one value in the store that every API server on it compares and swaps: the RangeAllocation that
//! upstream keeps (pkg/registry/core/service/allocator/storage), as JSON.

use super::Failure;
use super::port::PortRange;
use crate::server::Inner;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use machinery::{Status, Value, json, meta};
use store::Revision;

fn key(server: &Inner) -> String {
    server.config.prefix("ranges/servicenodeports").trim_end_matches('/').to_owned()
}

fn unavailable(e: &store::Error) -> Status {
    Status::internal(format!("reading or writing the allocation of node ports: {e}"))
}

/// The ports and the revision they were read at; `None` where nothing was kept yet.
async fn read(server: &Inner) -> Result<(PortRange, Option<Revision>), Status> {
    let (low, high) = server.config.service_node_port_range;
    let empty = || PortRange::new(low, high);
    let Some(kv) = server.store.get(&key(server)).await.map_err(|e| unavailable(&e))?.0 else { return Ok((empty(), None)) };
    let stored: Value = serde_json::from_slice(&kv.value)
        .map_err(|e| Status::internal(format!("the allocation of node ports is in no form that this server reads: {e}")))?;
    let mut range = empty();
    let lowest = meta::str_at(&stored, &["range"]).split('-').next().and_then(|l| l.parse::<u16>().ok()).unwrap_or(low);
    let bits = STANDARD.decode(meta::str_at(&stored, &["data"])).unwrap_or_default();
    for (byte, value) in bits.iter().rev().enumerate() {
        for bit in (0..8).filter(|b| value & (1 << b) != 0) {
            if let Ok(offset) = u16::try_from(byte * 8 + bit) {
                range.mark(lowest.saturating_add(offset));
            }
        }
    }
    Ok((range, Some(kv.mod_revision)))
}

/// A big-endian number whose bits are the ports from the lowest on.
fn encode(range: &PortRange) -> Vec<u8> {
    let (low, high) = range.bounds();
    let last = usize::from(high - low) / 8;
    let mut bits = vec![0u8; last + 1];
    for port in range.used() {
        let offset = usize::from(port - low);
        bits[last - offset / 8] |= 1 << (offset % 8);
    }
    bits
}

/// Changes the set of ports until nobody else has in between. `change` is called again from the start each time.
pub async fn change<T>(server: &Inner, mut change: impl FnMut(&mut PortRange) -> Result<T, Failure>) -> Result<T, Failure> {
    loop {
        let (mut range, revision) = read(server).await?;
        let before = encode(&range);
        let out = change(&mut range)?;
        let after = encode(&range);
        if before == after && revision.is_some() {
            return Ok(out);
        }
        let (low, high) = range.bounds();
        let value = json!({"kind": "RangeAllocation", "apiVersion": "v1", "metadata": {},
            "range": format!("{low}-{high}"), "data": STANDARD.encode(after)});
        let bytes = value.to_string().into();
        let written = match revision {
            Some(r) => server.store.update(&key(server), r, bytes, None).await,
            None => server.store.create(&key(server), bytes, None).await,
        };
        match written {
            Ok(_) => return Ok(out),
            Err(store::Error::Conflict { .. }) => {}
            Err(e) => return Err(unavailable(&e).into()),
        }
    }
}
