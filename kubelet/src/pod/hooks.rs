//! Lifecycle hooks: postStart and preStop (upstream pkg/kubelet/lifecycle/handlers.go).

use crate::context::{Context, pod_text};
use crate::probes::http::Get;
use k8s_openapi::api::core::v1::{Container, LifecycleHandler, Pod};
use std::time::Duration;

/// Upstream lets hooks wait this long for an HTTP answer.
const HTTP_TIMEOUT: Duration = Duration::from_secs(30);

/// Runs a handler in or against a container; the error is what its event or status says.
pub async fn run(ctx: &Context, pod: &Pod, c: &Container, id: &str, ip: &str, h: &LifecycleHandler) -> Result<(), String> {
    let at = format!("Container {:?} in Pod {:?}", c.name, pod_text(pod));
    if let Some(e) = &h.exec {
        let command: Vec<String> = e.command.clone().unwrap_or_default();
        return match ctx.runtime.exec_sync(id, &command, Duration::ZERO).await {
            Ok(out) if out.exit_code == 0 => Ok(()),
            Ok(out) => {
                let mut text = out.stdout;
                text.extend_from_slice(&out.stderr);
                let text = String::from_utf8_lossy(&text);
                Err(format!(
                    "Exec lifecycle hook ({command:?}) for {at} failed - error: command '{}' exited with {}: {text}, message: {text:?}",
                    command.join(" "),
                    out.exit_code
                ))
            }
            Err(e) => Err(format!("Exec lifecycle hook ({command:?}) for {at} failed - error: {e}, message: \"\"")),
        };
    }
    if let Some(h) = &h.http_get {
        let path = h.path.clone().unwrap_or_default();
        let sent = match Get::of(h, c, ip) {
            Ok(get) => get.send(HTTP_TIMEOUT).await.map(|_| ()), // any answer will do
            Err(e) => Err(e),
        };
        return sent.map_err(|e| format!("HTTP lifecycle hook ({path}) for {at} failed - error: {e}, message: \"\""));
    }
    if let Some(s) = &h.sleep {
        tokio::time::sleep(Duration::from_secs(u64::try_from(s.seconds).unwrap_or(0))).await;
        return Ok(());
    }
    Err("invalid handler".into())
}
