//! The garbage collector: deletes what no living owner holds, deletes dependents before a foreground owner, orphans dependents where asked
//! (pkg/controller/garbagecollector).
//!
//! Every deletable resource's metadata is watched into one graph. Unlike upstream there are no virtual nodes: dependents are filed under
//! their owner's UID whether or not the owner was seen, and an unseen owner is asked for by name.

mod collect;
mod graph;
mod monitors;

use crate::Context;
use crate::manager::forever;
use client::{Recorder, WorkQueue};
use graph::{Graph, Uid};
use parking_lot::Mutex;
use std::sync::Arc;

struct Collector {
    ctx: Context,
    graph: Mutex<Graph>,
    /// Objects that may have to go.
    delete: WorkQueue<Uid>,
    /// Owners whose dependents are to be orphaned.
    orphan: WorkQueue<Uid>,
    absent: Mutex<graph::AbsentOwners>,
    monitors: monitors::Monitors,
    recorder: Recorder,
}

pub async fn run(ctx: Context) {
    let recorder = ctx.recorder("garbage-collector-controller");
    let c = Arc::new(Collector {
        graph: Mutex::default(),
        delete: WorkQueue::new(),
        orphan: WorkQueue::new(),
        absent: Mutex::default(),
        monitors: monitors::Monitors::default(),
        recorder,
        ctx,
    });
    let following = tokio::spawn({
        let c = c.clone();
        async move { c.follow_discovery().await }
    });
    let guard = tokio_util::task::AbortOnDropHandle::new(following);
    // Deleting on half a graph would only waste requests: owners are looked up live either way.
    c.monitors.synced().await;
    let workers = c.ctx.config.concurrent_syncs;
    let d = c.clone();
    let mut tasks = c.delete.run("garbage-collector", workers, move |uid: Uid| {
        let c = d.clone();
        async move { c.attempt_to_delete(&uid).await }
    });
    let o = c.clone();
    let orphaning = c.orphan.run("garbage-collector-orphan", workers, move |uid: Uid| {
        let c = o.clone();
        async move { c.orphan_dependents(&uid).await }
    });
    tasks.spawn(forever(orphaning));
    forever(tasks).await;
    drop(guard);
}
