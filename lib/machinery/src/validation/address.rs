//! IP addresses and CIDRs: the lenient forms that old API fields take, the strict ones of new fields, and the warnings between.

use crate::field::{Error, ErrorList, Path};
use crate::quote::Quoted;
use ipnet::IpNet;
use std::net::{IpAddr, Ipv4Addr};

/// Parses an address as Go before 1.17 did: leading zeros in IPv4 octets are decimal. IPv4-mapped IPv6 becomes IPv4.
pub fn parse_ip_sloppy(s: &str) -> Option<IpAddr> {
    let ip = match s.parse::<IpAddr>() {
        Ok(ip) => ip,
        Err(_) => match s.rfind(':') {
            None => strip_zeros(s)?.into(),
            Some(i) if s[i + 1..].contains('.') => format!("{}{}", &s[..=i], strip_zeros(&s[i + 1..])?).parse().ok()?,
            Some(_) => return None,
        },
    };
    Some(ip.to_canonical())
}

fn strip_zeros(s: &str) -> Option<Ipv4Addr> {
    let mut out = [0u8; 4];
    let mut parts = s.split('.');
    for o in &mut out {
        let p = parts.next()?;
        if p.is_empty() || p.len() > 64 || !p.bytes().all(|c| c.is_ascii_digit()) {
            return None;
        }
        let digits = p.trim_start_matches('0');
        *o = if digits.is_empty() { 0 } else { digits.parse().ok()? };
    }
    parts.next().is_none().then(|| out.into())
}

/// Parses `address/length` leniently; the address as given and its network.
pub fn parse_cidr_sloppy(s: &str) -> Option<(IpAddr, IpNet)> {
    let (addr, len) = s.split_once('/')?;
    if len.is_empty() || len.len() > 64 || !len.bytes().all(|c| c.is_ascii_digit()) {
        return None;
    }
    let len: u8 = match len.trim_start_matches('0') {
        "" => 0,
        digits => digits.parse().ok()?,
    };
    let ip = parse_ip_sloppy(addr)?;
    // An IPv4-mapped address keeps the IPv6 length upstream.
    let len = if addr.contains(':') && ip.is_ipv4() { len.checked_sub(96)? } else { len };
    let net = IpNet::new(ip, len).ok()?;
    Some((ip, net.trunc()))
}

fn is_mapped(s: &str) -> bool {
    matches!(s.parse::<IpAddr>(), Ok(IpAddr::V6(v6)) if v6.to_ipv4_mapped().is_some())
}

fn checked_ip(path: &Path, s: &str, strict: bool) -> Result<IpAddr, ErrorList> {
    let Some(ip) = parse_ip_sloppy(s) else {
        return Err(vec![Error::invalid(path, s, "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)")]);
    };
    let mut errs = ErrorList::new();
    if strict {
        if s.parse::<IpAddr>().is_err() {
            errs.push(Error::invalid(path, s, "must not have leading 0s"));
        }
        if is_mapped(s) {
            errs.push(Error::invalid(path, s, "must not be an IPv4-mapped IPv6 address"));
        }
    }
    if errs.is_empty() { Ok(ip) } else { Err(errs) }
}

/// An address in an old field. Values in `old` stay valid whatever they are.
pub fn ip_legacy(path: &Path, s: &str, strict: bool, old: &[&str]) -> ErrorList {
    if old.contains(&s) {
        return Vec::new();
    }
    checked_ip(path, s, strict).err().unwrap_or_default()
}

/// An address in canonical form.
pub fn ip(path: &Path, s: &str) -> ErrorList {
    match checked_ip(path, s, true) {
        Err(errs) => errs,
        Ok(ip) if ip.to_string() == s => Vec::new(),
        Ok(ip) => vec![Error::invalid(path, s, format!("must be in canonical form (\"{ip}\")"))],
    }
}

fn checked_cidr(path: &Path, s: &str, strict: bool) -> Result<IpNet, ErrorList> {
    let Some((_, net)) = parse_cidr_sloppy(s) else {
        return Err(vec![Error::invalid(path, s, "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)")]);
    };
    if strict {
        let (addr, len) = s.split_once('/').unwrap_or((s, ""));
        let detail = match addr.parse::<IpAddr>() {
            Err(_) => Some("must not have leading 0s in IP or prefix length"),
            Ok(_) if len.len() > 1 && len.starts_with('0') => Some("must not have leading 0s in IP or prefix length"),
            Ok(_) if is_mapped(addr) => Some("must not have an IPv4-mapped IPv6 address"),
            Ok(ip) if ip != net.addr() => Some("must not have bits set beyond the prefix length"),
            Ok(_) => None,
        };
        if let Some(detail) = detail {
            return Err(vec![Error::invalid(path, s, detail)]);
        }
    }
    Ok(net)
}

/// A CIDR in an old field. Values in `old` stay valid whatever they are.
pub fn cidr_legacy(path: &Path, s: &str, strict: bool, old: &[&str]) -> ErrorList {
    if old.contains(&s) {
        return Vec::new();
    }
    checked_cidr(path, s, strict).err().unwrap_or_default()
}

/// A CIDR in canonical form.
pub fn cidr(path: &Path, s: &str) -> ErrorList {
    match checked_cidr(path, s, true) {
        Err(errs) => errs,
        Ok(net) if net.to_string() == s => Vec::new(),
        Ok(net) => vec![Error::invalid(path, s, format!("must be in canonical form (\"{net}\")"))],
    }
}

/// An address with its network's length, in canonical form.
pub fn interface_address(path: &Path, s: &str) -> ErrorList {
    let Some((ip, net)) = parse_cidr_sloppy(s) else {
        let detail = "must be a valid address in CIDR form, (e.g. 10.9.8.7/24 or 2001:db8::1/64)";
        return vec![Error::invalid(path, s, detail)];
    };
    let canonical = format!("{ip}/{}", net.prefix_len());
    if s == canonical {
        return Vec::new();
    }
    vec![Error::invalid(path, s, format!("must be in canonical form (\"{canonical}\")"))]
}

/// Warnings for an address that passes only the lenient check, or is not canonical.
pub fn warnings_for_ip(path: &Path, s: &str) -> Vec<String> {
    let Some(ip) = parse_ip_sloppy(s) else { return Vec::new() };
    match s.parse::<IpAddr>() {
        Ok(_) if !is_mapped(s) => {}
        _ => return vec![format!("{path}: non-standard IP address {} is invalid: use \"{ip}\"", Quoted(s))],
    }
    if ip.is_ipv6() && ip.to_string() != s {
        return vec![format!("{path}: IPv6 address {} should be in RFC 5952 canonical format (\"{ip}\")", Quoted(s))];
    }
    Vec::new()
}

/// The same for a CIDR.
pub fn warnings_for_cidr(path: &Path, s: &str) -> Vec<String> {
    let Some((ip, net)) = parse_cidr_sloppy(s) else { return Vec::new() };
    let q = Quoted(s);
    let mut out = Vec::new();
    if ip != net.addr() {
        let single = format!("{ip}/{}", net.max_prefix_len());
        out.push(format!("{path}: CIDR value {q} is ambiguous in this context (should be \"{net}\" or \"{single}\"?)"));
    }
    let (addr, len) = s.split_once('/').unwrap_or((s, ""));
    let standard = addr.parse::<IpAddr>().is_ok() && !(len.len() > 1 && len.starts_with('0')) && !is_mapped(addr);
    if !standard {
        out.push(format!("{path}: non-standard CIDR value {q} is invalid: use \"{net}\""));
    } else if out.is_empty() && ip.is_ipv6() && net.to_string() != s {
        out.push(format!("{path}: IPv6 CIDR value {q} should be in RFC 5952 canonical format (\"{net}\")"));
    }
    out
}
