//! ReplicaSets and ReplicationControllers: as many pods as asked for (pkg/controller/replicaset, pkg/controller/replication).

mod kinds;
mod status;
mod sync;

use crate::core::claim::{self, CONTROLLER_INDEX};
use crate::core::expectations::Expectations;
use crate::core::follow::{follow_owners, follow_pods};
use crate::core::pod_control::PodControl;
use crate::manager::forever;
use crate::{Context, synced};
use client::WorkQueue;
use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::core::v1::{Pod, ReplicationController};
use kinds::Replicated;
use std::sync::Arc;

/// Most pods created or deleted in one sync.
const BURST: usize = 500;

pub async fn run(ctx: Context) {
    run_kind::<ReplicaSet>(ctx, "replicaset-controller").await;
}

pub async fn run_replication_controllers(ctx: Context) {
    run_kind::<ReplicationController>(ctx, "replication-controller").await;
}

async fn run_kind<K: Replicated>(ctx: Context, name: &'static str) {
    let owners = ctx.informers.of::<K>();
    let pods = ctx.informers.of::<Pod>();
    claim::index_pods(&pods);
    owners.add_index(CONTROLLER_INDEX, claim::controller_index::<K>);
    let queue = WorkQueue::new();
    let expectations = Arc::new(Expectations::default());
    follow_owners(&owners, &queue, &expectations);
    follow_pods(&pods, &owners, &queue, &expectations);
    synced!(owners, pods);
    let control = PodControl::new(&ctx, &ctx.recorder(name));
    let workers = ctx.config.concurrent_syncs;
    let sync = Arc::new(sync::Sync { ctx, owners, pods, queue: queue.clone(), expectations, control });
    forever(queue.run(name, workers, move |key: String| {
        let sync = sync.clone();
        async move { sync.sync(&key).await }
    }))
    .await;
}
