//! Listening sockets that may be bound before their address exists (IP_FREEBIND): the service address appears on the node when
//! kube-proxy makes its link, which may be later than this server.

use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, listen, socket_with, sockopt};
use std::io;
use std::net::SocketAddr;
use tokio::net::{TcpListener, UdpSocket};

fn open(address: SocketAddr, kind: SocketType) -> io::Result<rustix::fd::OwnedFd> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let fd = socket_with(family, kind, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, None)?;
    if address.is_ipv4() {
        sockopt::set_ip_freebind(&fd, true)?;
    } else {
        sockopt::set_ipv6_v6only(&fd, true)?;
        sockopt::set_ipv6_freebind(&fd, true)?;
    }
    if kind == SocketType::STREAM {
        sockopt::set_socket_reuseaddr(&fd, true)?;
    }
    bind(&fd, &address)?;
    Ok(fd)
}

pub fn udp(address: SocketAddr) -> io::Result<UdpSocket> {
    UdpSocket::from_std(open(address, SocketType::DGRAM)?.into())
}

pub fn tcp(address: SocketAddr) -> io::Result<TcpListener> {
    let fd = open(address, SocketType::STREAM)?;
    listen(&fd, 1024)?;
    TcpListener::from_std(fd.into())
}
