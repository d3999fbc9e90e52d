//! The grpc probe: one `grpc.health.v1.Health/Check` over plain HTTP/2. The two messages have one field each, so they are written
//! out here.

use super::http::{dial, host_port};
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::time::Duration;

const SERVING: u8 = 1;

/// Ok when the service is SERVING; else the message of the failed probe.
pub async fn check(ip: &str, port: u16, service: &str, timeout: Duration) -> Result<String, String> {
    let at = host_port(ip, port);
    let late = || format!("timeout: failed to connect service {at:?} within {}s: context deadline exceeded", timeout.as_secs());
    tokio::time::timeout(timeout, call(ip, port, service, timeout)).await.map_err(|_| late())?
}

async fn call(ip: &str, port: u16, service: &str, timeout: Duration) -> Result<String, String> {
    let at = host_port(ip, port);
    let failed =
        |e: String| format!("error: this server does not implement the grpc health protocol (grpc.health.v1.Health): {e}");
    let refused =
        |_| format!("timeout: failed to connect service {at:?} within {}s: context deadline exceeded", timeout.as_secs());
    let stream = dial(ip, port, timeout).await.map_err(refused)?;
    let (mut sender, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
        .await
        .map_err(|e| failed(e.to_string()))?;
    let connection = tokio::spawn(connection);
    let request = ::http::Request::post(format!("http://{at}/grpc.health.v1.Health/Check"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header("user-agent", "kube-probe/1.36")
        .body(Full::new(request_body(service)))
        .map_err(|e| failed(e.to_string()))?;
    let result = async {
        let response = sender.send_request(request).await.map_err(|e| failed(e.to_string()))?;
        let early = response.headers().get("grpc-status").cloned();
        let body = Limited::new(response.into_body(), 64 << 10).collect().await.map_err(|e| failed(e.to_string()))?;
        let code = body.trailers().and_then(|t| t.get("grpc-status")).cloned().or(early);
        match code.as_ref().and_then(|c| c.to_str().ok()) {
            Some("0") => {}
            Some(code) => return Err(failed(format!("rpc status {code}"))),
            None => return Err(failed("no grpc-status".into())),
        }
        match serving_status(&body.to_bytes()) {
            Some(SERVING) => Ok("service healthy".to_owned()),
            other => {
                let name = match other {
                    Some(2) => "NOT_SERVING",
                    Some(3) => "SERVICE_UNKNOWN",
                    _ => "UNKNOWN",
                };
                Err(format!("service unhealthy (responded with {name:?})"))
            }
        }
    }
    .await;
    connection.abort();
    result
}

/// A gRPC frame with `HealthCheckRequest { service = 1 }`.
fn request_body(service: &str) -> Bytes {
    let mut message = Vec::new();
    if !service.is_empty() {
        message.push(0x0a);
        let mut n = service.len();
        while n >= 0x80 {
            message.push((n as u8 & 0x7f) | 0x80);
            n >>= 7;
        }
        message.push(n as u8);
        message.extend_from_slice(service.as_bytes());
    }
    let mut frame = vec![0];
    frame.extend_from_slice(&u32::try_from(message.len()).unwrap_or(0).to_be_bytes());
    frame.extend_from_slice(&message);
    frame.into()
}

/// Field 1 of a framed `HealthCheckResponse`.
fn serving_status(frame: &[u8]) -> Option<u8> {
    match frame.get(5..)? {
        [0x08, status, ..] => Some(*status),
        _ => Some(0),
    }
}
