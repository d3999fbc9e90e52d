//! Successful token authentications, remembered for ten seconds as upstream does (a service account or pod deleted meanwhile is
//! noticed after that). Keys are hashes: no token stays in memory.

use super::Authenticated;
use parking_lot::Mutex;
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::time::{Duration, Instant};

const LIFETIME: Duration = Duration::from_secs(10);
const CAPACITY: usize = 4096;

pub(super) type Key = [u8; 32];

#[derive(Default)]
pub(super) struct TokenCache(Mutex<HashMap<Key, (Instant, Authenticated)>>);

impl TokenCache {
    pub(super) fn key(token: &str, audiences: &[String]) -> Key {
        let mut h = Sha256::new();
        for part in std::iter::once(token).chain(audiences.iter().map(String::as_str)) {
            h.update((part.len() as u64).to_le_bytes());
            h.update(part);
        }
        h.finalize().into()
    }

    pub(super) fn get(&self, key: &Key) -> Option<Authenticated> {
        let map = self.0.lock();
        map.get(key).filter(|(until, _)| *until > Instant::now()).map(|(_, a)| a.clone())
    }

    pub(super) fn put(&self, key: Key, value: Authenticated) {
        let now = Instant::now();
        let mut map = self.0.lock();
        if map.len() >= CAPACITY {
            map.retain(|_, (until, _)| *until > now);
            if map.len() >= CAPACITY {
                map.clear();
            }
        }
        map.insert(key, (now + LIFETIME, value));
    }
}
