//! The loops: a packet in, a packet out. What the index or the cache knows is answered at once, in the loop; only questions that
//! must be asked elsewhere get a task.

use crate::answer::{Outcome, Zone};
use crate::forward::Forwarder;
use crate::socket;
use crate::wire::{self, Question, Reply, Transport};
use hickory_proto::op::{Query, ResponseCode};
use hickory_proto::rr::{Record, RecordType};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};

/// Aliases followed before we give up: a loop of ExternalNames ends here.
const MAX_ALIASES: usize = 8;
const MAX_CONNECTIONS: usize = 256;
/// How long a connection may say nothing.
const IDLE: Duration = Duration::from_secs(10);
const FIRST_RETRY: Duration = Duration::from_millis(100);
const LAST_RETRY: Duration = Duration::from_secs(10);

pub struct Resolver {
    pub zone: Zone,
    pub forwarder: Forwarder,
}

/// A question on its way, with the aliases met so far.
struct Chase {
    aliases: Vec<Record>,
    query: Query,
}

impl Resolver {
    /// Follows aliases as far as no waiting is needed.
    fn step(&self, mut chase: Chase) -> Result<Reply, Chase> {
        loop {
            match self.zone.answer(&chase.query) {
                Outcome::Reply(reply) => return Ok(chase.end(reply)),
                Outcome::Elsewhere => {
                    return match self.forwarder.at_once(&chase.query) {
                        Some(reply) => Ok(chase.end(reply)),
                        None => Err(chase),
                    };
                }
                Outcome::Alias { record, target } => {
                    if chase.aliases.len() == MAX_ALIASES {
                        return Ok(Reply::code(ResponseCode::ServFail));
                    }
                    chase.aliases.push(record);
                    chase.query.name = target;
                }
            }
        }
    }

    fn at_once(&self, query: &Query) -> Result<Reply, Chase> {
        // Transfers and metadata are not for forwarding.
        if matches!(query.query_type, RecordType::AXFR | RecordType::IXFR | RecordType::OPT | RecordType::ZERO) {
            return Ok(Reply::code(ResponseCode::Refused));
        }
        self.step(Chase { aliases: Vec::new(), query: query.clone() })
    }

    async fn wait(&self, chase: Chase) -> Reply {
        let reply = self.forwarder.ask(&chase.query).await;
        chase.end(reply)
    }

    async fn resolve(&self, query: &Query) -> Reply {
        match self.at_once(query) {
            Ok(reply) => reply,
            Err(chase) => self.wait(chase).await,
        }
    }
}

impl Chase {
    /// The aliases are true whatever became of their target.
    fn end(self, mut reply: Reply) -> Reply {
        if !self.aliases.is_empty() {
            reply.code = ResponseCode::NoError;
            reply.authoritative = true;
            reply.answers.splice(0..0, self.aliases);
        }
        reply
    }
}

async fn bound<T>(address: SocketAddr, kind: &str, bind: fn(SocketAddr) -> io::Result<T>) -> T {
    let mut delay = FIRST_RETRY;
    loop {
        match bind(address) {
            Ok(socket) => {
                tracing::info!(%address, kind, "cluster DNS listens");
                return socket;
            }
            Err(error) => tracing::warn!(%address, kind, %error, "cluster DNS cannot listen"),
        }
        sleep(delay).await;
        delay = (delay * 2).min(LAST_RETRY);
    }
}

/// Answers datagrams forever.
pub async fn udp(address: SocketAddr, resolver: Arc<Resolver>) {
    let socket = Arc::new(bound(address, "UDP", socket::udp).await);
    let mut buffer = vec![0; 4096];
    loop {
        let (n, peer) = match socket.recv_from(&mut buffer).await {
            Ok(received) => received,
            Err(error) => {
                // Errors of earlier answers (a client is gone) come this way too; the pause keeps a lasting one from spinning.
                tracing::debug!(%error, "receive");
                sleep(Duration::from_millis(10)).await;
                continue;
            }
        };
        let question = match wire::read(&buffer[..n]) {
            Ok(question) => question,
            Err(Some(refusal)) => {
                send(&socket, &refusal, peer).await;
                continue;
            }
            Err(None) => continue,
        };
        match resolver.at_once(&question.query) {
            Ok(reply) => answer(&socket, &question, reply, peer).await,
            Err(chase) => {
                let (socket, resolver) = (socket.clone(), resolver.clone());
                tokio::spawn(async move {
                    let reply = resolver.wait(chase).await;
                    answer(&socket, &question, reply, peer).await;
                });
            }
        }
    }
}

async fn answer(socket: &tokio::net::UdpSocket, question: &Question, reply: Reply, peer: SocketAddr) {
    if let Some(packet) = question.encode(reply, Transport::Udp) {
        send(socket, &packet, peer).await;
    }
}

async fn send(socket: &tokio::net::UdpSocket, packet: &[u8], peer: SocketAddr) {
    if let Err(error) = socket.send_to(packet, peer).await {
        tracing::debug!(%peer, %error, "send");
    }
}

/// Answers connections forever.
pub async fn tcp(address: SocketAddr, resolver: Arc<Resolver>) {
    let listener = bound(address, "TCP", socket::tcp).await;
    let permits = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    // Connections end with the server.
    let mut connections = tokio::task::JoinSet::new();
    loop {
        let Ok(permit) = permits.clone().acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                let resolver = resolver.clone();
                connections.spawn(async move {
                    if let Err(error) = converse(stream, &resolver).await {
                        tracing::debug!(%error, "a connection ended early");
                    }
                    drop(permit);
                });
            }
            Err(error) => {
                tracing::debug!(%error, "accept");
                sleep(Duration::from_millis(10)).await;
            }
        }
        while connections.try_join_next().is_some() {}
    }
}

async fn converse(mut stream: TcpStream, resolver: &Resolver) -> io::Result<()> {
    let mut packet = Vec::new();
    loop {
        let read = async {
            let len = match stream.read_u16().await {
                Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Ok(false),
                len => len?,
            };
            packet.resize(usize::from(len), 0);
            stream.read_exact(&mut packet).await.map(|_| true)
        };
        let Ok(more) = timeout(IDLE, read).await else { return Ok(()) };
        if !more? {
            return Ok(());
        }
        let answer = match wire::read(&packet) {
            Ok(question) => question.encode(resolver.resolve(&question.query).await, Transport::Tcp),
            Err(refusal) => refusal,
        };
        let Some(answer) = answer else { return Ok(()) };
        let len = u16::try_from(answer.len()).map_err(io::Error::other)?;
        timeout(IDLE, stream.write_all(&[&len.to_be_bytes(), answer.as_slice()].concat())).await??;
    }
}
