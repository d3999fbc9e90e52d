//! Rolling update: old pods go as availability allows, or new ones come beside them as surge allows.

use super::manage::{Todo, is_updated};
use super::placement::should_run;
use super::{ByNode, Controller, min_ready, spec};
use crate::core::{intstr, pod};
use crate::{Error, Result};
use client::Object;
use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::Pod;
use std::sync::Arc;

/// maxSurge of `desired` pods.
pub fn surge(ds: &DaemonSet, desired: i32) -> i32 {
    let u = spec(ds).update_strategy.as_ref().filter(|u| u.type_.as_deref() != Some("OnDelete"));
    let v = u.and_then(|u| u.rolling_update.as_ref()).and_then(|r| r.max_surge.as_ref());
    v.map_or(0, |v| intstr::scaled(v, desired, true).unwrap_or(0))
}

fn unavailable(ds: &DaemonSet, desired: i32) -> Result<i32> {
    let u = spec(ds).update_strategy.as_ref().and_then(|u| u.rolling_update.as_ref());
    let v = u.and_then(|r| r.max_unavailable.as_ref());
    v.map_or(Ok(0), |v| intstr::scaled(v, desired, true))
        .map_err(|e| Error::other(format!("invalid value for MaxUnavailable: {e}")))
}

/// (updated pod, old pod) of a node; `None` if there are several of a kind.
type OnNode<'a> = Option<(Option<&'a Arc<Pod>>, Option<&'a Arc<Pod>>)>;

fn split<'a>(ds: &DaemonSet, pods: &'a [Arc<Pod>], hash: &str) -> OnNode<'a> {
    let (mut new, mut old) = (None, None);
    for p in pods.iter().filter(|p| !p.is_terminating()) {
        let slot = if is_updated(ds, p, hash) { &mut new } else { &mut old };
        if slot.replace(p).is_some() {
            return None;
        }
    }
    Some((new, old))
}

impl Controller {
    pub(super) async fn roll(&self, ds: &Arc<DaemonSet>, mut by_node: ByNode, hash: &str) -> Result {
        let mut desired = 0;
        for n in self.nodes.list() {
            if should_run(ds, &n).0 {
                desired += 1;
                by_node.entry(n.name().to_owned()).or_default();
            }
        }
        let max_surge = surge(ds, desired);
        let mut max_unavailable = unavailable(ds, desired)?;
        if desired > 0 && max_unavailable == 0 && max_surge == 0 {
            max_unavailable = 1;
        }
        let limit = |n: i32| usize::try_from(n).unwrap_or(0);
        let todo = if max_surge == 0 {
            self.replace(ds, &by_node, hash, limit(max_unavailable))
        } else {
            self.surge(ds, &by_node, hash, limit(max_surge), limit(desired))
        };
        self.apply(ds, todo, hash).await
    }

    fn is_available(&self, ds: &DaemonSet, p: &Pod) -> bool {
        pod::is_available(p, min_ready(ds), self.ctx.now())
    }

    fn replace(&self, ds: &DaemonSet, by_node: &ByNode, hash: &str, max_unavailable: usize) -> Todo {
        let mut down = 0;
        let (mut free, mut candidates) = (Vec::new(), Vec::new());
        for pods in by_node.values() {
            match split(ds, pods, hash) {
                None | Some((None, None) | (Some(_), Some(_))) => down += 1,
                Some((Some(new), None)) => down += usize::from(!self.is_available(ds, new)),
                Some((None, Some(old))) if !self.is_available(ds, old) => {
                    // Replacing what does not work costs nothing.
                    free.push(old.clone());
                    down += 1;
                }
                Some((None, Some(old))) => candidates.push(old.clone()),
            }
        }
        free.extend(candidates.into_iter().take(max_unavailable.saturating_sub(down)));
        Todo { create: Vec::new(), delete: free }
    }

    fn surge(&self, ds: &DaemonSet, by_node: &ByNode, hash: &str, max_surge: usize, desired: usize) -> Todo {
        let mut todo = Todo::default();
        let (mut surging, mut available) = (0, 0);
        let (mut misplaced, mut candidates) = (Vec::new(), Vec::new());
        for (name, pods) in by_node {
            let Some((new, old)) = split(ds, pods, hash) else {
                surging += 1;
                continue;
            };
            available += usize::from(old.or(new).is_some_and(|p| self.is_available(ds, p)));
            let fits = || self.nodes.get("", name).is_some_and(|n| should_run(ds, &n).0);
            match (new, old) {
                (_, None) => {}
                (None, Some(old)) => match (self.is_available(ds, old), fits()) {
                    (false, false) => todo.delete.push(old.clone()),
                    (false, true) => todo.create.push(name.clone()),
                    (true, false) => misplaced.push(old.clone()),
                    (true, true) => candidates.push(name.clone()),
                },
                (Some(new), Some(old)) if self.is_available(ds, new) => todo.delete.push(old.clone()),
                (Some(_), Some(_)) => surging += 1,
            }
        }
        todo.delete.extend(misplaced.into_iter().take(available.saturating_sub(desired)));
        todo.create.extend(candidates.into_iter().take(max_surge.saturating_sub(surging)));
        todo
    }
}
