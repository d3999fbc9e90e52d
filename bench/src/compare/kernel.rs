//! What the kernel tells of its packet filter's tables: a netlink socket in another network namespace, read by a thread that notes
//! when the messages of a transaction arrive. Nothing is parsed but the addresses that are looked for.

use nix::sched::{CloneFlags, setns};
use nix::sys::socket::{self, AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, sockopt};
use nix::sys::time::TimeVal;
use std::fs::File;
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// `NFNLGRP_NFTABLES` as a bit.
const GROUP: u32 = 1 << 6;
/// What 10,000 Services at once may make the kernel tell.
const BUFFER: usize = 512 << 20;
/// Addresses that are looked for begin with these bytes; no others in these tables do.
const PREFIX: [u8; 2] = [10, 102];

/// A listener. Dropping it ends its thread.
pub struct Listener {
    seen: UnboundedReceiver<Result<(Ipv4Addr, Instant), String>>,
    stop: Arc<AtomicBool>,
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn open(namespace: &str) -> Result<OwnedFd, String> {
    let file = File::open(namespace).map_err(|e| format!("{namespace}: {e}"))?;
    setns(file, CloneFlags::CLONE_NEWNET).map_err(|e| format!("enter {namespace}: {e}"))?;
    let failed = |e: nix::Error| format!("listen to netlink: {e}");
    let protocol = SockProtocol::NetlinkNetFilter;
    let fd = socket::socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, protocol).map_err(failed)?;
    socket::setsockopt(&fd, sockopt::RcvBufForce, &BUFFER).map_err(failed)?;
    // So that the thread notices that nobody listens any more.
    socket::setsockopt(&fd, sockopt::ReceiveTimeout, &TimeVal::new(0, 200_000)).map_err(failed)?;
    socket::bind(fd.as_raw_fd(), &NetlinkAddr::new(0, GROUP)).map_err(failed)?;
    Ok(fd)
}

/// The addresses with our prefix in one message.
fn addresses(message: &[u8]) -> impl Iterator<Item = Ipv4Addr> {
    message.windows(4).filter(|w| w.starts_with(&PREFIX)).map(|w| Ipv4Addr::new(w[0], w[1], w[2], w[3]))
}

fn follow(fd: &OwnedFd, stop: &AtomicBool, tell: &UnboundedSender<Result<(Ipv4Addr, Instant), String>>) {
    let mut buffer = vec![0; 1 << 20];
    while !stop.load(Ordering::Relaxed) {
        let told = match socket::recv(fd.as_raw_fd(), &mut buffer, MsgFlags::empty()) {
            Ok(len) => {
                let at = Instant::now();
                addresses(&buffer[..len]).try_for_each(|a| tell.send(Ok((a, at))))
            }
            Err(nix::Error::EAGAIN | nix::Error::EINTR) => Ok(()),
            Err(e) => tell.send(Err(format!("the kernel's messages were lost: {e}"))),
        };
        if told.is_err() {
            return;
        }
    }
}

impl Listener {
    /// Listens in the network namespace that this file stands for.
    pub fn open(namespace: &str) -> Result<Self, String> {
        let (tell, seen) = unbounded_channel();
        let stop = Arc::new(AtomicBool::new(false));
        let (namespace, stopped) = (namespace.to_owned(), stop.clone());
        let (ready, opened) = std::sync::mpsc::channel();
        // A thread of its own, as it stays in the namespace.
        std::thread::spawn(move || match open(&namespace) {
            Ok(fd) => {
                let _ = ready.send(Ok(()));
                follow(&fd, &stopped, &tell);
            }
            Err(e) => drop(ready.send(Err(e))),
        });
        opened.recv().map_err(|e| e.to_string())??;
        Ok(Self { seen, stop })
    }

    /// An address to look for.
    pub fn address(third: u8, last: u8) -> Ipv4Addr {
        Ipv4Addr::new(PREFIX[0], PREFIX[1], third, last)
    }

    /// When the kernel told of this address.
    pub async fn seen(&mut self, address: Ipv4Addr) -> Result<Instant, String> {
        loop {
            match self.seen.recv().await {
                Some(Ok((a, at))) if a == address => return Ok(at),
                Some(Ok(_)) => {}
                Some(Err(e)) => return Err(e),
                None => return Err("the kernel's listener ended".into()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_found_at_any_place() {
        for (name, message, want) in [
            ("none", &[1, 2, 3][..], vec![]),
            ("one among others", &[0, 10, 102, 3, 4, 10, 100, 0, 1][..], vec![Ipv4Addr::new(10, 102, 3, 4)]),
            ("cut off", &[7, 7, 7, 10, 102, 1][..], vec![]),
        ] {
            assert_eq!(addresses(message).collect::<Vec<_>>(), want, "{name}");
        }
    }
}
