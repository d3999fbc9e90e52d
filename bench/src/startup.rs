//! A start from nothing: to Ready, and to the first answer of a workload through its Service.

use client::Client;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// How to run Skiff here.
pub struct Cluster {
    pub binary: PathBuf,
    pub data_dir: PathBuf,
    pub cgroup_root: String,
}

impl Cluster {
    fn skiff(&self, args: &[&str]) -> Result<String, String> {
        let mut command = Command::new(&self.binary);
        command.args(args).arg("--data-dir").arg(&self.data_dir);
        let out = command.output().map_err(|e| format!("cannot run {}: {e}", self.binary.display()))?;
        let text = String::from_utf8_lossy(&out.stdout).into_owned();
        if out.status.success() {
            Ok(text)
        } else {
            Err(format!("skiff {}: {text}{}", args.join(" "), String::from_utf8_lossy(&out.stderr)))
        }
    }

    /// Removes every trace of an earlier start.
    pub fn purge(&self) -> Result<(), String> {
        self.skiff(&["down", "--purge"]).map(drop)
    }

    /// `skiff up`; what it printed.
    pub fn up(&self) -> Result<String, String> {
        self.skiff(&["up", "--node-name", "n1", "--cgroup-root", &self.cgroup_root])
    }

    pub fn client(&self) -> Result<Client, String> {
        client::kubeconfig::client(&self.data_dir.join("admin.kubeconfig")).map_err(|e| e.to_string())
    }

    pub fn pid_file(&self, name: &str) -> PathBuf {
        self.data_dir.join("run").join(format!("{name}.pid"))
    }

    /// Of its containerd.
    pub fn socket(&self) -> PathBuf {
        self.data_dir.join("run/containerd.sock")
    }
}

/// Times since `skiff up` was called.
pub struct Start {
    /// It returned: the node is Ready and the images are there.
    pub ready: Duration,
    /// The manifest's Service answered with status 200.
    pub answer: Duration,
}

/// Creates the objects of a manifest with a Deployment and a Service; the Service's address and port.
pub async fn apply(client: &Client, manifest: &Path) -> Result<String, String> {
    let text = std::fs::read_to_string(manifest).map_err(|e| format!("cannot read {}: {e}", manifest.display()))?;
    let objects: Vec<Value> = serde_saphyr::from_multiple(&text).map_err(|e| format!("{}: {e}", manifest.display()))?;
    let mut address = String::new();
    for object in &objects {
        let path = match object["kind"].as_str() {
            Some("Deployment") => "/apis/apps/v1/namespaces/default/deployments",
            Some("Service") => "/api/v1/namespaces/default/services",
            other => return Err(format!("{}: kind {other:?} is not expected here", manifest.display())),
        };
        let made = client.post_path(path, object).await.map_err(|e| e.to_string())?;
        if let Some(ip) = made["spec"]["clusterIP"].as_str() {
            address = format!("{ip}:{}", made["spec"]["ports"][0]["port"]);
        }
    }
    Ok(address)
}

/// Waits until a web server answers there with status 200.
pub async fn answer(address: &str) -> Result<(), String> {
    let deadline = Instant::now() + Duration::from_secs(120);
    while !answers(address).await {
        if Instant::now() > deadline {
            return Err(format!("{address} does not answer"));
        }
        // A Service without endpoints refuses at once; ask again soon, as a person's browser would.
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    Ok(())
}

/// Starts from nothing and applies a manifest with one Service.
pub async fn measure(cluster: &Cluster, manifest: &Path) -> Result<Start, String> {
    cluster.purge()?;
    let begin = Instant::now();
    cluster.up()?;
    let ready = begin.elapsed();
    let address = apply(&cluster.client()?, manifest).await?;
    answer(&address).await?;
    Ok(Start { ready, answer: begin.elapsed() })
}

async fn answers(address: &str) -> bool {
    let ask = async {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(b"GET / HTTP/1.1\r\nHost: hello\r\nConnection: close\r\n\r\n").await?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await?;
        Ok::<_, std::io::Error>(answer)
    };
    let answer = tokio::time::timeout(Duration::from_millis(500), ask).await;
    matches!(answer, Ok(Ok(a)) if a.starts_with(b"HTTP/1.1 200") || a.starts_with(b"HTTP/1.0 200"))
}
