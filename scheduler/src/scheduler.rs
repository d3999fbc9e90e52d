//! What runs the scheduler: informers feed one loop, which owns queue and cache and tries one pod at a time.

use crate::engine::{Engine, Message};
use crate::listers::Listers;
use crate::{Config, change::Storage};
use client::{Client, Informer, InformerEvent, Informers, ListOptions, Object, Recorder};
use futures::future::BoxFuture;
use k8s_openapi::api::core::v1::{Node, Pod};
use std::sync::Arc;
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};
use tokio_util::sync::CancellationToken;

/// Cycles in a row before other tasks of the thread get a turn.
const CYCLES_PER_TURN: usize = 16;

/// A scheduler that is not running yet.
pub struct Scheduler {
    config: Config,
    client: Client,
}

/// Prepares a scheduler that talks to the API through `client`.
pub fn build(config: Config, client: Client) -> Scheduler {
    Scheduler { config, client: client.with_user_agent("kube-scheduler/v1.36.3") }
}

impl Scheduler {
    /// Schedules until `shutdown`; bindings under way are finished.
    pub fn run(self, shutdown: CancellationToken) -> BoxFuture<'static, ()> {
        Box::pin(self.run_until(shutdown))
    }

    async fn run_until(self, shutdown: CancellationToken) {
        let Some(identity) = self.config.leader_election.clone() else { return self.schedule(shutdown).await };
        let election = client::leader::Election::new("kube-system", "kube-scheduler", &identity);
        let (api, clock) = (self.client.clone(), self.config.clock);
        tokio::select! {
            () = election.run(&api, clock, || self.schedule(shutdown.clone())) => {}
            () = shutdown.cancelled() => {}
        }
    }

    async fn schedule(self, shutdown: CancellationToken) {
        let informers = Informers::new(self.client.clone());
        let listers = Listers::new(&informers);
        let live = "status.phase!=Succeeded,status.phase!=Failed";
        let pods = informers.with::<Pod>("", ListOptions { field_selector: live.into(), ..Default::default() });
        let nodes = informers.of::<Node>();
        let (tx, rx) = mpsc::unbounded_channel();
        // The order matters: pods are tried only once every node is known, and pods on nodes before those that wait.
        tokio::select! {
            () = async { tokio::join!(listers.synced(), nodes.synced(), pods.synced()); } => {}
            () = shutdown.cancelled() => return,
        }
        forward_nodes(&nodes, &tx);
        forward_pods(&pods, &tx);
        forward_storage(&listers, &tx);
        let recorder = Recorder::start(self.client.clone(), &self.config.scheduler_name, "", self.config.clock);
        let engine = Engine::new(self.config, self.client, listers, recorder, tx);
        tracing::info!(nodes = nodes.len(), pods = pods.len(), "scheduler started");
        turn(engine, rx, shutdown).await;
    }
}

async fn turn(mut engine: Engine, mut rx: UnboundedReceiver<Message>, shutdown: CancellationToken) {
    loop {
        while let Ok(message) = rx.try_recv() {
            engine.apply(message);
        }
        let mut busy = true;
        for _ in 0..CYCLES_PER_TURN {
            busy = engine.schedule_one();
            if !busy || !rx.is_empty() {
                break;
            }
        }
        if shutdown.is_cancelled() {
            break;
        }
        if busy {
            tokio::task::yield_now().await;
            continue;
        }
        let due = engine.next_deadline();
        tokio::select! {
            message = rx.recv() => {
                let Some(message) = message else { break };
                engine.apply(message);
            }
            () = async { match due { Some(at) => tokio::time::sleep_until(at).await, None => std::future::pending().await } } => {}
            () = shutdown.cancelled() => break,
        }
    }
    engine.finish().await;
}

fn forward_nodes(nodes: &Informer<Node>, tx: &UnboundedSender<Message>) {
    let tx = tx.clone();
    nodes.add_handler(move |e| {
        // The loop is gone only when the scheduler stops.
        let _ = tx.send(match e {
            InformerEvent::Added(n) => Message::Node { old: None, new: n.clone() },
            InformerEvent::Updated { old, new } => Message::Node { old: Some(old.clone()), new: new.clone() },
            InformerEvent::Deleted(n) => Message::NodeDeleted(n.clone()),
        });
    });
}

fn forward_pods(pods: &Informer<Pod>, tx: &UnboundedSender<Message>) {
    let tx = tx.clone();
    pods.add_handler(move |e| {
        let _ = tx.send(match e {
            InformerEvent::Added(p) => Message::Pod { old: None, new: p.clone() },
            InformerEvent::Updated { old, new } if old.uid() != new.uid() => {
                let _ = tx.send(Message::PodDeleted(old.clone()));
                Message::Pod { old: None, new: new.clone() }
            }
            InformerEvent::Updated { old, new } => Message::Pod { old: Some(old.clone()), new: new.clone() },
            InformerEvent::Deleted(p) => Message::PodDeleted(p.clone()),
        });
    });
}

fn forward_storage(listers: &Listers, tx: &UnboundedSender<Message>) {
    fn watch<K: Object>(informer: &Arc<Informer<K>>, tx: &UnboundedSender<Message>, of: Storage) {
        let tx = tx.clone();
        informer.add_handler(move |_| drop(tx.send(Message::Storage(of))));
    }
    let changed = listers.claims_changed.clone();
    listers.claims.add_handler(move |_| changed.send_modify(|n| *n = n.wrapping_add(1)));
    watch(&listers.claims, tx, Storage::Claim);
    watch(&listers.volumes, tx, Storage::Volume);
    watch(&listers.classes, tx, Storage::Class);
    watch(&listers.csi_nodes, tx, Storage::CsiNode);
    watch(&listers.csi_drivers, tx, Storage::CsiDriver);
    watch(&listers.csi_capacities, tx, Storage::CsiStorageCapacity);
    watch(&listers.attachments, tx, Storage::VolumeAttachment);
    let namespaces = tx.clone();
    listers.namespaces.add_handler(move |_| drop(namespaces.send(Message::Namespace)));
}
