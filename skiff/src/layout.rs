//! Where things lie on disk. Everything of an instance is below its data directory, but for what the world expects elsewhere: the
//! default instance keeps kubelet state and pod logs at upstream's paths, and sockets and pid files below /run.

use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

pub const DEFAULT_DATA_DIR: &str = "/var/lib/skiff";

/// The paths of one instance.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
pub struct Layout {
    /// Store, certificates, containerd's root.
    pub data: PathBuf,
    /// Sockets, pid files, containerd's state: gone after a reboot.
    pub run: PathBuf,
    pub kubelet: PathBuf,
    pub pod_logs: PathBuf,
    pub container_logs: PathBuf,
    /// Logs of Skiff and containerd.
    pub logs: PathBuf,
}

impl Layout {
    pub fn new(data: &Path) -> Self {
        if data == Path::new(DEFAULT_DATA_DIR) {
            return Self {
                data: data.into(),
                run: "/run/skiff".into(),
                kubelet: "/var/lib/kubelet".into(),
                pod_logs: "/var/log/pods".into(),
                container_logs: "/var/log/containers".into(),
                logs: "/var/log/skiff".into(),
            };
        }
        Self {
            data: data.into(),
            run: data.join("run"),
            kubelet: data.join("kubelet"),
            pod_logs: data.join("log/pods"),
            container_logs: data.join("log/containers"),
            logs: data.join("log"),
        }
    }
    pub fn settings(&self) -> PathBuf {
        self.data.join("settings.json")
    }
    pub fn pki(&self) -> PathBuf {
        self.data.join("pki")
    }
    pub fn store(&self) -> PathBuf {
        self.data.join("store")
    }
    pub fn admin_kubeconfig(&self) -> PathBuf {
        self.data.join("admin.kubeconfig")
    }
    /// The node's own kubeconfig, on a machine that joined a cluster.
    pub fn node_kubeconfig(&self) -> PathBuf {
        self.pki().join("kubelet.conf")
    }
    /// How a machine that joins gets the former.
    pub fn bootstrap_kubeconfig(&self) -> PathBuf {
        self.pki().join("bootstrap-kubelet.conf")
    }
    pub fn cni_conf(&self) -> PathBuf {
        self.data.join("cni/net.d")
    }
    pub fn cni_bin(&self) -> PathBuf {
        self.data.join("cni/bin")
    }
    /// Volumes of the default StorageClass.
    pub fn local_path(&self) -> PathBuf {
        self.data.join("local-path")
    }
    pub fn containerd_root(&self) -> PathBuf {
        self.data.join("containerd")
    }
    pub fn containerd_config(&self) -> PathBuf {
        self.data.join("containerd.toml")
    }
    /// containerd's hosts.toml files: mirrors of registries.
    pub fn registry_hosts(&self) -> PathBuf {
        self.data.join("certs.d")
    }
    pub fn containerd_state(&self) -> PathBuf {
        self.run.join("containerd")
    }
    pub fn containerd_socket(&self) -> PathBuf {
        self.run.join("containerd.sock")
    }
    pub fn pid_file(&self, name: &str) -> PathBuf {
        self.run.join(format!("{name}.pid"))
    }
    pub fn log_file(&self, name: &str) -> PathBuf {
        self.logs.join(format!("{name}.log"))
    }
    /// Every directory that must exist before anything starts.
    pub fn make(&self) -> Result<(), String> {
        for d in [
            &self.data,
            &self.run,
            &self.kubelet,
            &self.pod_logs,
            &self.container_logs,
            &self.logs,
            &self.cni_conf(),
            &self.cni_bin(),
            &self.local_path(),
        ] {
            std::fs::create_dir_all(d).map_err(|e| format!("cannot make {}: {e}", d.display()))?;
        }
        Ok(())
    }
}
