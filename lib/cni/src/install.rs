//! The files that tell the runtime of the network: the configuration list, and links to the binary under the plugins' names.

use crate::{Error, Result, host_ports, pod_link};
use ipnet::Ipv4Net;
use serde_json::json;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

/// Name of the plugin's program.
pub const PLUGIN: &str = "skiff-cni";

/// What the node knows of the network.
#[derive(Clone, Debug)]
pub struct Network {
    pub subnet: Ipv4Net,
    pub node_ip: Option<Ipv4Addr>,
    pub mtu: Option<u32>,
    pub run_dir: PathBuf,
}

/// Writes the configuration into `conf_dir` and links `binary` into `bin_dir`. The configuration appears whole and last: the
/// runtime watches for it.
pub fn install(conf_dir: &Path, bin_dir: &Path, binary: &Path, network: &Network) -> Result<()> {
    let io = |action: &str, path: &Path| {
        let action = format!("{action} {}", path.display());
        move |source: std::io::Error| Error::Io { action, source }
    };
    for dir in [conf_dir, bin_dir] {
        std::fs::create_dir_all(dir).map_err(io("make", dir))?;
    }
    for name in [PLUGIN, "loopback"] {
        let link = bin_dir.join(name);
        let tmp = bin_dir.join(format!(".{name}"));
        let _ = std::fs::remove_file(&tmp);
        std::os::unix::fs::symlink(binary, &tmp).map_err(io("link", &tmp))?;
        std::fs::rename(&tmp, &link).map_err(io("link", &link))?;
    }
    let list = json!({
        "cniVersion": "1.0.0",
        "name": "skiff",
        "plugins": [{
            "type": PLUGIN,
            "subnet": network.subnet,
            "nodeIp": network.node_ip,
            "mtu": network.mtu,
            "runDir": network.run_dir,
            "capabilities": {"portMappings": true},
        }],
    });
    let path = conf_dir.join("10-skiff.conflist");
    let text = format!("{list:#}\n");
    if std::fs::read_to_string(&path).is_ok_and(|old| old == text) {
        return Ok(());
    }
    let tmp = conf_dir.join(".10-skiff.tmp");
    std::fs::write(&tmp, text).map_err(io("write", &tmp))?;
    std::fs::rename(&tmp, &path).map_err(io("write", &path))
}

/// Removes every pod link and host port from this network namespace.
pub fn remove() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|source| Error::Io { action: "start".into(), source })?;
    runtime.block_on(async {
        let ports = host_ports::remove_all().await;
        pod_link::remove_all().await.and(ports)
    })
}
