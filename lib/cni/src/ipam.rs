//! Addresses of pods: the next free one after the last one given, so that an address rests as long as possible before it is
//! used again.

use crate::{Error, Result};
use ipnet::Ipv4Net;
use std::collections::HashSet;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::net::Ipv4Addr;
use std::path::Path;

/// Holds the allocation lock of a node; the file's content is the last address given.
pub struct Allocator {
    file: File,
}

impl Allocator {
    /// Waits for the lock.
    pub fn lock(dir: &Path) -> Result<Self> {
        let io = |action: &str| {
            let action = format!("{action} {}", dir.join("cni-ipam").display());
            move |source: std::io::Error| Error::Io { action, source }
        };
        std::fs::create_dir_all(dir).map_err(io("make directory of"))?;
        let path = dir.join("cni-ipam");
        let file = File::options().read(true).write(true).create(true).truncate(false).open(path).map_err(io("open"))?;
        rustix::fs::flock(&file, rustix::fs::FlockOperation::LockExclusive).map_err(|e| io("lock")(e.into()))?;
        Ok(Self { file })
    }

    /// An address of `subnet` that is not in `taken`. The caller takes it (adds the route) before the lock is released.
    pub fn next(&mut self, subnet: Ipv4Net, taken: &HashSet<Ipv4Addr>) -> Result<Ipv4Addr> {
        let io = |action: &str| {
            let action = format!("{action} the last address given");
            move |source: std::io::Error| Error::Io { action, source }
        };
        let mut last = String::new();
        self.file.read_to_string(&mut last).map_err(io("read"))?;
        let ip = pick(subnet, taken, last.trim().parse().ok()).ok_or(Error::Exhausted(subnet))?;
        self.file.seek(SeekFrom::Start(0)).map_err(io("write"))?;
        self.file.set_len(0).map_err(io("write"))?;
        self.file.write_all(ip.to_string().as_bytes()).map_err(io("write"))?;
        Ok(ip)
    }
}

/// The first free address after `last`, around the range. The first address (a gateway by custom) and the network's and
/// broadcast addresses are never given.
fn pick(subnet: Ipv4Net, taken: &HashSet<Ipv4Addr>, last: Option<Ipv4Addr>) -> Option<Ipv4Addr> {
    let (first, end) = (u32::from(subnet.network()).checked_add(2)?, u32::from(subnet.broadcast()));
    let size = end.checked_sub(first).filter(|n| *n > 0)?;
    let begin = last.map(u32::from).filter(|l| (first..end).contains(l)).map_or(0, |l| l - first + 1);
    (0..size).map(|i| Ipv4Addr::from(first + (begin + i) % size)).find(|ip| !taken.contains(ip))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        let net = |s: &str| s.parse::<Ipv4Net>().expect("a network");
        let ip = |s: &str| s.parse::<Ipv4Addr>().expect("an address");
        for (name, subnet, taken, last, want) in [
            ("first", "10.1.0.0/29", &[][..], None, Some("10.1.0.2")),
            ("after the last", "10.1.0.0/29", &["10.1.0.2"][..], Some("10.1.0.2"), Some("10.1.0.3")),
            ("a freed one rests", "10.1.0.0/29", &[][..], Some("10.1.0.3"), Some("10.1.0.4")),
            ("around", "10.1.0.0/29", &["10.1.0.6"][..], Some("10.1.0.5"), Some("10.1.0.2")),
            ("full", "10.1.0.0/30", &["10.1.0.2"][..], None, None),
            ("too small", "10.1.0.0/31", &[][..], None, None),
            ("cursor of another range", "10.1.0.0/29", &[][..], Some("10.9.0.3"), Some("10.1.0.2")),
        ] {
            let taken = taken.iter().map(|s| ip(s)).collect();
            assert_eq!(pick(net(subnet), &taken, last.map(ip)), want.map(ip), "{name}");
        }
    }
}
