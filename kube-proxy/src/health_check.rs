//! `healthCheckNodePort`: where a load balancer asks whether this node has endpoints of a Service whose external traffic stays on
//! the node (upstream pkg/proxy/healthcheck).

use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use std::collections::HashMap;
use std::convert::Infallible;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio_util::task::AbortOnDropHandle;

struct Check {
    port: u16,
    local: Arc<AtomicUsize>,
    _serving: AbortOnDropHandle<()>,
}

/// The ports that are open, by the Service's `namespace/name`.
#[derive(Default)]
pub struct HealthChecks(HashMap<String, Check>);

impl HealthChecks {
    /// Opens, changes or closes a Service's port; `wanted` is the port and how many ready endpoints are on this node.
    pub async fn set(&mut self, service: &str, wanted: Option<(u16, usize)>) {
        let Some((port, local)) = wanted else {
            self.0.remove(service);
            return;
        };
        if let Some(c) = self.0.get(service).filter(|c| c.port == port) {
            c.local.store(local, Ordering::Relaxed);
            return;
        }
        self.0.remove(service);
        match TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).await {
            Ok(listener) => {
                let local = Arc::new(AtomicUsize::new(local));
                let serving = tokio::spawn(serve(listener, service.to_owned(), local.clone()));
                self.0.insert(service.to_owned(), Check { port, local, _serving: AbortOnDropHandle::new(serving) });
            }
            Err(e) => tracing::error!(service, port, error = %e, "health check of the Service not served"),
        }
    }
}

async fn serve(listener: TcpListener, service: String, local: Arc<AtomicUsize>) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let (service, local) = (service.clone(), local.clone());
                tokio::spawn(async move {
                    let handler = hyper::service::service_fn(move |_: Request<Incoming>| {
                        std::future::ready(Ok::<_, Infallible>(answer(&service, local.load(Ordering::Relaxed))))
                    });
                    let mut server = auto::Builder::new(TokioExecutor::new());
                    server.http1().keep_alive(false);
                    let served = server.serve_connection(TokioIo::new(stream), handler);
                    // Nobody has to be waited for: what asks is a probe.
                    if let Ok(Err(e)) = tokio::time::timeout(Duration::from_secs(10), served).await {
                        tracing::debug!(error = %e, "connection ended");
                    }
                });
            }
            Err(e) => {
                tracing::warn!(service, error = %e, "connection not accepted");
                tokio::time::sleep(Duration::from_millis(100)).await; // out of descriptors: let some close
            }
        }
    }
}

fn answer(service: &str, local: usize) -> Response<Full<Bytes>> {
    let (namespace, name) = service.split_once('/').unwrap_or(("", service));
    let text = format!(
        "{{\n\t\"service\": {{\n\t\t\"namespace\": {namespace:?},\n\t\t\"name\": {name:?}\n\t}},\n\t\"localEndpoints\": {local},\n\t\
         \"serviceProxyHealthy\": true\n}}\n"
    );
    let mut r = Response::new(Full::new(Bytes::from(text)));
    *r.status_mut() = if local == 0 { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK };
    let headers = r.headers_mut();
    headers.insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, header::HeaderValue::from_static("nosniff"));
    headers.insert("x-load-balancing-endpoint-weight", header::HeaderValue::from(local));
    r
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    async fn ask(port: u16) -> std::io::Result<String> {
        let mut c = tokio::net::TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
        c.write_all(b"GET /healthz HTTP/1.1\r\nHost: n\r\n\r\n").await?;
        let mut text = String::new();
        c.read_to_string(&mut text).await?;
        Ok(text)
    }

    #[tokio::test]
    async fn follows_the_service() {
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
        let port = free.local_addr().expect("its number").port();
        drop(free);
        let mut checks = HealthChecks::default();
        for (name, local, code) in [("an endpoint", 1, "200 OK"), ("none", 0, "503 Service Unavailable"), ("two", 2, "200 OK")] {
            checks.set("ns/s", Some((port, local))).await;
            let text = ask(port).await.expect("an answer");
            assert!(text.starts_with(&format!("HTTP/1.1 {code}")), "{name}: {text}");
            assert!(text.contains(&format!("\"localEndpoints\": {local},")), "{name}: {text}");
            assert!(text.contains(&format!("x-load-balancing-endpoint-weight: {local}")), "{name}: {text}");
        }
        checks.set("ns/s", None).await;
        while ask(port).await.is_ok() {
            tokio::task::yield_now().await; // until the task that listened is gone
        }
    }
}
