//! A streamed answer over a WebSocket: watches (a message per event) and logs (a message per piece), for clients that ask for an
//! upgrade instead of a plain stream. Upstream: apiserver/pkg/endpoints/handlers/watch.go, util/wsstream.

use super::body::{self, Body};
use base64::Engine as _;
use bytes::Bytes;
use futures::{Sink, SinkExt as _, Stream, StreamExt as _};
use http::header::{CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, UPGRADE};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use http_body_util::BodyExt as _;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use machinery::Status;
use std::time::Duration;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};

/// The longest message that is read, as upstream's.
const MAX_MESSAGE: usize = 32 << 20;
/// How long a client may take over the end of a stream, as upstream's for its last message.
const GOODBYE: Duration = Duration::from_secs(10);

/// The request asks for a WebSocket.
pub fn wanted(headers: &HeaderMap) -> bool {
    headers.get(UPGRADE).and_then(|v| v.to_str().ok()).is_some_and(|v| v.eq_ignore_ascii_case("websocket"))
}

/// The subprotocols that the client can speak, best first.
pub fn offered(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    headers.get_all(SEC_WEBSOCKET_PROTOCOL).iter().filter_map(|v| v.to_str().ok()).flat_map(|v| v.split(',')).map(str::trim)
}

/// The answer to a request for a WebSocket.
pub fn accepted(headers: &HeaderMap, protocol: Option<&str>) -> Result<Response<Body>, Status> {
    let key = headers.get(SEC_WEBSOCKET_KEY).ok_or_else(|| Status::bad_request("Sec-WebSocket-Key is missing"))?;
    let mut r = Response::new(body::empty());
    *r.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let h = r.headers_mut();
    h.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    h.insert(UPGRADE, HeaderValue::from_static("websocket"));
    if let Ok(v) = HeaderValue::from_str(&derive_accept_key(key.as_bytes())) {
        h.insert(SEC_WEBSOCKET_ACCEPT, v);
    }
    if let Some(v) = protocol.and_then(|p| HeaderValue::from_str(p).ok()) {
        h.insert(SEC_WEBSOCKET_PROTOCOL, v);
    }
    Ok(r)
}

/// The server's end of an upgraded connection.
pub async fn server(upgraded: Upgraded) -> WebSocketStream<TokioIo<Upgraded>> {
    let limits = WebSocketConfig::default().max_message_size(Some(MAX_MESSAGE)).max_frame_size(Some(MAX_MESSAGE));
    WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, Some(limits)).await
}

/// Says the last message, if any, and closes in order: a connection that goes with something unread takes along what the client has
/// not read. A client that does not listen is not waited for.
pub async fn finish<K, C, E>(mut sink: K, mut source: C, last: Option<Message>)
where
    K: Sink<Message> + Unpin,
    C: Stream<Item = Result<Message, E>> + Unpin,
{
    let bye = Message::Close(Some(CloseFrame { code: CloseCode::Normal, reason: "".into() }));
    let parting = async {
        for m in last.into_iter().chain([bye]) {
            if sink.send(m).await.is_err() {
                return;
            }
        }
        while let Some(Ok(_)) = source.next().await {}
    };
    let _ = tokio::time::timeout(GOODBYE, parting).await;
}

/// How pieces of the stream become messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// A text message per line.
    Lines,
    /// A binary message per piece, or base64 text where the client's protocol says so.
    Pieces { base64: bool },
}

/// Turns a stream into the messages of a WebSocket.
pub fn switch(upgrade: OnUpgrade, headers: &HeaderMap, answer: Response<Body>, lines: bool) -> Result<Response<Body>, Status> {
    if !answer.status().is_success() {
        return Ok(answer);
    }
    let known = if lines { &[][..] } else { &["binary.k8s.io", "base64.binary.k8s.io"][..] };
    let protocol = offered(headers).find(|p| known.contains(p));
    let framing = if lines { Framing::Lines } else { Framing::Pieces { base64: protocol == Some("base64.binary.k8s.io") } };
    let r = accepted(headers, protocol)?;
    let stream = answer.into_body();
    tokio::spawn(async move {
        let Ok(upgraded) = upgrade.await else { return };
        let socket = server(upgraded).await;
        pump(socket, stream, framing).await;
    });
    Ok(r)
}

/// Sends the stream until it ends or the client leaves.
async fn pump<S>(mut socket: WebSocketStream<S>, mut stream: Body, framing: Framing)
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    let mut pending = Vec::new();
    loop {
        let piece = tokio::select! {
            frame = stream.frame() => match frame {
                Some(Ok(f)) => match f.into_data() {
                    Ok(data) => data,
                    Err(_) => continue,
                },
                _ => break,
            },
            message = socket.next() => match message {
                Some(Ok(Message::Close(_)) | Err(_)) | None => return,
                Some(Ok(_)) => continue,
            },
        };
        for m in messages(framing, &mut pending, piece) {
            if socket.feed(m).await.is_err() {
                return;
            }
        }
        if socket.flush().await.is_err() {
            return;
        }
    }
    let _ = socket.close(None).await;
}

/// The messages of one piece; what is no whole line yet stays in `pending`.
fn messages(framing: Framing, pending: &mut Vec<u8>, piece: Bytes) -> Vec<Message> {
    match framing {
        Framing::Pieces { base64: false } => vec![Message::Binary(piece)],
        Framing::Pieces { base64: true } => {
            vec![Message::Text(base64::engine::general_purpose::STANDARD.encode(&piece).into())]
        }
        Framing::Lines => {
            pending.extend_from_slice(&piece);
            let Some(end) = pending.iter().rposition(|b| *b == b'\n') else { return Vec::new() };
            let rest = pending.split_off(end + 1);
            let whole = std::mem::replace(pending, rest);
            whole
                .split(|b| *b == b'\n')
                .filter(|l| !l.is_empty())
                .map(|l| Message::Text(String::from_utf8_lossy(l).into_owned().into()))
                .collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_messages_however_they_are_cut() {
        let mut pending = Vec::new();
        assert!(messages(Framing::Lines, &mut pending, Bytes::from_static(b"{\"a\"")).is_empty());
        let got = messages(Framing::Lines, &mut pending, Bytes::from_static(b":1}\n{}\n{"));
        assert_eq!(got, [Message::Text("{\"a\":1}".into()), Message::Text("{}".into())]);
        assert_eq!(pending, b"{");
    }
}
