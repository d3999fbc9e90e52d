//! How this crate reads objects: the API server implements the trait from its caches.

use async_trait::async_trait;
use machinery::Value;
use std::sync::Arc;

/// Reads single objects: from the watch cache, and from the store where the cache does not have them (a token may be presented
/// before the cache has seen its pod).
#[async_trait]
pub trait ObjectGetter: Send + Sync {
    /// The object, or `None` where there is none. `namespace` is empty for cluster-scoped kinds. An error means "cannot tell".
    async fn get(
        &self,
        group: &str,
        resource: &str,
        namespace: &str,
        name: &str,
    ) -> Result<Option<Arc<Value>>, machinery::Status>;
}
