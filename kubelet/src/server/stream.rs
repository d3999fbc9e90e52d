//! exec, attach, port-forward: the runtime serves the stream; the upgrade request is passed on to the URL it gives out, and then
//! bytes go both ways, whatever protocol (SPDY or WebSocket) the two ends speak.

use super::{Answer, Query, Service, text};
use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;

type Asked = Request<Incoming>;

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
        return text(StatusCode::NOT_FOUND, format!("pod does not exist: {pod:?}"));
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
            Ok((client, runtime)) => {
                let _ = tokio::io::copy_bidirectional(&mut TokioIo::new(client), &mut TokioIo::new(runtime)).await;
            }
            Err(e) => tracing::debug!(error = %e, "stream not upgraded"),
        }
    });
    let mut answer = text(StatusCode::SWITCHING_PROTOCOLS, "");
    *answer.headers_mut() = response.headers().clone();
    Ok(answer)
}
