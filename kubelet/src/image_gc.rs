//! Removal of unused images when their filesystem fills up (upstream pkg/kubelet/images/image_gc_manager.go): above the high
//! threshold images go, the longest unused first, until usage is below the low one.

use crate::context::Context;
use client::EventType;
use jiff::{SignedDuration, Timestamp};
use std::collections::{HashMap, HashSet};

/// When an image was first seen and last used by a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Seen {
    first: Timestamp,
    used: Option<Timestamp>,
}

/// An image that no container uses.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Unused {
    id: String,
    size: u64,
    seen: Seen,
}

/// Remembers images between runs.
#[derive(Default)]
pub struct ImageCollector {
    seen: HashMap<String, Seen>,
}

impl ImageCollector {
    /// Looks at the image filesystem and frees what the thresholds ask for.
    pub async fn collect(&mut self, ctx: &Context) {
        let unused = self.unused(ctx).await;
        let k = &ctx.config.kubelet;
        let Some((capacity, available)) = space(ctx).await else { return };
        let wanted = to_free(capacity, available, k.image_gc_high_threshold_percent, k.image_gc_low_threshold_percent);
        if wanted == 0 {
            return;
        }
        let freed = self.remove(ctx, unused, wanted).await;
        if freed < wanted {
            let message = format!(
                "Failed to garbage collect required amount of images. Attempted to free {wanted} bytes, but only found {freed} \
                 bytes eligible to free."
            );
            ctx.event(&ctx.node_reference(), EventType::Warning, "FreeDiskSpaceFailed", message);
        }
    }

    /// Removes every unused image: the node is short of disk.
    pub async fn remove_all(&mut self, ctx: &Context) {
        let unused = self.unused(ctx).await;
        self.remove(ctx, unused, u64::MAX).await;
    }

    async fn unused(&mut self, ctx: &Context) -> Vec<Unused> {
        let listed = futures::future::try_join(ctx.runtime.list_images(), ctx.runtime.list_containers("")).await;
        let Ok((images, containers)) = listed else { return Vec::new() };
        let now = ctx.clock.now();
        let used: HashSet<String> = containers
            .into_iter()
            .flat_map(|c| [c.image_ref, c.image_id, c.image.map(|i| i.image).unwrap_or_default()])
            .collect();
        self.seen.retain(|id, _| images.iter().any(|i| i.id == *id));
        let mut unused = Vec::new();
        for i in images {
            let seen = self.seen.entry(i.id.clone()).or_insert(Seen { first: now, used: None });
            if std::iter::once(&i.id).chain(&i.repo_tags).chain(&i.repo_digests).any(|n| used.contains(n)) {
                seen.used = Some(now);
            } else if !i.pinned {
                unused.push(Unused { id: i.id, size: i.size, seen: *seen });
            }
        }
        unused
    }

    async fn remove(&mut self, ctx: &Context, unused: Vec<Unused>, wanted: u64) -> u64 {
        let age = SignedDuration::try_from(ctx.config.kubelet.image_minimum_gc_age).unwrap_or(SignedDuration::ZERO);
        let mut freed = 0;
        for i in in_order(unused, ctx.clock.now(), age) {
            if freed >= wanted {
                break;
            }
            match ctx.runtime.remove_image(&i.id).await {
                Ok(()) => {
                    tracing::info!(image = i.id, bytes = i.size, "unused image removed");
                    self.seen.remove(&i.id);
                    freed = freed.saturating_add(i.size);
                }
                Err(e) => tracing::warn!(image = i.id, error = %e, "image not removed"),
            }
        }
        freed
    }
}

/// Those old enough to go, the longest unused first.
fn in_order(mut unused: Vec<Unused>, now: Timestamp, age: SignedDuration) -> Vec<Unused> {
    unused.retain(|i| now.duration_since(i.seen.first) >= age);
    unused.sort_by_key(|i| (i.seen.used, i.seen.first));
    unused
}

/// Bytes to free: none below the high threshold (in percent), else what is above the low one.
fn to_free(capacity: u64, available: u64, high: u8, low: u8) -> u64 {
    if capacity == 0 || high >= 100 {
        return 0;
    }
    let part = |n: u64, percent: u64| u64::try_from(u128::from(n) * u128::from(percent) / 100).unwrap_or(u64::MAX);
    let usage = 100 - u64::try_from(u128::from(available.min(capacity)) * 100 / u128::from(capacity)).unwrap_or(100);
    if usage < u64::from(high) { 0 } else { part(capacity, 100 - u64::from(low.min(100))).saturating_sub(available) }
}

/// Capacity and free bytes of the filesystem that holds the images.
async fn space(ctx: &Context) -> Option<(u64, u64)> {
    let info = ctx.runtime.image_fs().await.ok()?;
    let at = info.image_filesystems.first()?.fs_id.as_ref()?.mountpoint.clone();
    let s = rustix::fs::statvfs(&at).ok()?;
    Some((s.f_blocks * s.f_frsize, s.f_bavail * s.f_frsize))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thresholds() {
        for (name, available, high, low, want) in [
            ("room", 20, 85, 80, 0),
            ("full", 10, 85, 80, 10),
            ("at the threshold", 15, 85, 80, 5),
            ("switched off", 0, 100, 80, 0),
        ] {
            assert_eq!(to_free(100, available, high, low), want, "{name}");
        }
    }

    #[test]
    fn order() {
        let at = |s: i64| Timestamp::from_second(s).expect("time");
        let image = |id: &str, first: i64, used: Option<i64>| Unused {
            id: id.into(),
            size: 1,
            seen: Seen { first: at(first), used: used.map(at) },
        };
        let all =
            vec![image("recent", 0, Some(90)), image("young", 95, None), image("long ago", 0, Some(10)), image("never", 5, None)];
        let ids: Vec<String> = in_order(all, at(100), SignedDuration::from_secs(60)).into_iter().map(|i| i.id).collect();
        assert_eq!(ids, ["never", "long ago", "recent"]);
    }
}
