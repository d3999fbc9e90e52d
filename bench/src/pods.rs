//! Pods through the API: from the request that creates one to the watch event that says Running.

use client::{Client, DeleteOptions, ListOptions, watch::Watch, watch::WatchEvent};
use serde_json::{Value, json};
use std::collections::HashSet;
use std::time::{Duration, Instant};

const PODS: &str = "/api/v1/namespaces/default/pods";

/// How long one pod or one burst may take before the run is given up.
const PATIENCE: Duration = Duration::from_secs(120);

/// Creates and deletes pods, and follows them in one watch.
pub struct Pods {
    client: Client,
    watch: Watch<Value>,
    image: String,
}

fn said(e: client::Error) -> String {
    e.to_string()
}

impl Pods {
    pub async fn new(client: Client, image: &str) -> Result<Self, String> {
        let list = client.get_path(PODS).await.map_err(said)?;
        let resource_version = list["metadata"]["resourceVersion"].as_str().unwrap_or_default().to_owned();
        let options = ListOptions { resource_version, ..Default::default() };
        let watch = client.watch_path(PODS, &options, 3600).await.map_err(said)?;
        Ok(Self { client, watch, image: image.into() })
    }

    /// Creates these pods at once; the time until the last is Running. Then they are deleted.
    pub async fn run(&mut self, names: &[String]) -> Result<Duration, String> {
        let begin = Instant::now();
        let mut creates = tokio::task::JoinSet::new();
        for name in names {
            let (client, pod) = (self.client.clone(), self.pod(name));
            creates.spawn(async move { client.post_path(PODS, &pod).await });
        }
        let created = creates.join_all().await;
        created.into_iter().collect::<Result<Vec<_>, _>>().map_err(said)?;
        self.follow(names, |event| match event {
            WatchEvent::Added(p) | WatchEvent::Modified(p) if p["status"]["phase"] == "Running" => Some(p),
            _ => None,
        })
        .await?;
        let took = begin.elapsed();
        for name in names {
            let options = DeleteOptions { grace_period_seconds: Some(1), ..Default::default() };
            self.client.delete_path(&format!("{PODS}/{name}"), &options).await.map_err(said)?;
        }
        self.follow(names, |event| if let WatchEvent::Deleted(p) = event { Some(p) } else { None }).await?;
        Ok(took)
    }

    /// Reads the watch until `wanted` has been true of each of these pods.
    async fn follow(&mut self, names: &[String], wanted: fn(WatchEvent<Value>) -> Option<Value>) -> Result<(), String> {
        let mut left: HashSet<&str> = names.iter().map(String::as_str).collect();
        let watch = &mut self.watch;
        let all = async {
            while !left.is_empty() {
                let event = watch.next().await.ok_or("the watch of pods ended")?.map_err(said)?;
                if let Some(pod) = wanted(event) {
                    left.remove(pod["metadata"]["name"].as_str().unwrap_or_default());
                }
            }
            Ok(())
        };
        tokio::time::timeout(PATIENCE, all).await.unwrap_or_else(|_| Err(format!("{names:?}: no end in {PATIENCE:?}")))
    }

    fn pod(&self, name: &str) -> Value {
        json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name},
            "spec": {"containers": [{"name": "hello", "image": self.image}]},
        })
    }
}
