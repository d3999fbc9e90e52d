//! The `loopback` plugin that containerd 1.x asks for beside any network: sets `lo` up.

use crate::config::Environment;
use crate::{Error, Result};
use nlink::netlink::{Connection, Route};
use serde_json::{Value, json};

pub async fn add(version: &str, env: &Environment) -> Result<Value> {
    let nl = |action, source| Error::Netlink { action, source };
    let pod: Connection<Route> =
        Connection::new_in(std::path::Path::new(&env.netns)).map_err(|e| nl("open the pod's network namespace", e))?;
    pod.set_link_up("lo").await.map_err(|e| nl("set lo up", e))?;
    Ok(json!({
        "cniVersion": version,
        "interfaces": [{"name": "lo", "mac": "00:00:00:00:00:00", "sandbox": env.netns}],
        "ips": [{"address": "127.0.0.1/8", "interface": 0}],
    }))
}
