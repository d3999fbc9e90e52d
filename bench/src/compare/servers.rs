//! API servers under the same load: Skiff's on its embedded store, Skiff's on etcd, the stock one on etcd. Same certificates, same
//! flags, each with an etcd of its own.

use super::connection::{Call, Connection, Endpoint};
use crate::child::{self, Process};
use hyper::Method;
use serde_json::json;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Which API server, on which store.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, clap::ValueEnum)]
pub enum System {
    Skiff,
    SkiffEtcd,
    Stock,
}

impl System {
    pub fn name(self) -> &'static str {
        match self {
            Self::Skiff => "skiff",
            Self::SkiffEtcd => "skiff on etcd",
            Self::Stock => "stock",
        }
    }
}

/// Where the programs are.
#[derive(Clone)]
pub struct Programs {
    pub skiff: PathBuf,
    /// The directory of the stock components.
    pub stock: PathBuf,
    pub etcd: PathBuf,
}

/// A running API server with its store.
pub struct Server {
    pub system: System,
    pub endpoint: Endpoint,
    pub pki: PathBuf,
    programs: Programs,
    dir: PathBuf,
    address: Ipv4Addr,
    port: u16,
    more: Vec<String>,
    /// A prefix that enters the namespaces it lives in.
    enter: Vec<String>,
    etcd: Option<Process>,
    api: Process,
}

const PATIENCE: Duration = Duration::from_secs(120);

fn flags(pki: &Path, address: Ipv4Addr, port: u16) -> Vec<String> {
    let file = |flag: &str, name: &str| format!("--{flag}={}", pki.join(name).display());
    vec![
        format!("--bind-address={}", Ipv4Addr::UNSPECIFIED),
        format!("--secure-port={port}"),
        format!("--advertise-address={address}"),
        "--service-cluster-ip-range=10.96.0.0/16".into(),
        "--allow-privileged=true".into(),
        "--authorization-mode=Node,RBAC".into(),
        "--service-account-issuer=https://kubernetes.default.svc.cluster.local".into(),
        file("client-ca-file", "ca.crt"),
        file("tls-cert-file", "apiserver.crt"),
        file("tls-private-key-file", "apiserver.key"),
        file("service-account-signing-key-file", "sa.key"),
        file("service-account-key-file", "sa.pub"),
        file("kubelet-client-certificate", "apiserver-kubelet-client.crt"),
        file("kubelet-client-key", "apiserver-kubelet-client.key"),
        file("kubelet-certificate-authority", "ca.crt"),
        file("requestheader-client-ca-file", "front-proxy-ca.crt"),
        "--requestheader-allowed-names=front-proxy-client".into(),
    ]
}

impl Server {
    /// Starts a server below `dir` with upstream's flags and `more` ones; it is ready when this returns.
    pub async fn start(
        programs: &Programs,
        system: System,
        dir: &Path,
        address: Ipv4Addr,
        port: u16,
        more: &[&str],
    ) -> Result<Self, String> {
        Self::start_in(programs, system, dir, address, port, more, &[]).await
    }

    /// The same in other namespaces, from where `address` is reached.
    pub async fn start_in(
        programs: &Programs,
        system: System,
        dir: &Path,
        address: Ipv4Addr,
        port: u16,
        more: &[&str],
        enter: &[String],
    ) -> Result<Self, String> {
        let dir = dir.join(system.name().replace(' ', "-"));
        let pki = dir.join("pki");
        std::fs::create_dir_all(&dir).map_err(|e| format!("{}: {e}", dir.display()))?;
        let spec = pki::ClusterSpec {
            node_name: "n1".into(),
            node_ips: vec![IpAddr::V4(address)],
            service_ips: vec![IpAddr::from([10, 96, 0, 1])],
            dns_domain: "cluster.local".into(),
            extra_names: Vec::new(),
            server_url: format!("https://{address}:{port}"),
        };
        pki::ClusterPki::ensure(&pki, &spec).map_err(|e| e.to_string())?;
        let mut etcd = None;
        if system != System::Skiff {
            let url = |n: u16| format!("http://127.0.0.1:{}", port + n);
            let args = [
                "--data-dir".into(),
                dir.join("etcd").display().to_string(),
                "--listen-client-urls".into(),
                url(1),
                "--advertise-client-urls".into(),
                url(1),
                "--listen-peer-urls".into(),
                url(2),
                "--initial-advertise-peer-urls".into(),
                url(2),
                "--initial-cluster".into(),
                format!("default={}", url(2)),
                "--log-level".into(),
                "warn".into(),
            ];
            etcd = Some(Process::start(&dir, "etcd", enter, &programs.etcd, args)?);
            // The stock server waits for its etcd itself.
            if system == System::SkiffEtcd {
                listening(port + 1).await?;
            }
        }
        let endpoint = Endpoint::of_kubeconfig(&pki.join("admin.conf"))?;
        let more: Vec<String> = more.iter().map(|f| (*f).to_owned()).collect();
        let api = api_process(programs, system, &dir, address, port, &more, enter)?;
        let enter = enter.to_vec();
        let mut server = Self { system, endpoint, pki, programs: programs.clone(), dir, address, port, more, enter, etcd, api };
        server.ready().await?;
        Ok(server)
    }

    /// Stops the API server and starts it again on the same store.
    pub async fn restart(&mut self) -> Result<(), String> {
        self.api.stop();
        self.api = api_process(&self.programs, self.system, &self.dir, self.address, self.port, &self.more, &self.enter)?;
        self.ready().await
    }

    async fn ready(&mut self) -> Result<(), String> {
        let deadline = Instant::now() + PATIENCE;
        let ready = Call::new(Method::GET, "/readyz");
        loop {
            let why = match Connection::open(&self.endpoint).await {
                Ok(mut c) => match c.call(&ready).await {
                    Ok(_) => return Ok(()),
                    Err(e) => e,
                },
                Err(e) => e,
            };
            self.api.check()?;
            if Instant::now() > deadline {
                return Err(format!("{} does not get ready: {why}", self.system.name()));
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// The API server and its store.
    pub fn pids(&self) -> Vec<u32> {
        self.etcd.iter().map(Process::pid).chain([self.api.pid()]).collect()
    }

    pub fn cpu_seconds(&self) -> f64 {
        child::cpu_seconds(&self.pids())
    }

    pub fn resident(&self) -> f64 {
        child::resident(&self.pids())
    }

    /// A namespace in which pods can be made though no controller runs.
    pub async fn make_namespace(&self, name: &str) -> Result<(), String> {
        let mut c = Connection::open(&self.endpoint).await?;
        let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
        c.call(&Call::with(Method::POST, "/api/v1/namespaces", &namespace)).await?;
        let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}});
        c.call(&Call::with(Method::POST, format!("/api/v1/namespaces/{name}/serviceaccounts"), &account)).await?;
        Ok(())
    }
}

fn api_process(
    programs: &Programs,
    system: System,
    dir: &Path,
    address: Ipv4Addr,
    port: u16,
    more: &[String],
    enter: &[String],
) -> Result<Process, String> {
    let mut args = flags(&dir.join("pki"), address, port);
    args.extend_from_slice(more);
    match system {
        System::Skiff => args.push(format!("--store-file={}", dir.join("store").display())),
        _ => args.push(format!("--etcd-servers=http://127.0.0.1:{}", port + 1)),
    }
    let program = if system == System::Stock {
        programs.stock.join("kube-apiserver")
    } else {
        args.insert(0, "kube-apiserver".into());
        programs.skiff.clone()
    };
    Process::start(dir, "kube-apiserver", enter, &program, args)
}

async fn listening(port: u16) -> Result<(), String> {
    let deadline = Instant::now() + PATIENCE;
    while tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_err() {
        if Instant::now() > deadline {
            return Err(format!("nothing listens on port {port}"));
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}
