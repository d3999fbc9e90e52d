//! exec and attach over WebSockets of protocol v5, the one in which a client can end stdin: kubelets and runtimes speak it over SPDY
//! alone, so it is translated here. Upstream: apiserver/pkg/util/proxy/streamtranslator.go, client-go/tools/remotecommand/v4.go.

use super::spdy::{self, Frame};
use super::tunnel::{Destination, Refused, switch_to_spdy};
use crate::http::body::{self, Body};
use crate::http::websocket;
use crate::server::Inner;
use bytes::{BufMut as _, Bytes, BytesMut};
use futures::{Sink, SinkExt as _, Stream, StreamExt as _};
use http::{HeaderMap, Response};
use hyper::upgrade::OnUpgrade;
use machinery::{Status, Value, json, meta};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::{Notify, mpsc};
use tokio_tungstenite::tungstenite::Message;

/// The subprotocol that is translated.
pub const V5: &str = "v5.channel.k8s.io";

/// Channels of a WebSocket.
const STDIN: u8 = 0;
const STDOUT: u8 = 1;
const STDERR: u8 = 2;
const ERROR: u8 = 3;
const RESIZE: u8 = 4;
const CLOSE: u8 = 255;
/// A session in which nothing moves is ended after this long, as upstream's.
const IDLE: Duration = Duration::from_secs(4 * 60 * 60);
/// What the other side may report of the command's end.
const MAX_REPORT: usize = 1 << 20;

/// What the client asked for.
#[derive(Clone, Copy)]
pub struct Wanted {
    pub stdin: bool,
    pub stdout: bool,
    pub stderr: bool,
    pub tty: bool,
}

impl Wanted {
    /// The streams to open, in the order in which upstream's clients do. A terminal has no separate stderr.
    fn streams(self) -> Vec<(u8, u32, &'static str)> {
        [
            (ERROR, "error", true),
            (STDIN, "stdin", self.stdin),
            (STDOUT, "stdout", self.stdout),
            (STDERR, "stderr", self.stderr && !self.tty),
            (RESIZE, "resize", self.tty),
        ]
        .into_iter()
        .filter(|(_, _, wanted)| *wanted)
        .zip((1..).step_by(2))
        .map(|((channel, name, _), id)| (channel, id, name))
        .collect()
    }
}

/// Answers the upgrade at once; what goes wrong from then on is told on the error channel.
pub fn translate(
    server: &Inner,
    upgrade: OnUpgrade,
    headers: &HeaderMap,
    to: Destination,
    wanted: Wanted,
) -> Result<Response<Body>, Status> {
    let answer = websocket::accepted(headers, Some(V5))?;
    let shutdown = server.shutdown.clone();
    tokio::spawn(async move {
        let Ok(upgraded) = upgrade.await else { return };
        let socket = websocket::server(upgraded).await;
        tokio::select! {
            () = session(socket, &to, wanted) => {}
            () = shutdown.cancelled() => {}
        }
    });
    Ok(answer)
}

fn message(channel: u8, content: &[u8]) -> Message {
    let mut m = BytesMut::with_capacity(content.len() + 1);
    m.put_u8(channel);
    m.put_slice(content);
    Message::Binary(m.freeze())
}

async fn session<S: AsyncRead + AsyncWrite + Unpin>(
    socket: tokio_tungstenite::WebSocketStream<S>,
    to: &Destination,
    wanted: Wanted,
) {
    let (mut sink, mut source) = socket.split();
    let lowest = if wanted.stdout {
        STDOUT
    } else if wanted.stderr {
        STDERR
    } else {
        ERROR
    };
    if sink.send(message(lowest, &[])).await.is_err() {
        return;
    }
    let verdict = match switch_to_spdy(to, &["v4.channel.k8s.io"]).await {
        Ok(remote) => match run(&mut sink, &mut source, remote.stream, wanted).await {
            Some(v) => v,
            None => return,
        },
        Err(refused) => refusal(refused).await.to_value(),
    };
    websocket::finish(sink, source, Some(message(ERROR, verdict.to_string().as_bytes()))).await;
}

/// Why there is no stream, for the error channel.
async fn refusal(refused: Refused) -> Status {
    let answer = match refused {
        Refused::Unreachable(status) => return status,
        Refused::Answer(answer) => answer,
    };
    let bytes = body::read(answer.into_body()).await.unwrap_or_default();
    let text = match serde_json::from_slice::<Value>(&bytes).ok().as_ref().and_then(Status::from_value) {
        Some(s) => s.message,
        None => String::from_utf8_lossy(&bytes).trim().to_owned(),
    };
    let text = if text.is_empty() { "empty server response" } else { &text };
    Status::internal(format!("unable to upgrade connection: {text}"))
}

/// Translates until the command has ended, and says how; `None` if the client left.
async fn run<K, C, S>(sink: &mut K, source: &mut C, remote: S, wanted: Wanted) -> Option<Value>
where
    K: Sink<Message> + Unpin,
    C: Stream<Item = Result<Message, tokio_tungstenite::tungstenite::Error>> + Unpin,
    S: AsyncRead + AsyncWrite,
{
    let (mut reader, mut writer) = tokio::io::split(remote);
    let streams = wanted.streams();
    let mut composer = spdy::Composer::default();
    let openings: Vec<Bytes> = streams.iter().map(|(_, id, name)| composer.open(*id, &[("streamtype", name)])).collect();
    // A message may be long: few are held.
    let (frames, mut frame_queue) = mpsc::channel::<Bytes>(1);
    let moved = Notify::new();
    let (pongs, mut pong_queue) = mpsc::channel::<Bytes>(16);
    // Each direction goes on by itself: a command may well write before it reads on.
    let write = async move {
        let mut written = writer.write_all(&openings.concat()).await;
        while written.is_ok() {
            let next = tokio::select! {
                biased;
                Some(p) = pong_queue.recv() => p,
                Some(f) = frame_queue.recv() => f,
                else => break,
            };
            written = writer.write_all(&next).await;
        }
        // A command that has ended reads no more; how it ended is still to be read.
        std::future::pending::<()>().await;
    };
    tokio::select! {
        verdict = receive(&mut reader, sink, &streams, &pongs, &moved) => verdict,
        () = send(source, &streams, &frames, &moved) => None,
        () = write => None,
        () = idle(&moved) => None,
    }
}

/// Waits until nothing has moved for long.
async fn idle(moved: &Notify) {
    while tokio::time::timeout(IDLE, moved.notified()).await.is_ok() {}
}

/// Passes on what the client sends, until it leaves.
async fn send<C>(source: &mut C, streams: &[(u8, u32, &str)], frames: &mpsc::Sender<Bytes>, moved: &Notify)
where
    C: Stream<Item = Result<Message, tokio_tungstenite::tungstenite::Error>> + Unpin,
{
    let id = |channel: u8| streams.iter().find(|(c, ..)| *c == channel).map(|(_, id, _)| *id);
    let mut stdin = id(STDIN);
    while let Some(Ok(m)) = source.next().await {
        moved.notify_one();
        let content: Bytes = match m {
            Message::Binary(b) => b,
            Message::Text(t) => t.into(),
            Message::Close(_) => return,
            _ => continue,
        };
        let frame = match (content.first(), stdin) {
            (Some(&STDIN), Some(id)) => spdy::data(id, &content[1..]),
            (Some(&CLOSE), Some(id)) if content[1..] == [STDIN] => {
                stdin = None;
                spdy::end(id)
            }
            (Some(&RESIZE), _) => match id(RESIZE) {
                Some(id) => spdy::data(id, &content[1..]),
                None => continue,
            },
            _ => continue,
        };
        if frames.send(frame).await.is_err() {
            return;
        }
    }
}

/// Passes on what the command writes, until it has ended.
async fn receive<K: Sink<Message> + Unpin>(
    reader: &mut (impl AsyncRead + Unpin),
    sink: &mut K,
    streams: &[(u8, u32, &str)],
    pongs: &mpsc::Sender<Bytes>,
    moved: &Notify,
) -> Option<Value> {
    let mut open: Vec<(u8, u32)> =
        streams.iter().filter(|(c, ..)| [STDOUT, STDERR, ERROR].contains(c)).map(|(c, id, _)| (*c, *id)).collect();
    let mut report = Vec::new();
    while !open.is_empty() {
        let frame = match spdy::read(reader).await {
            Ok(Some(f)) => f,
            Ok(None) if !report.is_empty() => break,
            Ok(None) => return Some(lost("unexpected EOF")),
            Err(_) if !report.is_empty() => break,
            Err(e) => return Some(lost(e)),
        };
        moved.notify_one();
        let ended = match frame {
            Frame::Data { stream, content, fin } => {
                match open.iter().find(|(_, id)| *id == stream) {
                    Some((ERROR, _)) if report.len() + content.len() <= MAX_REPORT => report.extend_from_slice(&content),
                    Some((channel, _)) if !content.is_empty() => sink.send(message(*channel, &content)).await.ok()?,
                    _ => {}
                }
                fin.then_some(stream)
            }
            Frame::Reset { stream } => Some(stream),
            Frame::Ping(p) => {
                let _ = pongs.try_send(p);
                None
            }
            Frame::GoAway | Frame::Other => None,
        };
        open.retain(|(_, id)| Some(*id) != ended);
    }
    Some(verdict(&report))
}

fn lost(why: impl std::fmt::Display) -> Value {
    Status::internal(format!("error reading from error stream: {why}")).to_value()
}

/// The other side's report as upstream's client reads it and its server passes it on.
fn verdict(report: &[u8]) -> Value {
    let wrong = |why: String| Status::internal(format!("error stream protocol error: {why}")).to_value();
    let success = || json!({"metadata": {}, "status": "Success"});
    if report.is_empty() {
        return success();
    }
    let status: Value = match serde_json::from_slice(report) {
        Ok(v) => v,
        Err(e) => return wrong(format!("{e} in {:?}", String::from_utf8_lossy(report))),
    };
    match (status["status"].as_str(), status["reason"].as_str()) {
        (Some("Success"), _) => success(),
        (Some("Failure"), Some("NonZeroExitCode")) => {
            let causes = meta::list_at(&status, &["details", "causes"]);
            let Some(cause) = causes.iter().find(|c| c["reason"] == "ExitCode") else {
                return wrong("no ExitCode cause given".into());
            };
            let code = cause["message"].as_str().unwrap_or("");
            let Ok(code) = code.parse::<u8>() else { return wrong(format!("invalid exit code value {code:?}")) };
            json!({"metadata": {}, "status": "Failure", "reason": "NonZeroExitCode",
                "message": format!("command terminated with non-zero exit code: command terminated with exit code {code}"),
                "details": {"causes": [{"reason": "ExitCode", "message": code.to_string()}]}})
        }
        (Some("Failure"), _) => Status::internal(meta::str_at(&status, &["message"])).to_value(),
        _ => wrong("unknown error".into()),
    }
}

#[cfg(test)]
mod tests;
