//! Addresses and networks.

use std::net::IpAddr;

use machinery::quote::Quoted;

use super::strings::one;
use super::{Answer, Extension, Row};
use crate::error::EvalError;
use crate::value::Val;

pub(super) const FUNCTIONS: &[Row] = &[
    ("ip", ip, &["(string) net.IP", "net.CIDR.() net.IP"]),
    ("isIP", |a| Ok(Val::Bool(parse_ip(one(a)?).is_ok())), &["(string) bool"]),
    ("ip.isCanonical", |a| Ok(Val::Bool(parse_ip(one(a)?)?.to_string() == one(a)?)), &["(string) bool"]),
    ("family", |a| Ok(Val::Int(if address(a)?.is_ipv4() { 4 } else { 6 })), &["net.IP.() int"]),
    ("isUnspecified", |a| Ok(Val::Bool(address(a)?.is_unspecified())), &["net.IP.() bool"]),
    ("isLoopback", |a| Ok(Val::Bool(address(a)?.is_loopback())), &["net.IP.() bool"]),
    ("isLinkLocalMulticast", |a| Ok(Val::Bool(link_local_multicast(address(a)?))), &["net.IP.() bool"]),
    ("isLinkLocalUnicast", |a| Ok(Val::Bool(link_local(address(a)?))), &["net.IP.() bool"]),
    ("isGlobalUnicast", |a| Ok(Val::Bool(global_unicast(address(a)?))), &["net.IP.() bool"]),
    ("cidr", cidr, &["(string) net.CIDR"]),
    ("isCIDR", |a| Ok(Val::Bool(parse_cidr(one(a)?).is_ok())), &["(string) bool"]),
    ("containsIP", contains_ip, &["net.CIDR.(string) bool", "net.CIDR.(net.IP) bool"]),
    ("containsCIDR", contains_cidr, &["net.CIDR.(string) bool", "net.CIDR.(net.CIDR) bool"]),
    ("prefixLength", |a| Ok(Val::Int(network(&a[0])?.1.into())), &["net.CIDR.() int"]),
    ("masked", masked, &["net.CIDR.() net.CIDR"]),
];

fn address(args: &[Val]) -> Result<IpAddr, EvalError> {
    match &args[0] {
        Val::Extension(Extension::Ip(ip)) => Ok(*ip),
        _ => Err(EvalError::no_such_overload()),
    }
}

fn network(v: &Val) -> Result<(IpAddr, u8), EvalError> {
    match v {
        Val::Extension(Extension::Cidr(ip, bits)) => Ok((*ip, *bits)),
        _ => Err(EvalError::no_such_overload()),
    }
}

/// What Go's netip says of text that is no address.
fn why_not(s: &str) -> String {
    format!("ParseAddr({}): unable to parse IP", Quoted(s))
}

fn parse_ip(s: &str) -> Result<IpAddr, EvalError> {
    if s.contains('%') && s.split('%').next().is_some_and(|a| a.parse::<std::net::Ipv6Addr>().is_ok()) {
        return Err(EvalError::new(format!("IP address {} with zone value is not allowed", Quoted(s))));
    }
    match s.parse::<IpAddr>() {
        Ok(IpAddr::V6(v6)) if v6.to_ipv4_mapped().is_some() => {
            Err(EvalError::new(format!("IPv4-mapped IPv6 address {} is not allowed", Quoted(s))))
        }
        Ok(ip) => Ok(ip),
        Err(_) => {
            Err(EvalError::new(format!("IP Address {} parse error during conversion from string: {}", Quoted(s), why_not(s))))
        }
    }
}

fn parse_cidr(s: &str) -> Result<(IpAddr, u8), EvalError> {
    let bad = |why: String| {
        EvalError::new(format!(
            "network address parse error during conversion from string: netip.ParsePrefix({}): {why}",
            Quoted(s)
        ))
    };
    let (ip, bits) = s.rsplit_once('/').ok_or_else(|| bad("no '/'".into()))?;
    let ip: IpAddr = ip.parse().map_err(|_| bad(why_not(ip)))?;
    let shown = Quoted(bits).to_string();
    if bits.is_empty() || !bits.bytes().all(|b| b.is_ascii_digit()) || (bits.len() > 1 && bits.starts_with('0')) {
        return Err(bad(format!("bad bits after slash: {shown}")));
    }
    let max = if ip.is_ipv4() { 32 } else { 128 };
    let bits = bits.parse::<u8>().ok().filter(|b| *b <= max).ok_or_else(|| bad("prefix length out of range".into()))?;
    match ip {
        IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some() => {
            Err(EvalError::new(format!("IPv4-mapped IPv6 address {} is not allowed", Quoted(s))))
        }
        ip => Ok((ip, bits)),
    }
}

fn ip<'a>(args: &[Val<'a>]) -> Answer<'a> {
    let ip = match &args[0] {
        Val::String(s) => parse_ip(s)?,
        v => network(v)?.0,
    };
    Ok(Val::Extension(Extension::Ip(ip)))
}

fn cidr<'a>(args: &[Val<'a>]) -> Answer<'a> {
    let wrap = |e: EvalError| EvalError::new(format!("network address parse error during conversion from string: {e}"));
    let (ip, bits) = parse_cidr(one(args)?).map_err(wrap)?;
    Ok(Val::Extension(Extension::Cidr(ip, bits)))
}

fn link_local_multicast(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(v4) => v4.octets()[..3] == [224, 0, 0],
        IpAddr::V6(v6) => v6.octets()[0] == 0xff && v6.octets()[1] & 0x0f == 2,
    }
}

fn link_local(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    }
}

fn global_unicast(ip: IpAddr) -> bool {
    let broadcast = matches!(ip, IpAddr::V4(v4) if v4.is_broadcast());
    !broadcast && !ip.is_unspecified() && !ip.is_loopback() && !ip.is_multicast() && !link_local(ip)
}

/// The bits of the address under the mask, and the width of its family.
fn mask(ip: IpAddr, bits: u8) -> (u128, u8) {
    let (value, width) = match ip {
        IpAddr::V4(v4) => (u128::from(u32::from(v4)), 32),
        IpAddr::V6(v6) => (u128::from(v6), 128),
    };
    let host = u32::from(width - bits.min(width));
    (value.checked_shr(host).unwrap_or(0), width)
}

fn contains_ip<'a>(args: &[Val<'a>]) -> Answer<'a> {
    let (net, bits) = network(&args[0])?;
    let ip = match &args[1] {
        Val::String(s) => parse_ip(s)?,
        v => address(std::slice::from_ref(v))?,
    };
    Ok(Val::Bool(mask(net, bits) == mask(ip, bits)))
}

fn contains_cidr<'a>(args: &[Val<'a>]) -> Answer<'a> {
    let (net, bits) = network(&args[0])?;
    let (other, other_bits) = match &args[1] {
        Val::String(s) => match cidr(&[Val::string(&**s)])? {
            Val::Extension(Extension::Cidr(ip, bits)) => (ip, bits),
            _ => return Err(EvalError::no_such_overload()),
        },
        v => network(v)?,
    };
    Ok(Val::Bool(bits <= other_bits && mask(net, bits) == mask(other, bits)))
}

fn masked<'a>(args: &[Val<'a>]) -> Answer<'a> {
    let (ip, bits) = network(&args[0])?;
    let (high, width) = mask(ip, bits);
    let value = high.checked_shl(u32::from(width - bits)).unwrap_or(0);
    let ip = match ip {
        IpAddr::V4(_) => IpAddr::V4((value as u32).into()),
        IpAddr::V6(_) => IpAddr::V6(value.into()),
    };
    Ok(Val::Extension(Extension::Cidr(ip, bits)))
}
