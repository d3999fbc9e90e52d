//! Expressions of nftables rules that several tables need and the netlink library has no words for. It knows no table and no
//! Service, and talks to no kernel.

use nlink::netlink::nftables::types::{FibFlags, FibResult, Register};
use nlink::netlink::nftables::{CmpOp, Expr, RawExpr};

/// `fib daddr type local` or `fib saddr type local`: the address is one of this machine's. Overwrites `scratch`.
pub fn is_local(scratch: Register, flags: FibFlags) -> [Expr; 2] {
    const RTN_LOCAL: u32 = 2;
    [
        Expr::Fib { dreg: scratch, result: FibResult::AddrType, flags },
        Expr::Cmp { sreg: scratch, op: CmpOp::Eq, data: RTN_LOCAL.to_ne_bytes().to_vec() },
    ]
}

/// `dnat to` the IPv4 address and port in these registers. Written by hand: the library's NAT expression takes constants only.
pub fn dnat(address: Register, port: Register) -> Expr {
    const NFTA_NAT_TYPE: u16 = 1;
    const NFTA_NAT_FAMILY: u16 = 2;
    const NFTA_NAT_REG_ADDR_MIN: u16 = 3;
    const NFTA_NAT_REG_PROTO_MIN: u16 = 5;
    const NFT_NAT_DNAT: u32 = 1;
    const NFPROTO_IPV4: u32 = 2;
    let attributes = [
        (NFTA_NAT_TYPE, NFT_NAT_DNAT),
        (NFTA_NAT_FAMILY, NFPROTO_IPV4),
        (NFTA_NAT_REG_ADDR_MIN, address as u32),
        (NFTA_NAT_REG_PROTO_MIN, port as u32),
    ];
    let mut data = Vec::new();
    for (attribute, v) in attributes {
        data.extend(8u16.to_ne_bytes());
        data.extend(attribute.to_ne_bytes());
        data.extend(v.to_be_bytes());
    }
    RawExpr::new("nat", data).into()
}
