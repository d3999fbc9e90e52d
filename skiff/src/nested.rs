//! More nodes on one machine (`skiff up --nodes N`): each in a network namespace of its own, on a bridge with the machine, which is
//! their way out. To the cluster they are machines that joined.

use crate::layout::Layout;
use crate::settings::Settings;
use ipnet::Ipv4Net;
use nlink::netlink::nftables::types::{BaseChain, Chain, Family, NatHook, Priority, Rule};
use nlink::netlink::nftables::{Expr, MasqExpr};
use nlink::netlink::{Connection, Nftables};
use std::fs::File;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

const BRIDGE: &str = "skiff-nodes";
const TABLE: &str = "skiff-nodes";
const NETWORK: Ipv4Net = Ipv4Net::new_assert(Ipv4Addr::new(172, 31, 254, 0), 24);

/// One more node of this machine.
pub struct Node {
    pub number: u8,
    pub name: String,
    pub layout: Layout,
    namespace: String,
}

impl Node {
    pub fn new(layout: &Layout, settings: &Settings, number: u8) -> Self {
        let name = format!("{}-{number}", settings.node_name);
        let data = layout.data.join("nodes").join(number.to_string());
        Self { number, namespace: format!("skiff-{name}"), name, layout: Layout::new(&data) }
    }

    pub fn address(&self) -> Ipv4Addr {
        let [a, b, c, _] = NETWORK.network().octets();
        Ipv4Addr::new(a, b, c, self.number)
    }

    fn netns(&self) -> PathBuf {
        PathBuf::from("/run/netns").join(&self.namespace)
    }

    /// Our own program, to be run as this node.
    pub fn skiff(&self, args: &[&str]) -> Result<Command, String> {
        let exe = std::env::current_exe().map_err(|e| format!("cannot find our own binary: {e}"))?;
        let mut command = Command::new(exe);
        command.args(args).arg("--data-dir").arg(&self.layout.data);
        let path = self.netns();
        if path.exists() {
            let netns = File::open(&path).map_err(|e| format!("cannot open {}: {e}", path.display()))?;
            // SAFETY: setns is one system call on a descriptor that the closure keeps open.
            #[allow(unsafe_code)]
            unsafe {
                command.pre_exec(move || {
                    if libc::setns(netns.as_raw_fd(), libc::CLONE_NEWNET) < 0 {
                        return Err(std::io::Error::last_os_error());
                    }
                    Ok(())
                });
            }
        }
        Ok(command)
    }

    /// Makes the node's namespace and its link; what is there is kept.
    pub fn ensure(&self, machine: IpAddr) -> Result<(), String> {
        if self.netns().exists() {
            return Ok(());
        }
        let (ns, port) = (self.namespace.as_str(), format!("{BRIDGE}{}", self.number));
        let (address, gateway) = (format!("{}/{}", self.address(), NETWORK.prefix_len()), gateway().to_string());
        ip(&["netns", "add", ns])?;
        ip(&["-n", ns, "link", "set", "lo", "up"])?;
        ip(&["link", "add", &port, "type", "veth", "peer", "name", "eth0", "netns", ns])?;
        ip(&["link", "set", &port, "master", BRIDGE, "up"])?;
        ip(&["-n", ns, "addr", "add", &address, "dev", "eth0"])?;
        ip(&["-n", ns, "link", "set", "eth0", "up"])?;
        ip(&["-n", ns, "route", "add", "default", "via", &gateway])?;
        // The machine's own address is a neighbour, so that routes to its pods can lead through it.
        ip(&["-n", ns, "route", "add", &machine.to_string(), "dev", "eth0", "scope", "link"])
    }

    /// Removes the namespace; its link goes with it.
    pub fn remove(&self) -> Result<(), String> {
        if self.netns().exists() { ip(&["netns", "del", &self.namespace]) } else { Ok(()) }
    }
}

/// The machine's address on the bridge.
fn gateway() -> Ipv4Addr {
    let [a, b, c, _] = NETWORK.network().octets();
    Ipv4Addr::new(a, b, c, 1)
}

/// The nodes that `up` made here, by their data.
pub fn existing(layout: &Layout, settings: &Settings) -> Vec<Node> {
    let entries = std::fs::read_dir(layout.data.join("nodes")).into_iter().flatten().flatten();
    let mut numbers: Vec<u8> = entries.filter_map(|e| e.file_name().to_str()?.parse().ok()).collect();
    numbers.sort_unstable();
    numbers.into_iter().map(|n| Node::new(layout, settings, n)).collect()
}

fn ip(args: &[&str]) -> Result<(), String> {
    let out = Command::new("ip").args(args).output().map_err(|e| format!("cannot run ip: {e}"))?;
    if out.status.success() {
        return Ok(());
    }
    Err(format!("ip {}: {}", args.join(" "), String::from_utf8_lossy(&out.stderr).trim()))
}

/// The bridge, and the rule that lets the nodes out under the machine's address.
pub fn ensure_bridge() -> Result<(), String> {
    if ip(&["link", "show", "dev", BRIDGE]).is_err() {
        ip(&["link", "add", BRIDGE, "type", "bridge"])?;
        ip(&["addr", "add", &format!("{}/{}", gateway(), NETWORK.prefix_len()), "dev", BRIDGE])?;
        ip(&["link", "set", BRIDGE, "up"])?;
    }
    block_on(async {
        let nft = Connection::<Nftables>::new()?;
        nft.del_table_if_exists(TABLE, Family::Ip).await?;
        let chain = Chain::new(TABLE, "out")?.family(Family::Ip);
        let chain = chain.base(BaseChain::nat(NatHook::Postrouting, Priority::Custom(100)));
        let leaving = Rule::new(TABLE, "out")
            .family(Family::Ip)
            .match_saddr_v4(NETWORK.network(), NETWORK.prefix_len())
            .match_oif_not(BRIDGE)
            .then(Expr::Masquerade(MasqExpr::new()));
        let t = nft.transaction().add_table(TABLE, Family::Ip).add_chain(chain).add_rule(leaving);
        t.commit(&nft).await
    })
}

/// Removes bridge and rule.
pub fn remove_bridge() -> Result<(), String> {
    if ip(&["link", "show", "dev", BRIDGE]).is_ok() {
        ip(&["link", "del", BRIDGE])?;
    }
    block_on(async { Connection::<Nftables>::new()?.del_table_if_exists(TABLE, Family::Ip).await.map(drop) })
}

fn block_on<T>(work: impl Future<Output = nlink::netlink::Result<T>>) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|e| e.to_string())?;
    runtime.block_on(work).map(drop).map_err(|e| format!("the table {TABLE}: {e}"))
}
