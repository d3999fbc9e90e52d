//! `/healthz`, `/livez` and `/readyz`: named checks, each also at a path of its own. Upstream: apiserver/pkg/server/healthz.

use crate::http::body::Body;
use crate::http::{Query, respond};
use http::{Response, StatusCode};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use store::Store;

/// What readiness waits for.
#[derive(Default)]
pub struct Health {
    /// Default namespaces, RBAC and the rest are in place.
    pub bootstrapped: AtomicBool,
    pub shutting_down: AtomicBool,
}

/// Upstream's names in upstream's order: monitors ask for them one by one. What is started there by many hooks is started here by
/// one, so the hooks are done together.
const LIVE: &[&str] = &[
    "ping",
    "log",
    "etcd",
    "poststarthook/start-apiserver-admission-initializer",
    "poststarthook/generic-apiserver-start-informers",
    "poststarthook/priority-and-fairness-config-consumer",
    "poststarthook/priority-and-fairness-filter",
    "poststarthook/storage-object-count-tracker-hook",
    "poststarthook/start-apiextensions-informers",
    "poststarthook/start-apiextensions-controllers",
    "poststarthook/crd-informer-synced",
    "poststarthook/start-system-namespaces-controller",
    "poststarthook/start-cluster-authentication-info-controller",
    "poststarthook/start-kube-apiserver-identity-lease-controller",
    "poststarthook/start-kube-apiserver-identity-lease-garbage-collector",
    "poststarthook/start-legacy-token-tracking-controller",
    "poststarthook/start-service-ip-repair-controllers",
    "poststarthook/rbac/bootstrap-roles",
    "poststarthook/scheduling/bootstrap-system-priority-classes",
    "poststarthook/priority-and-fairness-config-producer",
    "poststarthook/bootstrap-controller",
    "poststarthook/start-kube-aggregator-informers",
    "poststarthook/apiservice-status-local-available-controller",
    "poststarthook/apiservice-status-remote-available-controller",
    "poststarthook/apiservice-registration-controller",
    "poststarthook/apiservice-discovery-controller",
    "poststarthook/kube-apiserver-autoregistration",
    "autoregister-completion",
    "poststarthook/apiservice-openapi-controller",
    "poststarthook/apiservice-openapiv3-controller",
    "poststarthook/storage-readiness",
];
const READY: &[&str] = &["etcd-readiness", "informer-sync", "shutdown"];

impl Health {
    /// Answers a health path; `None` if this is none.
    pub async fn serve(&self, path: &str, query: &Query, store: &dyn Store) -> Option<Response<Body>> {
        let mut parts = path.trim_start_matches('/').splitn(2, '/');
        let kind = parts.next()?;
        let mut checks: Vec<&str> = match kind {
            "healthz" | "livez" => LIVE.to_vec(),
            "readyz" => LIVE.iter().chain(READY).copied().collect(),
            _ => return None,
        };
        if let Some(only) = parts.next().filter(|p| !p.is_empty()) {
            let Some(check) = checks.iter().copied().find(|c| *c == only) else { return Some(respond::page_not_found()) };
            return Some(match self.check(check, store).await {
                Ok(()) => respond::text(StatusCode::OK, "ok"),
                Err(e) => respond::text(StatusCode::INTERNAL_SERVER_ERROR, format!("internal server error: {e}\n")),
            });
        }
        let excluded: Vec<&str> = query.all("exclude").collect();
        let mut out = String::new();
        let mut failed = Vec::new();
        checks.retain(|c| {
            !excluded.contains(c) || {
                out.push_str(&format!("[+]{c} excluded: ok\n"));
                false
            }
        });
        for c in checks {
            match self.check(c, store).await {
                Ok(()) => out.push_str(&format!("[+]{c} ok\n")),
                Err(error) => {
                    tracing::info!(check = c, error, "health check failed");
                    out.push_str(&format!("[-]{c} failed: reason withheld\n"));
                    failed.push(c);
                }
            }
        }
        Some(if !failed.is_empty() {
            respond::text(StatusCode::INTERNAL_SERVER_ERROR, format!("{out}{kind} check failed\n"))
        } else if query.get("verbose").is_some() {
            respond::text(StatusCode::OK, format!("{out}{kind} check passed\n"))
        } else {
            respond::text(StatusCode::OK, "ok")
        })
    }

    /// The state of all checks as metrics (`/metrics/slis`). Upstream: component-base/metrics/prometheus/slis.
    pub async fn metrics(&self, store: &dyn Store) -> String {
        const NAME: &str = "kubernetes_healthcheck";
        let mut out =
            format!("# HELP {NAME} [STABLE] This metric records the result of a single healthcheck.\n# TYPE {NAME} gauge\n");
        let etcd = u8::from(self.check("etcd", store).await.is_ok());
        for (kind, checks) in [("healthz", &[][..]), ("livez", &[]), ("readyz", READY)] {
            for name in LIVE.iter().chain(checks) {
                let state = if name.starts_with("etcd") { etcd } else { u8::from(self.check(name, store).await.is_ok()) };
                out.push_str(&format!("{NAME}{{name=\"{name}\",type=\"{kind}\"}} {state}\n"));
            }
        }
        out
    }

    async fn check(&self, name: &str, store: &dyn Store) -> Result<(), String> {
        match name {
            "etcd" | "etcd-readiness" => match tokio::time::timeout(Duration::from_secs(2), store.revision()).await {
                Ok(Ok(_)) => Ok(()),
                Ok(Err(e)) => Err(e.to_string()),
                Err(_) => Err("timed out".into()),
            },
            "shutdown" if self.shutting_down.load(Ordering::Relaxed) => Err("process is shutting down".into()),
            n if (n.starts_with("poststarthook/") || n == "autoregister-completion")
                && !self.bootstrapped.load(Ordering::Relaxed) =>
            {
                Err("not finished".into())
            }
            _ => Ok(()),
        }
    }
}
