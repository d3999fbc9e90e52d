//! An etcd of its own for a test, on addresses of this machine that are free.

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use store::{Etcd, etcd};

/// A running etcd; ends with the test.
pub struct EtcdProcess {
    child: Child,
    url: String,
    _dir: tempfile::TempDir,
}

impl Drop for EtcdProcess {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Two addresses that nobody listens on; both are taken before either is let go, so that they differ.
fn free_urls() -> (String, String) {
    let free = || TcpListener::bind("127.0.0.1:0").unwrap();
    let url = |l: &TcpListener| format!("http://{}", l.local_addr().unwrap());
    let (one, other) = (free(), free());
    (url(&one), url(&other))
}

impl EtcdProcess {
    /// `None`, with a word to the reader, where etcd is not installed.
    pub fn start() -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let (url, peer) = free_urls();
        let started = Command::new("etcd")
            .args(["--log-level", "error", "--data-dir"])
            .arg(dir.path())
            .args(["--listen-client-urls", &url, "--advertise-client-urls", &url, "--listen-peer-urls", &peer])
            .args(["--initial-advertise-peer-urls", &peer, "--initial-cluster", &format!("default={peer}")])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        match started {
            Ok(child) => Some(Self { child, url, _dir: dir }),
            Err(e) => {
                eprintln!("skipped: etcd can't be started ({e}); install it, for instance: apt-get install etcd-server");
                None
            }
        }
    }

    /// Connects as soon as etcd answers.
    pub async fn connect(&self) -> Etcd {
        let options = etcd::Options { servers: vec![self.url.clone()], ..etcd::Options::default() };
        let connect = async {
            loop {
                match Etcd::connect(&options).await {
                    Ok(store) => return store,
                    Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(60), connect).await.expect("etcd starts")
    }
}
