//! Packets: which ones are questions, and how answers fit into what the client can take.

use hickory_proto::op::{Edns, Message, MessageType, Metadata, OpCode, Query, ResponseCode};
use hickory_proto::rr::{DNSClass, Record};

/// Largest UDP answer: what passes every link without fragments.
const MAX_UDP: u16 = 1232;
const HEADER: usize = 12;

/// A packet that asks one thing.
#[derive(Clone, Debug)]
pub struct Question {
    request: Metadata,
    edns: Option<Edns>,
    pub query: Query,
}

/// What is said about a name.
#[derive(Clone, Debug, Default)]
pub struct Reply {
    pub code: ResponseCode,
    pub authoritative: bool,
    pub answers: Vec<Record>,
    pub authorities: Vec<Record>,
    pub additionals: Vec<Record>,
}

impl Reply {
    pub fn code(code: ResponseCode) -> Self {
        Self { code, ..Self::default() }
    }
}

/// How a client reaches us, and so how long an answer may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    Udp,
    Tcp,
}

/// The question in a packet; or what to answer at once; or nothing, for what is no query at all.
pub fn read(packet: &[u8]) -> Result<Question, Option<Vec<u8>>> {
    let Some(&flags) = packet.get(2).filter(|_| packet.len() >= HEADER) else { return Err(None) };
    // An answer is never answered: two servers would talk forever.
    if flags & 0x80 != 0 {
        return Err(None);
    }
    if flags & 0x78 != 0 {
        return Err(Some(refusal(packet, ResponseCode::NotImp)));
    }
    let malformed = || Some(refusal(packet, ResponseCode::FormErr));
    if packet[4..6] != [0, 1] {
        return Err(malformed());
    }
    let message = Message::from_vec(packet).map_err(|_| malformed())?;
    let (request, edns) = (message.metadata, message.edns);
    let Some(mut query) = message.queries.into_iter().next() else { return Err(malformed()) };
    query.name.set_fqdn(true);
    let question = Question { request, edns, query };
    if question.edns.as_ref().is_some_and(|e| e.version() != 0) {
        return Err(question.encode(Reply::code(ResponseCode::BADVERS), Transport::Udp));
    }
    if question.query.query_class != DNSClass::IN {
        return Err(question.encode(Reply::code(ResponseCode::Refused), Transport::Udp));
    }
    Ok(question)
}

/// A bare header that repeats the query's number and kind.
fn refusal(packet: &[u8], code: ResponseCode) -> Vec<u8> {
    let mut header = vec![0; HEADER];
    header[..2].copy_from_slice(&packet[..2]);
    header[2] = 0x80 | packet[2] & 0x79;
    header[3] = code.low();
    header
}

impl Question {
    /// The answer's packet, truncated to what the client takes. None if it cannot be said at all.
    pub fn encode(&self, reply: Reply, transport: Transport) -> Option<Vec<u8>> {
        let mut message = Message::new(self.request.id, MessageType::Response, OpCode::Query);
        message.metadata = Metadata::response_from_request(&self.request);
        message.metadata.recursion_available = true;
        message.metadata.authoritative = reply.authoritative;
        message.metadata.response_code = reply.code;
        message.queries = vec![self.query.clone()];
        message.answers = reply.answers;
        message.authorities = reply.authorities;
        message.additionals = reply.additionals;
        let mut limit = usize::from(u16::MAX);
        if transport == Transport::Udp {
            let theirs = self.edns.as_ref().map_or(512, Edns::max_payload);
            limit = usize::from(theirs.clamp(512, MAX_UDP));
        }
        if let Some(theirs) = &self.edns {
            let mut edns = Edns::new();
            edns.set_max_payload(MAX_UDP).set_version(0).set_dnssec_ok(theirs.flags().dnssec_ok);
            message.edns = Some(edns);
        }
        fit(message, limit)
    }
}

/// The longest prefix of a message that fits. Additional records are a courtesy: leaving them out is no truncation.
fn fit(mut message: Message, limit: usize) -> Option<Vec<u8>> {
    let fits = |m: &Message| m.to_vec().ok().filter(|v| v.len() <= limit);
    if let Some(whole) = fits(&message) {
        return Some(whole);
    }
    message.additionals.clear();
    if let Some(whole) = fits(&message) {
        return Some(whole);
    }
    message.metadata.truncation = true;
    message.authorities.clear();
    let answers = std::mem::take(&mut message.answers);
    let mut best = fits(&message)?;
    let (mut least, mut most) = (0, answers.len());
    while least < most {
        let middle = least + (most - least).div_ceil(2);
        message.answers = answers[..middle].to_vec();
        match fits(&message) {
            Some(packet) => {
                best = packet;
                least = middle;
            }
            None => most = middle - 1,
        }
    }
    Some(best)
}
