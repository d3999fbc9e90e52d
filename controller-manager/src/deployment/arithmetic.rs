//! How many: surge, unavailability, sums and proportions.

use super::annotations;
use super::{replicas, set_replicas, spec, strategy};
use crate::core::intstr::scaled;
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};

/// maxSurge and maxUnavailable as numbers. Where both round to zero, one pod may be unavailable, or nothing would ever move.
pub fn fenceposts(d: &Deployment, desired: i32) -> (i32, i32) {
    let rolling = spec(d).strategy.as_ref().and_then(|s| s.rolling_update.as_ref());
    let surge = rolling.and_then(|r| r.max_surge.as_ref()).map_or(0, |v| scaled(v, desired, true).unwrap_or(0));
    let unavailable = rolling.and_then(|r| r.max_unavailable.as_ref()).map_or(0, |v| scaled(v, desired, false).unwrap_or(0));
    if surge == 0 && unavailable == 0 { (0, 1) } else { (surge, unavailable) }
}

pub fn max_surge(d: &Deployment) -> i32 {
    if strategy(d) == "RollingUpdate" { fenceposts(d, replicas(d)).0 } else { 0 }
}

pub fn max_unavailable(d: &Deployment) -> i32 {
    if strategy(d) != "RollingUpdate" || replicas(d) == 0 {
        return 0;
    }
    fenceposts(d, replicas(d)).1.min(replicas(d))
}

pub fn sum<'a>(sets: impl IntoIterator<Item = &'a ReplicaSet>) -> i32 {
    sets.into_iter().map(set_replicas).sum()
}

pub fn available(rs: &ReplicaSet) -> i32 {
    rs.status.as_ref().and_then(|s| s.available_replicas).unwrap_or(0)
}

pub fn actual(rs: &ReplicaSet) -> i32 {
    rs.status.as_ref().map_or(0, |s| s.replicas)
}

/// The size of the new set as far as surge allows now.
pub fn new_set_replicas(d: &Deployment, total: i32, current: i32) -> i32 {
    if strategy(d) == "Recreate" {
        return replicas(d);
    }
    let rolling = spec(d).strategy.as_ref().and_then(|s| s.rolling_update.as_ref());
    let surge = rolling.and_then(|r| r.max_surge.as_ref()).map_or(0, |v| scaled(v, replicas(d), true).unwrap_or(0));
    let most = replicas(d) + surge;
    if total >= most { current } else { current + (most - total).min(replicas(d) - current) }
}

/// The new set holds all replicas, all available.
pub fn is_saturated(d: &Deployment, rs: Option<&ReplicaSet>) -> bool {
    rs.is_some_and(|rs| {
        set_replicas(rs) == replicas(d) && annotations::desired(rs) == Some(replicas(d)) && available(rs) == replicas(d)
    })
}

/// The share of `to_add` (of which `added` are given out) that falls to one set.
pub fn proportion(rs: &ReplicaSet, d: &Deployment, to_add: i32, added: i32) -> i32 {
    if set_replicas(rs) == 0 || to_add == 0 || to_add == added {
        return 0;
    }
    let fraction = fraction(rs, d);
    let allowed = to_add - added;
    if to_add > 0 { fraction.min(allowed) } else { fraction.max(allowed) }
}

fn fraction(rs: &ReplicaSet, d: &Deployment) -> i32 {
    if replicas(d) == 0 {
        return -set_replicas(rs);
    }
    let before = match annotations::max(rs) {
        Some(n) if n != 0 => n,
        _ => d.status.as_ref().and_then(|s| s.replicas).unwrap_or(0),
    };
    if before == 0 {
        return 0;
    }
    let size = f64::from(set_replicas(rs)) * f64::from(replicas(d) + max_surge(d)) / f64::from(before);
    size.round() as i32 - set_replicas(rs)
}
