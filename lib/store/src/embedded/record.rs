//! The bytes of a log record: one per revision. See DESIGN.md, "Records".

use crate::{Error, Event, KeyValue, Result, Revision};
use bytes::Bytes;
use std::sync::Arc;

const PUT: u8 = 1;
const DELETE: u8 = 2;
/// Kind, previous revision, creation revision, version, expiry, length of the key.
const HEADER: usize = 1 + 8 + 8 + 8 + 8 + 2;

/// What a write does to its key.
#[derive(Clone, Debug)]
pub enum Action {
    /// `expires_at` in milliseconds since the epoch; 0 is never.
    Put {
        value: Bytes,
        expires_at: u64,
    },
    Delete,
}

/// What the index knows of a current key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Meta {
    pub create_revision: Revision,
    pub mod_revision: Revision,
    pub version: u64,
    pub expires_at: u64,
}

/// A write with its place in history.
#[derive(Clone, Debug)]
pub struct Record {
    pub key: Arc<str>,
    pub revision: Revision,
    /// The revision of the record this one supersedes; 0 if the key did not exist.
    pub previous: Revision,
    pub create_revision: Revision,
    pub version: u64,
    pub action: Action,
}

/// A record in the log, read in place.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    pub previous: Revision,
    pub key: &'a str,
    /// `None` for a deletion.
    pub put: Option<(Meta, &'a [u8])>,
}

impl Record {
    pub fn encoded_len(&self) -> usize {
        let value = if let Action::Put { value, .. } = &self.action { value.len() } else { 0 };
        HEADER + self.key.len() + value
    }

    /// Fills `out`, which is `encoded_len` bytes.
    pub fn encode(&self, out: &mut [u8]) {
        let (kind, expires_at, value): (u8, u64, &[u8]) = match &self.action {
            Action::Put { value, expires_at } => (PUT, *expires_at, value),
            Action::Delete => (DELETE, 0, &[]),
        };
        // Keys are at most KEY_LIMIT bytes, so the length fits.
        let key_len = u16::try_from(self.key.len()).unwrap_or(u16::MAX);
        let parts: [&[u8]; 8] = [
            &[kind],
            &self.previous.to_le_bytes(),
            &self.create_revision.to_le_bytes(),
            &self.version.to_le_bytes(),
            &expires_at.to_le_bytes(),
            &key_len.to_le_bytes(),
            self.key.as_bytes(),
            value,
        ];
        let mut at = 0;
        for part in parts {
            out[at..at + part.len()].copy_from_slice(part);
            at += part.len();
        }
    }

    /// What the index keeps; `None` if the record deletes.
    pub fn meta(&self) -> Option<Meta> {
        let Action::Put { expires_at, .. } = self.action else { return None };
        let Self { create_revision, revision, version, .. } = *self;
        Some(Meta { create_revision, mod_revision: revision, version, expires_at })
    }

    pub fn event(&self) -> Event {
        match (&self.action, self.meta()) {
            (Action::Put { value, .. }, Some(meta)) => Event::Put(meta.key_value(self.key.clone(), value.clone())),
            _ => Event::Delete { key: self.key.clone(), revision: self.revision },
        }
    }
}

impl Meta {
    pub fn key_value(&self, key: Arc<str>, value: Bytes) -> KeyValue {
        let Self { create_revision, mod_revision, version, .. } = *self;
        KeyValue { key, value, create_revision, mod_revision, version }
    }
}

impl<'a> View<'a> {
    pub fn decode(revision: Revision, bytes: &'a [u8]) -> Result<Self> {
        Self::parse(revision, bytes).ok_or_else(|| Error::Corrupt(format!("the record of revision {revision} is malformed")))
    }

    fn parse(revision: Revision, bytes: &'a [u8]) -> Option<Self> {
        let (kind, rest) = bytes.split_first()?;
        let (previous, rest) = take_u64(rest)?;
        let (create_revision, rest) = take_u64(rest)?;
        let (version, rest) = take_u64(rest)?;
        let (expires_at, rest) = take_u64(rest)?;
        let (len, rest) = rest.split_first_chunk::<2>()?;
        let (key, value) = rest.split_at_checked(usize::from(u16::from_le_bytes(*len)))?;
        let key = std::str::from_utf8(key).ok()?;
        let meta = Meta { create_revision, mod_revision: revision, version, expires_at };
        let put = match *kind {
            PUT => Some((meta, value)),
            DELETE => None,
            _ => return None,
        };
        Some(Self { previous, key, put })
    }

    pub fn event(&self, revision: Revision) -> Event {
        match self.put {
            Some((meta, value)) => Event::Put(meta.key_value(self.key.into(), Bytes::copy_from_slice(value))),
            None => Event::Delete { key: self.key.into(), revision },
        }
    }
}

fn take_u64(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let (head, rest) = bytes.split_first_chunk::<8>()?;
    Some((u64::from_le_bytes(*head), rest))
}
