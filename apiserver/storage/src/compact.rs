//! Forgetting history: every interval, what was current one interval ago becomes the oldest revision that can be asked for.
//! Upstream: etcd3/compact.go, every 5 minutes.

use std::sync::Arc;
use std::time::Duration;
use store::Store;

/// Upstream's `--etcd-compaction-interval`.
pub const COMPACTION_INTERVAL: Duration = Duration::from_secs(300);

/// Compacts for ever; the caller drops the future at the end. Does nothing while nothing is written.
pub async fn compact_periodically(store: Arc<dyn Store>, interval: Duration) {
    let mut seen = 0;
    loop {
        tokio::time::sleep(interval).await;
        let current = match store.revision().await {
            Ok(current) => current,
            Err(error) => {
                tracing::warn!(%error, "reading the revision to compact");
                continue;
            }
        };
        let target = std::mem::replace(&mut seen, current);
        if target == 0 || target == current {
            continue;
        }
        match store.compact(target).await {
            // Another API server was faster.
            Ok(()) | Err(store::Error::Compacted { .. }) => tracing::debug!(revision = target, "compacted"),
            Err(error) => tracing::warn!(%error, revision = target, "compacting the store"),
        }
    }
}
