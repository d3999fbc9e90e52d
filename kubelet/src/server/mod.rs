//! The node's HTTPS server on port 10250: what the API server and monitoring ask of a node (upstream pkg/kubelet/server).

mod auth;
pub mod healthz;
mod logs;
mod metrics;
mod stats;
mod stream;
mod system_logs;

use crate::config::KubeletConfiguration;
use crate::context::Context;
use crate::kubelet::{Pods, StartError};
use auth::Auth;
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::{Body as _, Incoming};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use serde_json::json;
use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

pub type Body = BoxBody<Bytes, std::io::Error>;
pub type Answer = Response<Body>;

/// The server, listening.
pub struct Server {
    listener: TcpListener,
    tls: TlsAcceptor,
    /// What clients are shown; may come later.
    pub certificate: Arc<pki::tls::ServerCertificate>,
    service: Arc<Service>,
}

/// What requests are answered from.
pub struct Service {
    pub ctx: Arc<Context>,
    pub pods: Pods,
    auth: Auth,
}

const HANDSHAKE: Duration = Duration::from_secs(10);

impl Server {
    pub async fn bind(ctx: Arc<Context>, pods: Pods) -> Result<Self, StartError> {
        let k = &ctx.config.kubelet;
        let tls_error = |e: pki::Error| StartError::Tls(e.to_string());
        let certificate = Arc::new(pki::tls::ServerCertificate::default());
        if !k.server_tls_bootstrap {
            let pair = if k.tls_cert_file.is_empty() {
                self_signed(&ctx)
            } else {
                pki::Pair::read(Path::new(&k.tls_cert_file), Path::new(&k.tls_private_key_file))
            };
            pair.and_then(|p| certificate.set(&p)).map_err(tls_error)?;
        }
        let auth = Auth::new(&ctx).map_err(tls_error)?;
        let hints: Vec<&str> = auth.client_ca().into_iter().collect();
        let tls = pki::tls::changing_server_config(certificate.clone(), &hints).map_err(tls_error)?;
        let at = format!("{}:{}", k.address, k.port);
        let listener =
            TcpListener::bind(&at).await.map_err(|source| StartError::Io { what: format!("listen on {at}"), source })?;
        let tls = TlsAcceptor::from(Arc::new(tls));
        Ok(Self { listener, tls, certificate, service: Arc::new(Service { ctx, pods, auth }) })
    }

    /// Serves until dropped.
    pub async fn run(self) {
        let mut connections = tokio::task::JoinSet::new();
        loop {
            tokio::select! {
                Some(_) = connections.join_next() => {}
                accepted = self.listener.accept() => match accepted {
                    Ok((stream, _)) => {
                        connections.spawn(connection(stream, self.tls.clone(), self.service.clone()));
                    }
                    Err(e) => {
                        tracing::warn!(error = %e, "connection not accepted");
                        tokio::time::sleep(Duration::from_millis(100)).await; // out of descriptors: let some close
                    }
                },
            }
        }
    }
}

/// A certificate of its own for nodes that are given none.
fn self_signed(ctx: &Context) -> pki::Result<pki::Pair> {
    let name = &ctx.config.node_name;
    let identity = pki::Identity::server(name, std::slice::from_ref(name), &ctx.config.node_ips);
    pki::Authority::issue_alone(&identity)
}

async fn connection(stream: tokio::net::TcpStream, tls: TlsAcceptor, service: Arc<Service>) {
    let _ = stream.set_nodelay(true);
    let Ok(Ok(stream)) = tokio::time::timeout(HANDSHAKE, tls.accept(stream)).await else { return };
    let certificates = stream.get_ref().1.peer_certificates().map(<[_]>::to_vec).unwrap_or_default();
    let handler = hyper::service::service_fn(move |request: Request<Incoming>| {
        let (service, certificates) = (service.clone(), certificates.clone());
        async move {
            let head = request.method() == Method::HEAD;
            let response = service.handle(request, &certificates).await;
            Ok::<_, std::convert::Infallible>(if head { without_body(response) } else { response })
        }
    });
    let served = auto::Builder::new(TokioExecutor::new()).serve_connection_with_upgrades(TokioIo::new(stream), handler).await;
    if let Err(e) = served {
        tracing::debug!(error = %e, "connection ended");
    }
}

/// The answer to a HEAD request. Hyper leaves the body out of HTTP/1 only.
fn without_body(response: Answer) -> Answer {
    let (mut parts, body) = response.into_parts();
    if let Some(length) = body.size_hint().exact() {
        parts.headers.entry(http::header::CONTENT_LENGTH).or_insert(length.into());
    }
    Response::from_parts(parts, Full::new(Bytes::new()).map_err(|never| match never {}).boxed())
}

pub fn text(code: StatusCode, body: impl Into<Bytes>) -> Answer {
    answer(code, "text/plain; charset=utf-8", body)
}

pub fn answer(code: StatusCode, kind: &'static str, body: impl Into<Bytes>) -> Answer {
    let body = Full::new(body.into()).map_err(|never| match never {}).boxed();
    let mut r = Response::new(body);
    *r.status_mut() = code;
    r.headers_mut().insert(http::header::CONTENT_TYPE, http::HeaderValue::from_static(kind));
    r
}

/// Decoded query parameters; a name may come several times.
pub struct Query(Vec<(String, String)>);

impl Query {
    fn of(raw: Option<&str>) -> Self {
        let pair = |p: &str| {
            let (k, v) = p.split_once('=').unwrap_or((p, ""));
            (decode(k), decode(v))
        };
        Self(raw.unwrap_or("").split('&').filter(|p| !p.is_empty()).map(pair).collect())
    }
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(k, _)| k == name).map(|(_, v)| v.as_str())
    }
    pub fn all(&self, name: &str) -> Vec<String> {
        self.0.iter().filter(|(k, _)| k == name).map(|(_, v)| v.clone()).collect()
    }
    pub fn truth(&self, name: &str) -> bool {
        matches!(self.get(name), Some("true" | "1" | "True" | "t"))
    }
}

fn decode(s: &str) -> String {
    let bytes = s.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut i = 0;
    while i < bytes.len() {
        let hex = (bytes[i] == b'%').then(|| s.get(i + 1..i + 3).and_then(|h| u8::from_str_radix(h, 16).ok())).flatten();
        match (bytes[i], hex) {
            (_, Some(b)) => {
                out.push(b);
                i += 3;
                continue;
            }
            (b'+', _) => out.push(b' '),
            (b, _) => out.push(b),
        }
        i += 1;
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// Why the configuration has the paths below `first` closed, if it has.
fn disabled(k: &KubeletConfiguration, first: &str) -> Option<&'static str> {
    let debugging = ["run", "exec", "attach", "portForward", "containerLogs", "runningpods", "logs"];
    if !k.enable_debugging_handlers && debugging.contains(&first) {
        return Some("Debug endpoints are disabled.\n");
    }
    (!k.enable_system_log_handler && first == "logs").then_some("logs endpoint is disabled.\n")
}

impl Service {
    async fn handle(&self, request: Request<Incoming>, certificates: &[rustls::pki_types::CertificateDer<'static>]) -> Answer {
        let path = request.uri().path().to_owned();
        let user = match self.auth.authenticate(&self.ctx, request.headers(), certificates).await {
            Some(u) => u,
            None => return text(StatusCode::UNAUTHORIZED, "Unauthorized"),
        };
        if let Err(why) = self.auth.authorize(&self.ctx, &user, request.method(), &path).await {
            return text(StatusCode::FORBIDDEN, why);
        }
        let parts: Vec<String> = path.split('/').filter(|p| !p.is_empty()).map(decode).collect();
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        let query = Query::of(request.uri().query());
        let get = request.method() == Method::GET;
        if let Some(why) = parts.first().and_then(|p| disabled(&self.ctx.config.kubelet, p)) {
            return text(StatusCode::METHOD_NOT_ALLOWED, why);
        }
        match parts.as_slice() {
            ["logs", rest @ ..] if get => system_logs::serve(&self.ctx, rest, path.ends_with('/')).await,
            ["healthz" | "healthz", ..] if get => text(StatusCode::OK, "ok"),
            ["pods"] if get => self.pod_list(),
            ["runningpods"] if get => self.pod_list(),
            ["containerLogs", ns, pod, container] if get => logs::serve(self, ns, pod, container, &query).await,
            ["exec", ns, pod, rest @ .., container] if rest.len() < 2 => {
                stream::exec(self, request, ns, pod, container, &query).await
            }
            ["attach", ns, pod, rest @ .., container] if rest.len() < 2 => {
                stream::attach(self, request, ns, pod, container, &query).await
            }
            ["portForward", ns, pod, ..] => stream::port_forward(self, request, ns, pod, &query).await,
            ["run", ns, pod, rest @ .., container] if rest.len() < 2 && request.method() == Method::POST => {
                self.run_command(ns, pod, container, &query).await
            }
            ["stats", "summary"] if get => stats::summary(self).await,
            ["metrics"] if get => metrics::kubelet(self),
            ["metrics", "cadvisor"] if get => metrics::cadvisor(self).await,
            ["metrics", "probes"] if get => answer(StatusCode::OK, stats::METRICS, ""),
            ["metrics", "resource"] if get => stats::resource_metrics(self).await,
            ["configz"] if get => self.configz(),
            _ => text(StatusCode::NOT_FOUND, "404 page not found\n"),
        }
    }

    fn pod_list(&self) -> Answer {
        let pods = self.pods.all().into_iter().map(|h| {
            let mut pod = (*h.pod()).clone();
            pod.status = Some(h.view().status);
            pod
        });
        let list = json!({"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": pods.collect::<Vec<_>>()});
        answer(StatusCode::OK, "application/json", list.to_string())
    }

    fn configz(&self) -> Answer {
        let k = &self.ctx.config.kubelet;
        let map: HashMap<&str, serde_json::Value> = HashMap::from([
            ("maxPods", k.max_pods.into()),
            ("clusterDomain", k.cluster_domain.clone().into()),
            ("clusterDNS", k.cluster_dns.clone().into()),
            ("cgroupDriver", k.cgroup_driver.clone().into()),
            ("port", k.port.into()),
            ("evictionHard", json!(k.eviction_hard)),
        ]);
        answer(StatusCode::OK, "application/json", json!({"kubeletconfig": map}).to_string())
    }

    async fn run_command(&self, ns: &str, pod: &str, container: &str, query: &Query) -> Answer {
        let id = match self.container_id(ns, pod, container) {
            Ok(id) => id,
            Err(a) => return *a,
        };
        let command: Vec<String> = query.get("cmd").unwrap_or("").split(' ').map(str::to_owned).collect();
        match self.ctx.runtime.exec_sync(&id, &command, Duration::ZERO).await {
            Ok(out) => text(StatusCode::OK, [out.stdout, out.stderr].concat()),
            Err(e) => text(StatusCode::INTERNAL_SERVER_ERROR, e.to_string()),
        }
    }

    /// The running container of a pod, or the answer that says why there is none.
    pub(crate) fn container_id(&self, ns: &str, pod: &str, container: &str) -> Result<String, Box<Answer>> {
        let missing = || Box::new(text(StatusCode::NOT_FOUND, "pod does not exist"));
        let handle = self.pods.find(ns, pod).ok_or_else(missing)?;
        let view = handle.view();
        let running =
            crate::pod::spec::newest(&view.record, container).filter(|s| s.state() == cri::v1::ContainerState::ContainerRunning);
        running.map(|s| s.id.clone()).ok_or_else(|| {
            // The client says what it was about to do.
            Box::new(text(StatusCode::INTERNAL_SERVER_ERROR, format!("container not found ({container:?})")))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries() {
        let q = Query::of(Some("command=sh&command=-c&command=a+b%26c&tty=1&bad=%zz"));
        assert_eq!(q.all("command"), ["sh", "-c", "a b&c"]);
        assert!(q.truth("tty") && !q.truth("input"));
        assert_eq!(q.get("bad"), Some("%zz"));
    }

    #[test]
    fn closed_paths() {
        let all = KubeletConfiguration::default();
        let no_logs = KubeletConfiguration { enable_system_log_handler: false, ..all.clone() };
        let none = KubeletConfiguration { enable_debugging_handlers: false, ..all.clone() };
        for (name, k, first, want) in [
            ("by default", &all, "exec", false),
            ("log handler off", &no_logs, "logs", true),
            ("log handler off, others on", &no_logs, "containerLogs", false),
            ("debugging off", &none, "exec", true),
            ("debugging off, logs too", &none, "logs", true),
            ("what is no debugging", &none, "metrics", false),
        ] {
            assert_eq!(disabled(k, first).is_some(), want, "{name}");
        }
    }
}
