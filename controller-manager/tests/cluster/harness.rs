//! A cluster in a process: memory store, API server, controllers, and a node whose pods run at once.

use auth::UserInfo;
use client::{Client, Clock, DeleteOptions, Informer, InformerEvent, Informers, Object, Patch};
use k8s_openapi::api::core::v1::{Event, Node, Pod};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub const NODE: &str = "node-1";

pub struct Cluster {
    pub client: Client,
    pub informers: Informers,
    pub volumes: tempfile::TempDir,
    server: apiserver::ApiServer,
    tasks: JoinSet<()>,
    stop: CancellationToken,
    _certificates: tempfile::TempDir,
}

struct Disks;

#[async_trait::async_trait]
impl controller_manager::config::LocalDirectories for Disks {
    async fn create(&self, node: &str, path: &Path) -> std::io::Result<bool> {
        assert_eq!(node, NODE);
        std::fs::create_dir_all(path).map(|()| true)
    }
    async fn remove(&self, _node: &str, path: &Path) -> std::io::Result<bool> {
        std::fs::remove_dir_all(path).map(|()| true)
    }
}

impl Cluster {
    pub async fn start() -> Self {
        Self::start_at(Clock::System).await
    }

    /// With the controllers' clock ahead of the server's.
    pub async fn start_at(clock: Clock) -> Self {
        // RUST_LOG shows what the controllers do; the first test of the process sets it up.
        let _ = tracing_subscriber::fmt()
            .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
            .with_test_writer()
            .try_init();
        let certificates = tempfile::tempdir().expect("a directory");
        let volumes = tempfile::tempdir().expect("a directory");
        let config = apiserver::Config {
            cert_dir: certificates.path().to_owned(),
            authorization_mode: vec![apiserver::AuthorizationMode::Rbac],
            disable_admission_plugins: vec!["ServiceAccount".into()],
            ..Default::default()
        };
        let server = apiserver::build(config, store::memory().expect("a store")).await.expect("a server");
        let as_user = |name: &str, groups: &[&str]| Client::new(apiserver::transport(&server, UserInfo::new(name, groups)));
        let client = as_user("admin", &["system:masters", "system:authenticated"]);
        let manager_client = as_user("system:kube-controller-manager", &["system:authenticated"]);
        let accounts = server.clone();
        let client_for = move |account: &str| {
            let name = format!("system:serviceaccount:kube-system:{account}");
            let groups = ["system:serviceaccounts", "system:serviceaccounts:kube-system", "system:authenticated"];
            Client::new(apiserver::transport(&accounts, UserInfo::new(&name, &groups)))
        };
        let authority = pki::Authority::generate("kubernetes").expect("an authority");
        let config = controller_manager::Config {
            signing_cert_pem: authority.cert_pem().to_owned(),
            signing_key_pem: authority.pair().key.clone(),
            client_for: Some(Arc::new(client_for)),
            clock,
            root_ca_pem: "the root".into(),
            local_path_directory: volumes.path().to_owned(),
            local_path: Some(Arc::new(Disks)),
            node_load_balancer: true,
            allocate_node_cidrs: true,
            cluster_cidr: "10.244.0.0/16".into(),
            ..Default::default()
        };
        let manager = controller_manager::build(config, manager_client).expect("a manager");
        let stop = CancellationToken::new();
        let mut tasks = JoinSet::new();
        tasks.spawn(manager.run(stop.clone()));
        let informers = Informers::new(client.clone());
        let c = Self { client, informers, volumes, server, tasks, stop, _certificates: certificates };
        c.add_node(NODE).await;
        c
    }

    /// A client under another identity.
    pub fn client_as(&self, name: &str, groups: &[&str]) -> Client {
        let groups: Vec<&str> = groups.iter().copied().chain(["system:authenticated"]).collect();
        Client::new(apiserver::transport(&self.server, UserInfo::new(name, &groups)))
    }

    pub async fn add_node(&self, name: &str) {
        let node =
            json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}}});
        self.client.post_path("/api/v1/nodes", &node).await.expect("node");
        let status = json!({"status": {"conditions": [{"type": "Ready", "status": "True"}],
            "addresses": [{"type": "InternalIP", "address": "192.0.2.1"}]}});
        self.client.patch_status::<Node>("", name, &Patch::Merge(status)).await.expect("node status");
    }

    /// Runs pods: binds them, reports them ready, ends those labelled `exit`, removes deleted ones.
    pub async fn run_pods(&mut self) {
        let pods = self.informers.of::<Pod>();
        let queue = client::WorkQueue::<String>::new();
        let q = queue.clone();
        pods.add_handler(move |e| {
            let (InformerEvent::Added(p) | InformerEvent::Updated { new: p, .. } | InformerEvent::Deleted(p)) = e;
            q.add(p.key());
        });
        pods.synced().await;
        let client = self.client.clone();
        let mut workers = queue.run("kubelet", 1, move |key: String| {
            let (client, pods) = (client.clone(), pods.clone());
            async move {
                match pods.get_key(&key) {
                    Some(p) => step(&client, &p).await,
                    None => Ok(()),
                }
            }
        });
        self.tasks.spawn(async move { while workers.join_next().await.is_some() {} });
    }

    pub async fn apply(&self, path: &str, v: Value) -> Value {
        self.client.post_path(path, &v).await.unwrap_or_else(|e| panic!("create at {path}: {e}"))
    }

    pub async fn patch<K: Object>(&self, name: &str, v: Value) {
        self.client.patch::<K>("default", name, &Patch::Merge(v)).await.unwrap_or_else(|e| panic!("patch {name}: {e}"));
    }

    pub async fn delete<K: Object>(&self, name: &str, policy: &'static str) {
        let options = DeleteOptions { propagation_policy: Some(policy), ..Default::default() };
        self.client.delete::<K>("default", name, &options).await.unwrap_or_else(|e| panic!("delete {name}: {e}"));
    }

    /// Waits until the objects of a kind (in all namespaces) are as asked, and returns them.
    pub async fn until<K: Object>(&self, what: &str, mut holds: impl FnMut(&[Arc<K>]) -> bool) -> Vec<Arc<K>> {
        let informer: Arc<Informer<K>> = self.informers.of();
        let (tx, mut rx) = watch::channel(());
        informer.add_handler(move |_| {
            tx.send_replace(());
        });
        informer.synced().await;
        let wait = async {
            loop {
                let list = informer.list();
                if holds(&list) {
                    return list;
                }
                rx.changed().await.expect("the informer lives");
            }
        };
        match tokio::time::timeout(Duration::from_secs(30), wait).await {
            Ok(list) => list,
            Err(_) => {
                let state: Vec<String> = informer
                    .list()
                    .iter()
                    .map(|o| String::from_utf8(o.to_json().unwrap_or_default()).unwrap_or_default())
                    .collect();
                let events: Vec<String> = self
                    .client
                    .list::<Event>("", &Default::default())
                    .await
                    .map(|l| l.items.iter().map(|e| format!("{:?} {:?}", e.reason, e.message)).collect())
                    .unwrap_or_default();
                panic!("{what}: not reached; {}s are\n{}\nevents\n{}", K::KIND, state.join("\n"), events.join("\n"))
            }
        }
    }

    /// Waits for one object of namespace `default`.
    pub async fn until_one<K: Object>(&self, name: &str, what: &str, holds: impl Fn(&K) -> bool) -> Arc<K> {
        let find = |l: &[Arc<K>]| {
            l.iter().find(|o| o.name() == name && (!K::NAMESPACED || o.namespace() == "default") && holds(o)).cloned()
        };
        let list = self.until(what, |l| find(l).is_some()).await;
        find(&list).expect("just found")
    }

    pub async fn until_event(&self, reason: &str, message: &str) {
        let matches =
            |e: &Event| e.reason.as_deref() == Some(reason) && e.message.as_deref().is_some_and(|m| m.contains(message));
        self.until::<Event>(&format!("event {reason}: {message}"), |l| l.iter().any(|e| matches(e))).await;
    }

    pub fn directories(&self) -> Vec<PathBuf> {
        std::fs::read_dir(self.volumes.path()).expect("the directory").filter_map(|e| e.ok().map(|e| e.path())).collect()
    }

    pub async fn stop(mut self) {
        self.stop.cancel();
        self.server.shutdown();
        self.tasks.shutdown().await;
    }
}

async fn step(client: &Client, p: &Pod) -> Result<(), client::Error> {
    let path = format!("/api/v1/namespaces/{}/pods/{}", p.namespace(), p.name());
    let phase = p.status.as_ref().and_then(|s| s.phase.as_deref()).unwrap_or("");
    let node = p.spec.as_ref().and_then(|s| s.node_name.as_deref()).unwrap_or("");
    let outcome = match () {
        () if p.is_terminating() => {
            let options = DeleteOptions { grace_period_seconds: Some(0), ..Default::default() };
            client.delete_path(&path, &options).await.map(drop)
        }
        () if node.is_empty() => {
            for c in controller_manager::core::pod::claim_names(p) {
                let annotation = json!({"metadata": {"annotations": {"volume.kubernetes.io/selected-node": NODE}}});
                let claim = format!("/api/v1/namespaces/{}/persistentvolumeclaims/{c}", p.namespace());
                client.patch_path(&claim, &Patch::Merge(annotation)).await?;
            }
            let binding = json!({"apiVersion": "v1", "kind": "Binding", "metadata": {"name": p.name()}, "target": {"kind": "Node", "name": NODE}});
            client.post_path(&format!("{path}/binding"), &binding).await.map(drop)
        }
        () if phase == "Pending" => {
            let exit = p.label("exit").map(|code| code.parse::<i32>().unwrap_or(1));
            let now = jiff::Timestamp::now().to_string();
            let octet = p.uid().bytes().fold(0u8, |a, b| a.wrapping_mul(31).wrapping_add(b)).max(1);
            let (phase, ready) = match exit {
                Some(0) => ("Succeeded", "False"),
                Some(_) => ("Failed", "False"),
                None => ("Running", "True"),
            };
            let status = json!({"status": {"phase": phase, "podIP": format!("10.244.0.{octet}"), "podIPs": [{"ip": format!("10.244.0.{octet}")}],
                "conditions": [{"type": "Ready", "status": ready, "lastTransitionTime": now}]}});
            client.patch_path(&format!("{path}/status"), &Patch::Merge(status)).await.map(drop)
        }
        () => Ok(()),
    };
    match outcome {
        Err(e) if e.is_not_found() || e.is_conflict() => Ok(()),
        done => done,
    }
}
