//! exec, attach, port-forward: the runtime serves the stream; the upgrade request is passed on to the URL it gives out, and then
//! bytes go both ways, whatever protocol (SPDY or WebSocket) the two ends speak.

use super::{Answer, Query, Service, text};
use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};

type Asked = Request<Incoming>;

/// How long what the runtime has still said is waited for once it reads no more.
const LAST_WORDS: Duration = Duration::from_secs(10);

struct Streams {
    stdin: bool,
    stdout: bool,
    stderr: bool,
    tty: bool,
}

impl Streams {
    fn of(q: &Query) -> Self {
        let tty = q.truth("tty");
        // A terminal has no separate stderr.
        Self { stdin: q.truth("input"), stdout: q.truth("output"), stderr: q.truth("error") && !tty, tty }
    }
    fn none(&self) -> bool {
        !(self.stdin || self.stdout || self.stderr)
    }
}

fn none_wanted() -> Answer {
    text(StatusCode::BAD_REQUEST, "you must specify at least 1 of stdin, stdout, stderr")
}

pub async fn exec(service: &Service, request: Asked, ns: &str, pod: &str, container: &str, q: &Query) -> Answer {
    let container_id = match service.container_id(ns, pod, container) {
        Ok(id) => id,
        Err(a) => return *a,
    };
    let Streams { stdin, stdout, stderr, tty } = match Streams::of(q) {
        s if s.none() => return none_wanted(),
        s => s,
    };
    let cmd = q.all("command");
    let url = service.ctx.runtime.exec_url(cri::v1::ExecRequest { container_id, cmd, tty, stdin, stdout, stderr }).await;
    proxy(request, url).await
}

pub async fn attach(service: &Service, request: Asked, ns: &str, pod: &str, container: &str, q: &Query) -> Answer {
    let container_id = match service.container_id(ns, pod, container) {
        Ok(id) => id,
        Err(a) => return *a,
    };
    let mut s = Streams::of(q);
    if s.none() {
        return none_wanted();
    }
    // The container's terminal decides, not the client's.
    let spec = service.pods.find(ns, pod).and_then(|h| crate::pod::spec::find_container(&h.pod(), container));
    s.tty = spec.is_some_and(|c| c.tty == Some(true));
    s.stderr &= !s.tty;
    let Streams { stdin, stdout, stderr, tty } = s;
    let url = service.ctx.runtime.attach_url(cri::v1::AttachRequest { container_id, stdin, tty, stdout, stderr }).await;
    proxy(request, url).await
}

pub async fn port_forward(service: &Service, request: Asked, ns: &str, pod: &str, q: &Query) -> Answer {
    let Some(handle) = service.pods.find(ns, pod) else {
        return text(StatusCode::NOT_FOUND, "pod does not exist");
    };
    let Some(sandbox) = handle.view().record.sandboxes.first().map(|s| s.id.clone()) else {
        return text(StatusCode::NOT_FOUND, format!("pod has no sandbox: {pod:?}"));
    };
    let port = q.all("port").iter().filter_map(|p| p.parse().ok()).collect();
    let url = service.ctx.runtime.port_forward_url(cri::v1::PortForwardRequest { pod_sandbox_id: sandbox, port }).await;
    proxy(request, url).await
}

async fn proxy(request: Asked, url: crate::runtime::Result<String>) -> Answer {
    let failed = |e: String| text(StatusCode::INTERNAL_SERVER_ERROR, e);
    let url: http::Uri = match url.map_err(|e| e.to_string()).and_then(|u| u.parse().map_err(|e| format!("{u}: {e}"))) {
        Ok(u) => u,
        Err(e) => return failed(e),
    };
    match tunnel(request, &url).await {
        Ok(a) => a,
        Err(e) => failed(format!("streaming server of the container runtime: {e}")),
    }
}

/// Passes the upgrade on. What the runtime answers goes back as it is; after 101 both sides are joined.
async fn tunnel(mut request: Asked, url: &http::Uri) -> Result<Answer, Box<dyn std::error::Error + Send + Sync>> {
    let host = url.host().unwrap_or("127.0.0.1");
    let stream = tokio::net::TcpStream::connect((host.trim_matches(['[', ']']), url.port_u16().unwrap_or(80))).await?;
    stream.set_nodelay(true)?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection.with_upgrades());
    let mut onward = Request::builder().method(request.method().clone()).uri(url.path_and_query().map_or("/", |p| p.as_str()));
    for (name, value) in request.headers() {
        if name != header::HOST && name != header::AUTHORIZATION && name != header::CONTENT_LENGTH {
            onward = onward.header(name, value);
        }
    }
    let authority = url.authority().map_or("localhost", |a| a.as_str());
    let onward = onward.header(header::HOST, authority).body(Empty::<Bytes>::new())?;
    let client = hyper::upgrade::on(&mut request);
    let mut response = sender.send_request(onward).await?;
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        return Ok(response.map(|b| b.map_err(std::io::Error::other).boxed()));
    }
    let runtime = hyper::upgrade::on(&mut response);
    tokio::spawn(async move {
        match tokio::try_join!(client, runtime) {
            Ok((client, runtime)) => join(TokioIo::new(client), TokioIo::new(runtime)).await,
            Err(e) => tracing::debug!(error = %e, "stream not upgraded"),
        }
    });
    let mut answer = text(StatusCode::SWITCHING_PROTOCOLS, "");
    *answer.headers_mut() = response.headers().clone();
    Ok(answer)
}

/// Passes bytes on in both directions until the runtime has ended. One that leaves input unread, since the command has exited, resets
/// the connection: its report of how the command ended lies before that and must not go with it.
async fn join(client: impl AsyncRead + AsyncWrite, runtime: impl AsyncRead + AsyncWrite) {
    let (mut from_client, mut to_client) = tokio::io::split(client);
    let (mut from_runtime, mut to_runtime) = tokio::io::split(runtime);
    let up = async {
        let copied = tokio::io::copy(&mut from_client, &mut to_runtime).await;
        let _ = to_runtime.shutdown().await;
        copied
    };
    let down = async {
        let _ = tokio::io::copy(&mut from_runtime, &mut to_client).await;
        let _ = to_client.shutdown().await;
    };
    tokio::pin!(down);
    let copied = tokio::select! {
        () = &mut down => return,
        copied = up => copied,
    };
    match copied {
        Ok(_) => down.await,
        Err(_) => drop(tokio::time::timeout(LAST_WORDS, down).await),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::pin::Pin;
    use std::task::{Context, Poll};
    use tokio::io::{AsyncReadExt as _, DuplexStream, ReadBuf};

    /// A runtime that has said its last and resets the connection: writing to it fails.
    struct Resets(DuplexStream);

    impl AsyncRead for Resets {
        fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
            Pin::new(&mut self.0).poll_read(cx, buf)
        }
    }

    impl AsyncWrite for Resets {
        fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, _: &[u8]) -> Poll<std::io::Result<usize>> {
            Poll::Ready(Err(std::io::ErrorKind::ConnectionReset.into()))
        }
        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
            Poll::Ready(Ok(()))
        }
        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    #[tokio::test]
    async fn what_a_runtime_said_before_it_left_arrives() {
        let (mut client, near) = tokio::io::duplex(16);
        let (runtime, mut far) = tokio::io::duplex(1 << 10);
        client.write_all(b"never read").await.unwrap();
        far.write_all(&[7; 1000]).await.unwrap();
        drop(far);
        let joined = tokio::spawn(join(near, Resets(runtime)));
        let mut said = Vec::new();
        client.read_to_end(&mut said).await.unwrap();
        assert_eq!(said, [7; 1000]);
        joined.await.unwrap();
    }

    #[tokio::test]
    async fn a_client_that_leaves_ends_the_runtimes_input() {
        let (client, near) = tokio::io::duplex(16);
        let (runtime, mut far) = tokio::io::duplex(16);
        let joined = tokio::spawn(join(near, runtime));
        drop(client);
        assert_eq!(far.read(&mut [0; 1]).await.unwrap(), 0);
        drop(far);
        joined.await.unwrap();
    }
}
