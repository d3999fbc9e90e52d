//! Port forwarding through a WebSocket: the client's SPDY connection travels as the socket's messages, so that it passes proxies that
//! know no SPDY. Upstream: apiserver/pkg/util/proxy/streamtunnel.go.

use super::pod_streams::kubelet_error;
use super::tunnel::{Destination, Refused, switch_to_spdy};
use crate::http::body::Body;
use crate::http::websocket;
use crate::server::Inner;
use bytes::BytesMut;
use futures::{SinkExt as _, StreamExt as _};
use http::{HeaderMap, Response};
use hyper::upgrade::OnUpgrade;
use machinery::Status;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

const PREFIX: &str = "SPDY/3.1+";
const BUFFER: usize = 32 << 10;

/// The protocols that a client wants to tunnel.
pub fn offered(headers: &HeaderMap) -> Vec<&str> {
    websocket::offered(headers).filter(|p| p.ends_with(".k8s.io")).filter_map(|p| p.strip_prefix(PREFIX)).collect()
}

/// The kubelet is asked first: what it refuses is refused before any upgrade.
pub async fn tunnel(server: &Inner, upgrade: OnUpgrade, headers: &HeaderMap, to: &Destination) -> Result<Response<Body>, Status> {
    let remote = match switch_to_spdy(to, &offered(headers)).await {
        Ok(r) => r,
        Err(Refused::Unreachable(status)) => return Err(status),
        Err(Refused::Answer(answer)) => return Err(kubelet_error(answer).await),
    };
    let answer = websocket::accepted(headers, Some(&format!("{PREFIX}{}", remote.protocol)))?;
    let shutdown = server.shutdown.clone();
    tokio::spawn(async move {
        let Ok(upgraded) = upgrade.await else { return };
        let socket = websocket::server(upgraded).await;
        tokio::select! {
            () = join(socket, remote.stream) => {}
            () = shutdown.cancelled() => {}
        }
    });
    Ok(answer)
}

/// Passes bytes on in both directions until either side ends.
async fn join<A, B>(socket: WebSocketStream<A>, remote: B)
where
    A: AsyncRead + AsyncWrite + Unpin,
    B: AsyncRead + AsyncWrite,
{
    let (mut sink, mut source) = socket.split();
    let (mut reader, mut writer) = tokio::io::split(remote);
    let down = async {
        let mut buffer = BytesMut::new();
        loop {
            buffer.reserve(BUFFER);
            match reader.read_buf(&mut buffer).await {
                Ok(n) if n > 0 => {}
                _ => return true,
            }
            if sink.send(Message::Binary(buffer.split().freeze())).await.is_err() {
                return false;
            }
        }
    };
    let up = async {
        while let Some(Ok(m)) = source.next().await {
            let content = match m {
                Message::Binary(content) => content,
                Message::Close(_) | Message::Text(_) => break,
                _ => continue,
            };
            if writer.write_all(&content).await.is_err() {
                break;
            }
        }
        let _ = writer.shutdown().await;
        false
    };
    let orderly = tokio::select! {
        done = down => done,
        done = up => done,
    };
    if orderly {
        websocket::finish(sink, source, None).await;
    }
}
