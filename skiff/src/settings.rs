//! What a cluster was set up with. `skiff up` writes it down, so that the next `skiff up` needs no flags.

use crate::layout::Layout;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;
use std::path::PathBuf;

/// The settings of one instance; every field has a default, so that older files stay readable.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct Settings {
    pub node_name: String,
    /// Absent: the address of the interface with the default route, or else the first one that is not a loopback.
    pub node_ip: Option<IpAddr>,
    pub https_port: u16,
    pub kubelet_port: u16,
    pub cluster_cidr: String,
    pub service_cidr: String,
    pub cluster_domain: String,
    /// Empty: the embedded store.
    pub etcd_servers: Vec<String>,
    /// A runtime that somebody else runs, as `unix:///path`.
    pub container_runtime_endpoint: Option<String>,
    /// Parent of all pod cgroups.
    pub cgroup_root: String,
    /// `https://HOST:PORT` of the cluster that this machine joined; absent where the control plane runs here.
    pub server: Option<String>,
    /// Nodes on this machine, itself included.
    pub nodes: u8,
    /// The kubeconfig that got the `skiff` context.
    pub kubeconfig: Option<PathBuf>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            node_name: String::new(),
            node_ip: None,
            https_port: 6443,
            kubelet_port: 10250,
            cluster_cidr: "10.244.0.0/16".into(),
            service_cidr: "10.96.0.0/16".into(),
            cluster_domain: "cluster.local".into(),
            etcd_servers: Vec::new(),
            container_runtime_endpoint: None,
            cgroup_root: "/".into(),
            server: None,
            nodes: 1,
            kubeconfig: None,
        }
    }
}

impl Settings {
    /// The settings written by an earlier `up`, if any.
    pub fn load(layout: &Layout) -> Result<Option<Self>, String> {
        let path = layout.settings();
        let text = match std::fs::read_to_string(&path) {
            Ok(t) => t,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(format!("cannot read {}: {e}", path.display())),
        };
        serde_json::from_str(&text).map(Some).map_err(|e| format!("{}: {e}", path.display()))
    }
    pub fn save(&self, layout: &Layout) -> Result<(), String> {
        let path = layout.settings();
        let text = serde_json::to_string_pretty(self).map_err(|e| e.to_string())?;
        let tmp = path.with_extension("tmp");
        std::fs::write(&tmp, text + "\n")
            .and_then(|()| std::fs::rename(&tmp, &path))
            .map_err(|e| format!("cannot write {}: {e}", path.display()))
    }
    /// Address number `n` of the service range: 1 is the API server, 10 is DNS.
    pub fn service_ip(&self, n: u32) -> Result<IpAddr, String> {
        let net: ipnet::IpNet = self.service_cidr.parse().map_err(|e| format!("--service-cidr {}: {e}", self.service_cidr))?;
        match net.network() {
            IpAddr::V4(a) => Ok(IpAddr::V4(u32::from(a).wrapping_add(n).into())),
            IpAddr::V6(a) => Ok(IpAddr::V6(u128::from(a).wrapping_add(n.into()).into())),
        }
    }
}

/// The machine's name as a node name: lower case, as the kubelet does it.
pub fn host_name() -> String {
    nix::unistd::gethostname().ok().and_then(|h| h.into_string().ok()).unwrap_or_default().trim().to_lowercase()
}

/// The address that packets to `to` leave with. Connecting a UDP socket sends nothing; it only asks the routing table.
pub fn address_towards(to: &str) -> Option<IpAddr> {
    let socket = std::net::UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect(to).ok()?;
    let ip = socket.local_addr().ok()?.ip();
    (!ip.is_loopback() && !ip.is_unspecified()).then_some(ip)
}

/// The machine's own address: the source address of the default route where there is one, else the first global one.
pub fn host_ip() -> Result<IpAddr, String> {
    if let Some(ip) = address_towards("192.0.2.1:9") {
        return Ok(ip);
    }
    let interfaces = nix::ifaddrs::getifaddrs().map_err(|e| format!("cannot list the machine's addresses: {e}"))?;
    let mut found: Vec<IpAddr> = interfaces
        .filter(|i| !i.interface_name.starts_with("skiff"))
        .filter_map(|i| {
            let a = i.address?;
            a.as_sockaddr_in().map(|a| IpAddr::V4(a.ip()))
        })
        .filter(|ip| !ip.is_loopback())
        .collect();
    found.sort_by_key(|ip| matches!(ip, IpAddr::V4(a) if a.is_link_local()));
    // A machine without any network still works as a cluster of its own.
    Ok(found.first().copied().unwrap_or(IpAddr::from([127, 0, 0, 1])))
}

impl Settings {
    /// Refuses values that cannot work, naming the flag.
    pub fn check(&self) -> Result<(), String> {
        let name = machinery::validation::dns1123_subdomain(&self.node_name);
        if let Some(why) = name.first() {
            return Err(format!("--node-name {:?}: {why}", self.node_name));
        }
        for (flag, cidr) in [("--cluster-cidr", &self.cluster_cidr), ("--service-cidr", &self.service_cidr)] {
            let net: ipnet::IpNet = cidr.parse().map_err(|e| format!("{flag} {cidr}: {e}"))?;
            if net.max_prefix_len() - net.prefix_len() < 8 {
                return Err(format!("{flag} {cidr}: the range is too small, at least a /{} is needed", net.max_prefix_len() - 8));
            }
        }
        Ok(())
    }

    /// The node's address, as told or as found.
    pub fn address(&self) -> Result<IpAddr, String> {
        self.node_ip.map_or_else(host_ip, Ok)
    }

    /// Where people and components reach the API server.
    pub fn server_url(&self) -> Result<String, String> {
        Ok(match (&self.server, self.address()?) {
            (Some(server), _) => server.clone(),
            (None, IpAddr::V4(a)) => format!("https://{a}:{}", self.https_port),
            (None, IpAddr::V6(a)) => format!("https://[{a}]:{}", self.https_port),
        })
    }

    /// Refuses to start where somebody else listens on a port of ours.
    pub fn check_ports(&self) -> Result<(), String> {
        let ports = [("--https-port", self.https_port), ("--kubelet-port", self.kubelet_port)];
        for (flag, port) in ports.into_iter().skip(usize::from(self.server.is_some())) {
            if let Err(e) = std::net::TcpListener::bind(("0.0.0.0", port)) {
                return Err(format!(
                    "port {port} cannot be used: {e}. Stop what listens there (`ss -ltnp 'sport = :{port}'`) or choose another with {flag}"
                ));
            }
        }
        Ok(())
    }
}
