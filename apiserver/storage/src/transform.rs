//! How objects look at rest: as they are, or encrypted (EncryptionConfiguration) by another implementation of the trait.

use bytes::Bytes;

/// Turns the stored form into what lies in the store, and back. `key` is authenticated data, so that values can't be swapped.
pub trait Transformer: Send + Sync + 'static {
    fn seal(&self, key: &str, plain: Bytes) -> Result<Bytes, String>;
    fn unseal(&self, key: &str, stored: Bytes) -> Result<Bytes, String>;
}

/// No transformation.
#[derive(Clone, Copy, Debug, Default)]
pub struct Identity;

impl Transformer for Identity {
    fn seal(&self, _key: &str, plain: Bytes) -> Result<Bytes, String> {
        Ok(plain)
    }
    fn unseal(&self, _key: &str, stored: Bytes) -> Result<Bytes, String> {
        Ok(stored)
    }
}
