//! How objects look at rest: as they are, or encrypted (EncryptionConfiguration) by another implementation of the trait.

use bytes::Bytes;

/// Turns the stored form into what lies in the store, and back. `key` is authenticated data, so that values can't be swapped.
pub trait Transformer: Send + Sync + 'static {
    fn to_storage(&self, key: &str, plain: Bytes) -> Result<Bytes, String>;
    fn from_storage(&self, key: &str, stored: Bytes) -> Result<Bytes, String>;
}

/// No transformation.
#[derive(Clone, Copy, Debug, Default)]
pub struct Identity;

impl Transformer for Identity {
    fn to_storage(&self, _key: &str, plain: Bytes) -> Result<Bytes, String> {
        Ok(plain)
    }
    fn from_storage(&self, _key: &str, stored: Bytes) -> Result<Bytes, String> {
        Ok(stored)
    }
}
