//! Names outside of the cluster: asked of the node's resolvers, remembered for a short while.

use crate::wire::Reply;
use hickory_proto::op::{Edns, Message, OpCode, Query, ResponseCode};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::sync::Semaphore;
use tokio::time::timeout;

/// How long one resolver may take; clients try again after 5 seconds by custom.
const PATIENCE: Duration = Duration::from_secs(2);
/// Nothing is remembered for longer than this, as CoreDNS's `cache 30`.
const MAX_TTL: u32 = 30;
const MAX_REMEMBERED: usize = 4096;
const UDP_PAYLOAD: u16 = 1232;

type Key = (Name, RecordType);

struct Remembered {
    reply: Reply,
    since: Instant,
    ttl: u32,
}

pub struct Forwarder {
    upstreams: Vec<SocketAddr>,
    permits: Arc<Semaphore>,
    cache: Mutex<HashMap<Key, Remembered>>,
}

impl Forwarder {
    pub fn new(upstreams: Vec<SocketAddr>, max_forwards: usize) -> Self {
        Self { upstreams, permits: Arc::new(Semaphore::new(max_forwards)), cache: Mutex::default() }
    }

    /// An answer that needs no waiting: there is nobody to ask, or it is remembered.
    pub fn at_once(&self, query: &Query) -> Option<Reply> {
        if self.upstreams.is_empty() {
            return Some(Reply::code(ResponseCode::NXDomain));
        }
        let cache = self.cache.lock();
        let found = cache.get(&(query.name.to_lowercase(), query.query_type))?;
        let age = u32::try_from(found.since.elapsed().as_secs()).ok().filter(|age| *age < found.ttl)?;
        let mut reply = found.reply.clone();
        for r in reply.answers.iter_mut().chain(&mut reply.authorities).chain(&mut reply.additionals) {
            r.ttl = r.ttl.saturating_sub(age);
        }
        Some(reply)
    }

    /// Asks the resolvers in turn. SERVFAIL if none answers, or if too many questions wait already.
    pub async fn ask(&self, query: &Query) -> Reply {
        if let Some(known) = self.at_once(query) {
            return known;
        }
        let Ok(_permit) = self.permits.try_acquire() else { return Reply::code(ResponseCode::ServFail) };
        let mut last = Reply::code(ResponseCode::ServFail);
        for upstream in &self.upstreams {
            match timeout(PATIENCE, exchange(*upstream, query)).await {
                Ok(Ok(reply)) => {
                    if !matches!(reply.code, ResponseCode::ServFail | ResponseCode::Refused) {
                        self.remember(query, &reply);
                        return reply;
                    }
                    last = reply;
                }
                Ok(Err(error)) => tracing::debug!(%upstream, %error, "a resolver failed"),
                Err(_) => tracing::debug!(%upstream, "a resolver is silent"),
            }
        }
        last
    }

    fn remember(&self, query: &Query, reply: &Reply) {
        let positive = reply.answers.iter().map(|r| r.ttl).min();
        // What does not exist is remembered for as long as its zone says (RFC 2308).
        let negative = reply.authorities.iter().find_map(|r| match &r.data {
            RData::SOA(soa) => Some(r.ttl.min(soa.minimum)),
            _ => None,
        });
        let Some(ttl) = positive.or(negative).map(|t| t.min(MAX_TTL)).filter(|t| *t > 0) else { return };
        let mut cache = self.cache.lock();
        if cache.len() >= MAX_REMEMBERED {
            cache.retain(|_, r| r.since.elapsed().as_secs() < u64::from(r.ttl));
            if cache.len() >= MAX_REMEMBERED {
                cache.clear();
            }
        }
        let key = (query.name.to_lowercase(), query.query_type);
        cache.insert(key, Remembered { reply: reply.clone(), since: Instant::now(), ttl });
    }
}

fn invalid(what: &'static str) -> impl Fn(&dyn std::fmt::Display) -> io::Error {
    move |e| io::Error::new(io::ErrorKind::InvalidData, format!("{what}: {e}"))
}

/// One question over UDP, and over TCP if the answer does not fit. Each has a socket, and so a source port, of its own.
async fn exchange(upstream: SocketAddr, query: &Query) -> io::Result<Reply> {
    let mut request = Message::query();
    request.metadata.id = rand::random();
    request.metadata.op_code = OpCode::Query;
    request.metadata.recursion_desired = true;
    request.add_query(query.clone());
    let mut edns = Edns::new();
    edns.set_max_payload(UDP_PAYLOAD);
    request.set_edns(edns);
    let packet = request.to_vec().map_err(|e| invalid("encode the question")(&e))?;
    let any: SocketAddr = if upstream.is_ipv4() { ([0; 4], 0).into() } else { ([0u16; 8], 0).into() };
    let socket = UdpSocket::bind(any).await?;
    socket.connect(upstream).await?;
    socket.send(&packet).await?;
    let mut buffer = vec![0; 4096];
    loop {
        let n = socket.recv(&mut buffer).await?;
        // Anything that is not the answer may be forged: wait on for the real one.
        let Ok(answer) = Message::from_vec(&buffer[..n]) else { continue };
        if !answers(&answer, &request) {
            continue;
        }
        if !answer.metadata.truncation {
            return Ok(reply(answer, query));
        }
        let answer = exchange_tcp(upstream, &packet).await?;
        return if answers(&answer, &request) {
            Ok(reply(answer, query))
        } else {
            Err(invalid("TCP")(&"another question's answer"))
        };
    }
}

async fn exchange_tcp(upstream: SocketAddr, packet: &[u8]) -> io::Result<Message> {
    let mut stream = TcpStream::connect(upstream).await?;
    let len = u16::try_from(packet.len()).map_err(|e| invalid("question")(&e))?;
    stream.write_all(&[&len.to_be_bytes(), packet].concat()).await?;
    let mut answer = vec![0; usize::from(stream.read_u16().await?)];
    stream.read_exact(&mut answer).await?;
    Message::from_vec(&answer).map_err(|e| invalid("answer")(&e))
}

fn answers(answer: &Message, request: &Message) -> bool {
    answer.metadata.id == request.metadata.id
        && answer.metadata.message_type == hickory_proto::op::MessageType::Response
        && answer.queries == request.queries
}

/// The resolver's answer under the question's spelling of the name.
fn reply(answer: Message, query: &Query) -> Reply {
    let respell = |mut r: Record| {
        if r.name == query.name {
            r.name = query.name.clone();
        }
        r
    };
    Reply {
        code: answer.metadata.response_code,
        authoritative: false,
        answers: answer.answers.into_iter().map(respell).collect(),
        authorities: answer.authorities,
        additionals: answer.additionals,
    }
}
