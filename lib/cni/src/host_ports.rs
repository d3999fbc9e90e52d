//! Host ports: connections to a port of the node that a pod asked for go to the pod.
//!
//! They are elements of two maps in a table of our own, so that a packet costs two lookups however many there are. Each element
//! carries its container's id as a comment: what must go with a container is read from the kernel, and there is no other state.

use crate::config::{Environment, PortMapping};
use crate::{Error, Result};
use nlink::netlink::nftables::types::{
    BaseChain, Chain, ChainName, Family, FibFlags, MetaKey, NatHook, PacketField, PayloadBase, Priority, Register, Rule, Set,
    SetDataType, SetElement, SetKeyType,
};
use nlink::netlink::nftables::{Expr, LookupExpr, MasqExpr, Transaction};
use nlink::netlink::{Connection, Nftables};
use std::fs::File;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;

/// Our table; no other is touched.
const TABLE: &str = "skiff-hostports";
const FAMILY: Family = Family::Ip;
/// address . protocol . port of the node -> address . port of the pod.
const ADDRESSES: &str = "addresses";
/// protocol . port, on every address of the node -> address . port of the pod.
const PORTS: &str = "ports";
/// pod . pod, for pods with host ports: a pod that reaches itself must be answered through the node.
const HAIRPINS: &str = "hairpins";
/// Pods with host ports.
const PODS: &str = "pods";
const SETS: [&str; 4] = [ADDRESSES, PORTS, HAIRPINS, PODS];

// The longest key has three registers; the value (address, port) comes after it.
const KEYS: [Register; 3] = [Register::Reg32_00, Register::Reg32_01, Register::Reg32_02];
const ADDRESS: Register = Register::Reg32_03;
const PORT: Register = Register::Reg32_04;

fn nl<T>(action: &'static str, r: nlink::netlink::Result<T>) -> Result<T> {
    r.map_err(|source| Error::Netlink { action, source })
}

/// Held while the table is read and changed: plugins run at the same time.
fn lock(dir: &Path) -> Result<File> {
    let path = dir.join("cni-hostports");
    let io = |source: std::io::Error| Error::Io { action: format!("lock {}", path.display()), source };
    std::fs::create_dir_all(dir).map_err(io)?;
    let file = File::options().write(true).create(true).truncate(false).open(&path).map_err(io)?;
    rustix::fs::flock(&file, rustix::fs::FlockOperation::LockExclusive).map_err(|e| io(e.into()))?;
    Ok(file)
}

fn set(name: &str) -> Set {
    let (address, proto, port) = (|| SetKeyType::Ipv4Addr, || SetKeyType::InetProto, || SetKeyType::InetService);
    let to = || SetDataType::Value(SetKeyType::Concat(vec![address(), port()]));
    let s = Set::new(TABLE, name).family(FAMILY);
    match name {
        ADDRESSES => s.key_type(SetKeyType::Concat(vec![address(), proto(), port()])).map(to()),
        PORTS => s.key_type(SetKeyType::Concat(vec![proto(), port()])).map(to()),
        HAIRPINS => s.key_type(SetKeyType::Concat(vec![address(), address()])),
        _ => s.key_type(address()),
    }
}

/// The set that a mapping goes to, and its element; None for what has no IPv4 side.
fn element(m: &PortMapping, pod: Ipv4Addr) -> Result<Option<(&'static str, SetElement)>> {
    if m.host_port == 0 {
        return Ok(None);
    }
    let protocol = match m.protocol.to_ascii_lowercase().as_str() {
        "" | "tcp" => 6,
        "udp" => 17,
        "sctp" => 132,
        other => return Err(Error::Config(format!("protocol {other:?} of host port {} is unknown", m.host_port))),
    };
    let (proto, port) = (SetElement::inet_proto(protocol), SetElement::port(m.host_port));
    let to = SetElement::concat([SetElement::ipv4(pod), SetElement::port(m.container_port)]);
    if m.host_ip.is_empty() {
        return Ok(Some((PORTS, SetElement::concat([proto, port]).value(to))));
    }
    let ip: IpAddr = m.host_ip.parse().map_err(|_| Error::Config(format!("hostIP {:?} is not an IP address", m.host_ip)))?;
    Ok(match ip {
        IpAddr::V4(ip) if ip.is_unspecified() => Some((PORTS, SetElement::concat([proto, port]).value(to))),
        IpAddr::V4(ip) => Some((ADDRESSES, SetElement::concat([SetElement::ipv4(ip), proto, port]).value(to))),
        // Pods have IPv4 addresses alone.
        IpAddr::V6(_) => None,
    })
}

async fn exists(nft: &Connection<Nftables>) -> Result<bool> {
    Ok(nl("list tables", nft.list_tables_in(FAMILY).await)?.iter().any(|t| t.name == TABLE))
}

fn rule(chain: &str) -> Rule {
    Rule::new(TABLE, chain).family(FAMILY)
}

fn chain(name: &str) -> Result<Chain> {
    Ok(nl("name a chain", Chain::new(TABLE, name))?.family(FAMILY))
}

/// Packets to an address of the node, looked up in a map by what `load` puts into the key registers.
fn forward(map: &str, load: impl IntoIterator<Item = Expr>) -> Rule {
    let mut r = nft::is_local(KEYS[0], FibFlags::DADDR).into_iter().fold(rule("host-ports"), Rule::then);
    for e in load {
        r = r.then(e);
    }
    r.then(Expr::from(LookupExpr::new(map, KEYS[0]).dreg(ADDRESS))).then(nft::dnat(ADDRESS, PORT))
}

fn table(mut t: Transaction) -> Result<Transaction> {
    t = t.add_table(TABLE, FAMILY);
    for name in SETS {
        t = t.add_set(set(name));
    }
    t = t.add_chain(chain("host-ports")?);
    // After Services (-100), whose addresses and node ports take precedence.
    for (name, base) in [
        ("in", BaseChain::nat(NatHook::Prerouting, Priority::Custom(-95))),
        ("local", BaseChain::nat(NatHook::Output, Priority::Custom(-95))),
        ("out", BaseChain::nat(NatHook::Postrouting, Priority::Custom(95))),
    ] {
        t = t.add_chain(chain(name)?.base(base));
    }
    let daddr = Expr::Payload { dreg: KEYS[0], base: PayloadBase::Network, offset: 16, len: 4 };
    let protocol = |dreg| Expr::Meta { dreg, key: MetaKey::L4Proto };
    // The ports of TCP, UDP and SCTP lie alike.
    let port = |dreg| Expr::Payload { dreg, base: PayloadBase::Transport, offset: 2, len: 2 };
    t = t.add_rule(forward(ADDRESSES, [daddr, protocol(KEYS[1]), port(KEYS[2])]));
    t = t.add_rule(forward(PORTS, [protocol(KEYS[0]), port(KEYS[1])]));
    let jump = nl("name a chain", ChainName::new("host-ports"))?;
    for name in ["in", "local"] {
        t = t.add_rule(rule(name).jump(jump.clone()));
    }
    // The pod cannot answer 127.0.0.1 of the node; any other address of the node it can.
    let from_loopback = rule("out").match_saddr_v4(Ipv4Addr::new(127, 0, 0, 0), 8).match_daddr_in_set(PODS);
    t = t.add_rule(from_loopback.then(Expr::Masquerade(MasqExpr::new())));
    let hairpin = rule("out").match_concat_in_set(&[PacketField::Ip4Saddr, PacketField::Ip4Daddr], HAIRPINS);
    Ok(t.add_rule(hairpin.then(Expr::Masquerade(MasqExpr::new()))))
}

/// Opens the host ports of a container. What another or the same container had there before is replaced: the runtime promises
/// ports to one living pod at a time.
pub async fn add(dir: &Path, env: &Environment, mappings: &[PortMapping], pod: Ipv4Addr) -> Result<()> {
    let mut wanted = Vec::new();
    for m in mappings {
        wanted.extend(element(m, pod)?);
    }
    if wanted.is_empty() {
        return Ok(());
    }
    wanted.push((HAIRPINS, SetElement::concat([SetElement::ipv4(pod), SetElement::ipv4(pod)])));
    wanted.push((PODS, SetElement::ipv4(pod)));
    let _lock = lock(dir)?;
    let nft = nl("open netlink", Connection::<Nftables>::new())?;
    let mut t = nft.transaction();
    if exists(&nft).await? {
        for name in SETS {
            let new: Vec<&[u8]> = wanted.iter().filter(|(s, _)| *s == name).map(|(_, e)| e.key()).collect();
            t = delete(&nft, t, name, |e| e.comment() == Some(env.container_id.as_str()) || new.contains(&e.key())).await?;
        }
    } else {
        t = table(t)?;
    }
    for name in SETS {
        let mut elements: Vec<SetElement> = Vec::new();
        for (_, e) in wanted.iter().filter(|(s, _)| *s == name) {
            if elements.iter().all(|known| known.key() != e.key()) {
                elements.push(e.clone().with_comment(&env.container_id));
            }
        }
        if !elements.is_empty() {
            t = t.add_set_elements(&set(name), &elements);
        }
    }
    nl("open host ports", t.commit(&nft).await)
}

async fn delete(
    nft: &Connection<Nftables>,
    t: Transaction,
    name: &str,
    which: impl Fn(&SetElement) -> bool,
) -> Result<Transaction> {
    let elements = nl("list host ports", nft.list_set_elements(TABLE, name, FAMILY).await)?;
    let old: Vec<SetElement> = elements.iter().filter(|e| which(e)).map(|e| SetElement::new(e.key().to_vec())).collect();
    Ok(if old.is_empty() { t } else { t.del_set_elements(&set(name), &old) })
}

/// Closes the host ports of a container; of those that another took over since, none.
pub async fn remove(dir: &Path, env: &Environment) -> Result<()> {
    let nft = nl("open netlink", Connection::<Nftables>::new())?;
    if !exists(&nft).await? {
        return Ok(());
    }
    let _lock = lock(dir)?;
    if !exists(&nft).await? {
        return Ok(());
    }
    let mut t = nft.transaction();
    for name in SETS {
        t = delete(&nft, t, name, |e| e.comment() == Some(env.container_id.as_str())).await?;
    }
    nl("close host ports", t.commit(&nft).await)
}

/// Removes the table.
pub async fn remove_all() -> Result<()> {
    let nft = nl("open netlink", Connection::<Nftables>::new())?;
    nl("remove the table of host ports", nft.del_table_if_exists(TABLE, FAMILY).await).map(drop)
}
