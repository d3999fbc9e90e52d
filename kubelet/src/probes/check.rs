//! One run of a probe: exec, httpGet, tcpSocket or grpc.

use super::{Target, Verdict, grpc, http};
use crate::context::Context;
use crate::pod::expansion;
use k8s_openapi::api::core::v1::{Container, Probe};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use std::time::Duration;

/// What a run found.
pub struct Outcome {
    pub verdict: Verdict,
    pub output: String,
    /// The probe itself could not be run.
    pub errored: bool,
    /// It succeeded in a way that an event should tell of.
    pub warning: bool,
}

impl Outcome {
    fn of(result: Result<String, String>) -> Self {
        match result {
            Ok(output) => Self { verdict: Verdict::Success, output, errored: false, warning: false },
            Err(output) => Self { verdict: Verdict::Failure, output, errored: false, warning: false },
        }
    }
    fn error(output: String) -> Self {
        Self { verdict: Verdict::Failure, output, errored: true, warning: false }
    }
}

/// Output kept of a probe.
const MAX_OUTPUT: usize = 10 << 10;

pub async fn run(ctx: &Context, target: &Target, probe: &Probe) -> Outcome {
    let timeout = Duration::from_secs(probe.timeout_seconds.and_then(|t| u64::try_from(t).ok()).unwrap_or(1).max(1));
    if let Some(e) = &probe.exec {
        let plain = |n: &str| target.container.env.iter().flatten().find(|v| v.name == n).and_then(|v| v.value.clone());
        let command: Vec<String> = e.command.iter().flatten().map(|a| expansion::expand(a, plain)).collect();
        let run = ctx.runtime.exec_sync(&target.id, &command, timeout);
        return match tokio::time::timeout(timeout + Duration::from_secs(1), run).await {
            Ok(Ok(out)) => {
                let mut text = out.stdout;
                text.extend_from_slice(&out.stderr);
                text.truncate(MAX_OUTPUT);
                let text = String::from_utf8_lossy(&text).into_owned();
                Outcome::of(if out.exit_code == 0 { Ok(text) } else { Err(text) })
            }
            Ok(Err(e)) if e.code == cri::Code::DeadlineExceeded => {
                Outcome::of(Err(format!("command timed out: {:?} timed out after {}s", command.join(" "), timeout.as_secs())))
            }
            Ok(Err(e)) => Outcome::error(e.to_string()),
            Err(_) => {
                Outcome::of(Err(format!("command timed out: {:?} timed out after {}s", command.join(" "), timeout.as_secs())))
            }
        };
    }
    if let Some(h) = &probe.http_get {
        let request = match http::Get::of(h, &target.container, &target.ip) {
            Ok(r) => r,
            Err(e) => return Outcome::error(e),
        };
        return match request.probe(timeout).await {
            Ok(answer) => Outcome { warning: answer.warning, ..Outcome::of(Ok(answer.body)) },
            Err(e) => Outcome::of(Err(e)),
        };
    }
    if let Some(t) = &probe.tcp_socket {
        let host = t.host.as_deref().filter(|h| !h.is_empty()).unwrap_or(&target.ip);
        let Some(port) = port(&t.port, &target.container) else { return Outcome::error("no such port".into()) };
        return Outcome::of(http::dial(host, port, timeout).await.map(|_| String::new()));
    }
    if let Some(g) = &probe.grpc {
        let port = u16::try_from(g.port).unwrap_or(0);
        return Outcome::of(grpc::check(&target.ip, port, g.service.as_deref().unwrap_or(""), timeout).await);
    }
    Outcome::error("missing probe handler".into())
}

/// A port by number or by the container's name for it.
pub fn port(p: &IntOrString, c: &Container) -> Option<u16> {
    let number = match p {
        IntOrString::Int(n) => *n,
        IntOrString::String(name) => match c.ports.iter().flatten().find(|p| p.name.as_ref() == Some(name)) {
            Some(p) => p.container_port,
            None => name.parse().ok()?,
        },
    };
    u16::try_from(number).ok().filter(|p| *p > 0)
}
