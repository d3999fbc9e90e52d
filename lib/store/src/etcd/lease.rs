//! Leases for keys that expire. Granting one costs a consensus round, so keys that end at about the same time share one, as
//! upstream's lease manager has it: up to 1,000 keys, within 5 % of the time to live (at most a minute).

use super::pb::LeaseGrantRequest;
use super::pb::lease_client::LeaseClient;
use crate::{Error, Result};
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::time::Instant;
use tonic::transport::Channel;

const SHARED_BY: u32 = 1000;
const LONGEST_REUSE: Duration = Duration::from_secs(60);

pub struct Leases {
    client: LeaseClient<Channel>,
    last: Mutex<Option<Lease>>,
}

struct Lease {
    id: i64,
    ends: Instant,
    keys: u32,
}

impl Leases {
    pub fn new(channel: Channel) -> Self {
        Self { client: LeaseClient::new(channel), last: Mutex::new(None) }
    }

    /// A lease that lasts at least `ttl` from now.
    pub async fn get(&self, ttl: Duration) -> Result<i64> {
        let reuse = (ttl / 20).min(LONGEST_REUSE);
        let now = Instant::now();
        let mut last = self.last.lock().await;
        if let Some(lease) = last.as_mut()
            && now + ttl < lease.ends
            && now + ttl + reuse > lease.ends
            && lease.keys < SHARED_BY
        {
            lease.keys += 1;
            return Ok(lease.id);
        }
        let seconds = (ttl + reuse).as_secs_f64().ceil().max(1.0);
        // A time to live is far below 2^53 seconds.
        let request = LeaseGrantRequest { ttl: seconds as i64 };
        let granted = self.client.clone().lease_grant(request).await.map_err(|e| Error::Unavailable {
            message: format!("etcd: granting a lease: {}", e.message()),
            maybe_written: false,
        })?;
        let id = granted.into_inner().id;
        *last = Some(Lease { id, ends: now + Duration::from_secs_f64(seconds), keys: 1 });
        Ok(id)
    }
}
