//! The table in the kernel: its fixed chains and maps, and how operations become netlink messages. One transaction per sync: a
//! packet sees the old state or the new one, never a mixture.

use crate::model::Endpoint;
use crate::plan::{Element, From, Op, Rule as PlanRule};
use crate::{Error, Result};
use ipnet::Ipv4Net;
use nlink::netlink::nftables::types::{
    BaseChain, Chain, ChainName, CtState, Family, FibFlags, FilterHook, MetaKey, NatHook, PacketField, PayloadBase, Priority,
    Register, Rule, Set, SetDataType, SetElement, SetElementData, SetKeyType, Verdict,
};
use nlink::netlink::nftables::{CmpOp, DynsetExpr, DynsetOp, Expr, LookupExpr, MasqExpr, NumgenKind, Transaction};
use nlink::netlink::{Connection, Nftables};
use std::collections::BTreeSet;
use std::net::Ipv4Addr;

/// Our table; no other is touched.
pub const TABLE: &str = "skiff-proxy";
const FAMILY: Family = Family::Ip;
/// The largest transaction in bytes, all Services at a start: 10,000 of them take about 10 MB. Memory is taken as it is used.
const TRANSACTION: usize = 256 << 20;
/// Packets whose source is to be rewritten, as upstream marks them.
const MASQUERADE: u32 = 0x4000;

// Registers: the key (service number, index) and the value (address, port) of the endpoints map lie side by side; the client's
// address lies apart.
const KEY: Register = Register::Reg32_00;
const KEY_INDEX: Register = Register::Reg32_01;
const ADDRESS: Register = Register::Reg32_02;
const PORT: Register = Register::Reg32_03;
const CLIENT: Register = Register::Reg32_04;

/// What changes the kernel's tables; tests have one of their own.
#[async_trait::async_trait]
pub trait Kernel: Send {
    /// Makes the table anew, empty. Established connections stay: they are the connection tracker's.
    async fn reset(&mut self, config: &Fixed) -> Result<()>;
    /// Carries out operations as one transaction.
    async fn apply(&mut self, ops: &[Op]) -> Result<()>;
    /// Forgets tracked flows of a protocol to an address and port whose reply comes from an endpoint that is gone (UDP has no end
    /// of its own).
    async fn forget_flows(&mut self, stale: &[crate::conntrack::Stale]) -> Result<()>;
}

/// What the fixed part of the table depends on.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Fixed {
    pub cluster_cidr: Option<Ipv4Net>,
    pub service_cidr: Option<Ipv4Net>,
    /// Pods reach the world outside the cluster under the node's address.
    pub masquerade_pods: bool,
}

/// The kernel of this network namespace.
pub struct Netlink {
    nft: Connection<Nftables>,
}

fn nl<T>(action: &'static str, r: nlink::netlink::Result<T>) -> Result<T> {
    r.map_err(|source| Error::Netlink { action, source })
}

fn chain(name: &str) -> Result<Chain> {
    Ok(nl("name a chain", Chain::new(TABLE, name))?.family(FAMILY))
}

fn chain_name(name: &str) -> Result<ChainName> {
    ChainName::new(name).map_err(|_| Error::Name(name.to_owned()))
}

fn rule(chain: &str) -> Rule {
    Rule::new(TABLE, chain).family(FAMILY)
}

/// Removes the table.
pub async fn remove() -> Result<()> {
    let nft = nl("open netlink", Connection::<Nftables>::new())?;
    nl("remove the table", nft.del_table_if_exists(TABLE, FAMILY).await).map(drop)
}

impl Netlink {
    pub fn open() -> Result<Self> {
        let nft = nl("open netlink", Connection::<Nftables>::new())?;
        // The default takes the transaction of a few hundred Services.
        rustix::net::sockopt::set_socket_send_buffer_size_force(nft.socket(), TRANSACTION)
            .map_err(|e| Error::Io { action: "let netlink take large transactions".into(), source: e.into() })?;
        Ok(Self { nft })
    }
}

fn concat(parts: Vec<SetKeyType>) -> SetKeyType {
    SetKeyType::Concat(parts)
}

fn set(name: &str) -> Set {
    let address = || SetKeyType::Ipv4Addr;
    let (proto, port) = (|| SetKeyType::InetProto, || SetKeyType::InetService);
    let s = Set::new(TABLE, name).family(FAMILY);
    match name {
        "services" | "no-endpoints" | "firewall" => s.key_type(concat(vec![address(), proto(), port()])).vmap(),
        "node-ports" | "no-endpoints-node-ports" => s.key_type(concat(vec![proto(), port()])).vmap(),
        "endpoints" => {
            s.key_type(concat(vec![SetKeyType::Mark, SetKeyType::Mark])).map(SetDataType::Value(concat(vec![address(), port()])))
        }
        "hairpins" => s.key_type(concat(vec![address(), address()])),
        "cluster-ips" => s.key_type(address()),
        // Affinity: client -> endpoint.
        _ => s.key_type(address()).map(SetDataType::Value(concat(vec![address(), port()]))).dynamic(),
    }
}

const SETS: &[&str] =
    &["services", "node-ports", "endpoints", "hairpins", "cluster-ips", "no-endpoints", "no-endpoints-node-ports", "firewall"];

fn key(parts: impl IntoIterator<Item = SetElement>) -> SetElement {
    SetElement::concat(parts)
}

fn value(to: Endpoint) -> SetElement {
    SetElement::concat([SetElement::ipv4(to.0), SetElement::port(to.1)])
}

/// The named set of an element, and the element.
fn element(e: &Element) -> Result<(&'static str, SetElement)> {
    let goto = |chain: &str| chain_name(chain).map(Verdict::GotoTo);
    let service = |ip: &Ipv4Addr, protocol: &u8, port: &u16| {
        key([SetElement::ipv4(*ip), SetElement::inet_proto(*protocol), SetElement::port(*port)])
    };
    let node_port = |protocol: &u8, port: &u16| key([SetElement::inet_proto(*protocol), SetElement::port(*port)]);
    Ok(match e {
        Element::Service { ip, protocol, port, chain } => ("services", service(ip, protocol, port).verdict(goto(chain)?)),
        Element::NodePort { protocol, port, chain } => ("node-ports", node_port(protocol, port).verdict(goto(chain)?)),
        Element::Endpoint { service, index, to } => {
            ("endpoints", key([SetElement::mark(*service), SetElement::mark(*index)]).value(value(*to)))
        }
        Element::Hairpin(ip) => ("hairpins", key([SetElement::ipv4(*ip), SetElement::ipv4(*ip)])),
        Element::ClusterIp(ip) => ("cluster-ips", SetElement::ipv4(*ip)),
        Element::NoEndpoints { ip, protocol, port } => ("no-endpoints", service(ip, protocol, port).verdict(goto("refuse")?)),
        Element::NoEndpointsNodePort { protocol, port } => {
            ("no-endpoints-node-ports", node_port(protocol, port).verdict(goto("refuse")?))
        }
        Element::Firewall { ip, protocol, port, chain } => ("firewall", service(ip, protocol, port).verdict(goto(chain)?)),
    })
}

/// `fib daddr type local` (or saddr).
fn from(r: Rule, from: &From) -> Rule {
    match from {
        From::Anyone => r,
        From::Net(n) => r.match_saddr_v4(n.network(), n.prefix_len()),
        From::Node => nft::is_local(KEY, FibFlags::SADDR).into_iter().fold(r, Rule::then),
    }
}

fn mark_masquerade(r: Rule) -> Rule {
    r.then(Expr::Meta { dreg: KEY, key: MetaKey::Mark })
        .then(Expr::Bitwise {
            sreg: KEY,
            dreg: KEY,
            len: 4,
            mask: (!MASQUERADE).to_ne_bytes().to_vec(),
            xor: MASQUERADE.to_ne_bytes().to_vec(),
        })
        .then(Expr::MetaSet { key: MetaKey::Mark, sreg: KEY })
}

fn client_address() -> Expr {
    Expr::Payload { dreg: CLIENT, base: PayloadBase::Network, offset: 12, len: 4 }
}

fn plan_rule(chain: &str, plan: &PlanRule) -> Rule {
    let r = rule(chain);
    match plan {
        PlanRule::Masquerade(who) => mark_masquerade(from(r, who)),
        PlanRule::Return(who) => from(r, who).then(Verdict::Return),
        PlanRule::Drop => r.drop(),
        PlanRule::Sticky(who, map) => from(r, who)
            .then(client_address())
            .then(Expr::from(LookupExpr::new(map, CLIENT).dreg(ADDRESS)))
            .then(Expr::Dynset(DynsetExpr::new(DynsetOp::Update, map, CLIENT).sreg_data(ADDRESS)))
            .then(nft::dnat(ADDRESS, PORT)),
        PlanRule::Balance { from: who, service, first, count, affinity } => {
            let mut r = from(r, who)
                .then(Expr::Immediate { dreg: KEY, data: service.to_ne_bytes().to_vec() })
                .then(Expr::Numgen { dreg: KEY_INDEX, kind: NumgenKind::Random, modulus: *count, offset: *first })
                .then(Expr::from(LookupExpr::new("endpoints", KEY).dreg(ADDRESS)));
            if let Some(map) = affinity {
                r = r
                    .then(client_address())
                    .then(Expr::Dynset(DynsetExpr::new(DynsetOp::Update, map, CLIENT).sreg_data(ADDRESS)));
            }
            r.then(nft::dnat(ADDRESS, PORT))
        }
    }
}

/// A base chain.
fn base(name: &str, kind: BaseChain) -> Result<Chain> {
    Ok(chain(name)?.base(kind))
}

/// address . protocol . port of the destination, through a verdict map. Ports of TCP, UDP and SCTP lie alike, so one lookup
/// serves all three.
fn by_service(r: Rule, map: &str) -> Rule {
    r.then(Expr::Payload { dreg: KEY, base: PayloadBase::Network, offset: 16, len: 4 })
        .then(Expr::Meta { dreg: KEY_INDEX, key: MetaKey::L4Proto })
        .then(Expr::Payload { dreg: ADDRESS, base: PayloadBase::Transport, offset: 2, len: 2 })
        .then(Expr::from(LookupExpr::new(map, KEY).dreg(Register::Verdict)))
}

/// protocol . port of the destination, if that is an address of this node.
fn by_node_port(r: Rule, map: &str) -> Rule {
    nft::is_local(KEY, FibFlags::DADDR)
        .into_iter()
        .fold(r, Rule::then)
        .then(Expr::Meta { dreg: KEY, key: MetaKey::L4Proto })
        .then(Expr::Payload { dreg: KEY_INDEX, base: PayloadBase::Transport, offset: 2, len: 2 })
        .then(Expr::from(LookupExpr::new(map, KEY).dreg(Register::Verdict)))
}

fn fixed_table(mut t: Transaction, c: &Fixed) -> Result<Transaction> {
    for name in SETS {
        t = t.add_set(set(name));
    }
    for name in ["services-nat", "services-filter", "refuse"] {
        t = t.add_chain(chain(name)?);
    }
    for base_chain in [
        base("guard", BaseChain::filter(FilterHook::Prerouting, Priority::Custom(-300))),
        base("firewall-in", BaseChain::filter(FilterHook::Prerouting, Priority::Custom(-110))),
        base("nat-in", BaseChain::nat(NatHook::Prerouting, Priority::Custom(-100))),
        base("nat-local", BaseChain::nat(NatHook::Output, Priority::Custom(-100))),
        base("nat-out", BaseChain::nat(NatHook::Postrouting, Priority::Custom(100))),
        base("filter-in", BaseChain::filter(FilterHook::Input, Priority::Custom(0))),
        base("filter-forward", BaseChain::filter(FilterHook::Forward, Priority::Custom(0))),
        base("filter-local", BaseChain::filter(FilterHook::Output, Priority::Custom(0))),
    ] {
        t = t.add_chain(base_chain?);
    }
    // route_localnet lets node ports work on 127.0.0.1; nobody else may reach it (CVE-2020-8558).
    t = t.add_rule(rule("guard").match_iif_not("lo").match_daddr_v4(Ipv4Addr::new(127, 0, 0, 0), 8).drop());
    t = t.add_rule(by_service(rule("firewall-in"), "firewall"));
    if let Some(net) = c.cluster_cidr {
        // From outside the pods to a cluster IP: answers must come back through this node.
        let r = rule("services-nat")
            .match_saddr_v4_not(net.network(), net.prefix_len())
            .then(Expr::Payload { dreg: KEY, base: PayloadBase::Network, offset: 16, len: 4 })
            .then(Expr::from(LookupExpr::new("cluster-ips", KEY)));
        t = t.add_rule(mark_masquerade(r));
    }
    t = t.add_rule(by_service(rule("services-nat"), "services"));
    t = t.add_rule(by_node_port(rule("services-nat"), "node-ports"));
    for chain in ["nat-in", "nat-local"] {
        t = t.add_rule(rule(chain).jump(chain_name("services-nat")?));
    }
    // A cluster IP that no rule rewrote has nobody behind it; it must not leave the machine.
    t = t.add_rule(by_service(rule("services-filter"), "no-endpoints"));
    t = t.add_rule(by_node_port(rule("services-filter"), "no-endpoints-node-ports"));
    t = t.add_rule(rule("services-filter").match_daddr_in_set("cluster-ips").goto(chain_name("refuse")?));
    t = t.add_rule(rule("refuse").match_l4proto(6).reject_tcp_reset());
    t = t.add_rule(rule("refuse").reject());
    for chain in ["filter-in", "filter-forward", "filter-local"] {
        t = t.add_rule(rule(chain).match_ct_state(CtState::NEW).jump(chain_name("services-filter")?));
    }
    if let Some(net) = c.service_cidr {
        t = t.add_rule(rule("filter-forward").match_daddr_v4(net.network(), net.prefix_len()).drop());
    }
    let marked = rule("nat-out")
        .then(Expr::Meta { dreg: KEY, key: MetaKey::Mark })
        .then(Expr::Bitwise { sreg: KEY, dreg: KEY, len: 4, mask: MASQUERADE.to_ne_bytes().to_vec(), xor: vec![0; 4] })
        .then(Expr::Cmp { sreg: KEY, op: CmpOp::Eq, data: MASQUERADE.to_ne_bytes().to_vec() })
        .then(Expr::Masquerade(MasqExpr::new()));
    t = t.add_rule(marked);
    let hairpin = rule("nat-out")
        .match_concat_in_set(&[PacketField::Ip4Saddr, PacketField::Ip4Daddr], "hairpins")
        .then(Expr::Masquerade(MasqExpr::new()));
    t = t.add_rule(hairpin);
    if let (true, Some(net)) = (c.masquerade_pods, c.cluster_cidr) {
        let out =
            rule("nat-out").match_saddr_v4(net.network(), net.prefix_len()).match_daddr_v4_not(net.network(), net.prefix_len());
        t = t.add_rule(out.then(Expr::Masquerade(MasqExpr::new())));
    }
    Ok(t)
}

#[async_trait::async_trait]
impl Kernel for Netlink {
    async fn reset(&mut self, config: &Fixed) -> Result<()> {
        let tables = nl("list tables", self.nft.list_tables_in(FAMILY).await)?;
        let mut t = self.nft.transaction();
        if tables.iter().any(|t| t.name == TABLE) {
            t = t.del_table(TABLE, FAMILY);
        }
        t = t.add_table(TABLE, FAMILY);
        nl("make the table", fixed_table(t, config)?.commit(&self.nft).await)
    }

    async fn apply(&mut self, ops: &[Op]) -> Result<()> {
        let mut t = self.nft.transaction();
        for op in ops {
            t = match op {
                Op::AddChain(c) => t.add_chain(chain(c)?),
                Op::FlushChain(c) => t.flush_chain(TABLE, c.as_str(), FAMILY),
                Op::DeleteChain(c) => t.del_chain(TABLE, c.as_str(), FAMILY),
                Op::AddRule { chain, rule } => t.add_rule(plan_rule(chain, rule)),
                Op::Add(e) => {
                    let (name, e) = element(e)?;
                    t.add_set_elements(&set(name), &[e])
                }
                Op::Delete(e) => {
                    let (name, e) = element(e)?;
                    t.del_set_elements(&set(name), &[e])
                }
                Op::AddAffinity { map, timeout } => t.add_set(set(map).timeout(*timeout).size(65_536)),
                Op::DeleteAffinity { map } => t.del_set(TABLE, map, FAMILY),
                Op::PruneAffinity { map, keep } => {
                    let stale = self.stale_clients(map, keep).await?;
                    if stale.is_empty() { t } else { t.del_set_elements(&set(map), &stale) }
                }
            };
        }
        nl("change the table", t.commit(&self.nft).await)
    }

    async fn forget_flows(&mut self, stale: &[crate::conntrack::Stale]) -> Result<()> {
        crate::conntrack::forget(stale).await
    }
}

impl Netlink {
    /// Clients that an affinity map sends to endpoints other than `keep`.
    async fn stale_clients(&self, map: &str, keep: &BTreeSet<Endpoint>) -> Result<Vec<SetElement>> {
        let elements = nl("read an affinity map", self.nft.list_set_elements(TABLE, map, FAMILY).await)?;
        let kept: Vec<Vec<u8>> = keep.iter().map(|e| value(*e).key().to_vec()).collect();
        let is_kept = |e: &SetElement| match e.data() {
            Some(SetElementData::Value(v)) => kept.iter().any(|k| k[..6] == v[..v.len().min(6)]),
            _ => false,
        };
        Ok(elements.into_iter().filter(|e| !is_kept(e)).map(|e| SetElement::new(e.key().to_vec())).collect())
    }
}
