//! The server: what all requests share, and the one function that answers a request, whichever way it came.

use crate::admission::Chain;
use crate::config::Config;
use crate::health::Health;
use crate::metrics::Metrics;
use crate::resources::{Entry, Table};
use arc_swap::ArcSwap;
use auth::Authorizer;
use machinery::{Status, Value};
use std::sync::Arc;
use store::Store;
use tokio_util::sync::CancellationToken;

/// A running API server. Cloning shares it.
#[derive(Clone)]
pub struct ApiServer(pub(crate) Arc<Inner>);

/// What handlers work with.
pub struct Inner {
    pub config: Config,
    pub store: Arc<dyn Store>,
    pub table: Arc<ArcSwap<Table>>,
    pub authenticator: auth::Authenticator,
    pub authorizer: Arc<dyn Authorizer>,
    pub admission: Chain,
    pub health: Health,
    pub metrics: Metrics,
    pub issuer: auth::token::Issuer,
    /// Keys that tokens are verified with, as published.
    pub token_keys: Vec<pki::VerifyingKey>,
    pub objects: Arc<crate::objects::Objects>,
    pub rbac: Arc<auth::rbac::RbacStore>,
    /// Requests in flight that are no watch or stream.
    pub in_flight: tokio::sync::Semaphore,
    pub kubelet: crate::subresources::kubelet::Connector,
    pub shutdown: CancellationToken,
    pub openapi: crate::openapi::OpenApi,
    /// Towards webhooks and aggregated API servers.
    pub outbound: Arc<crate::outbound::Outbound>,
    pub aggregation: crate::aggregation::Aggregation,
    pub flow_control: Arc<crate::flow_control::FlowControl>,
}

impl Inner {
    /// The entry of a kept resource, whichever version.
    pub fn entry(&self, group: &str, resource: &str) -> Result<Arc<Entry>, Status> {
        self.table
            .load()
            .preferred(group, resource)
            .cloned()
            .ok_or_else(|| Status::internal(format!("no such resource: {resource}.{group}")))
    }

    /// An object in its storage version, from the store's newest state.
    pub async fn get_object(&self, group: &str, resource: &str, namespace: &str, name: &str) -> Result<Value, Status> {
        let entry = self.entry(group, resource)?;
        let storage = entry.storage.as_ref().ok_or_else(|| Status::internal("nothing is kept of this resource"))?;
        Ok(storage.get(namespace, name, "").await?.value())
    }
}

impl Inner {
    /// Nobody grants by a role or binding what he does not hold (RBAC's escalation check).
    pub async fn check_escalation(
        &self,
        user: &auth::UserInfo,
        entry: &Entry,
        namespace: &str,
        obj: &Value,
        old: Option<&Value>,
    ) -> Result<(), Status> {
        if &*entry.row.group != "rbac.authorization.k8s.io" {
            return Ok(());
        }
        auth::rbac::check_write(&self.rbac, &*self.authorizer, user, &entry.row.resource, namespace, obj, old).await
    }
}

impl ApiServer {
    /// Ends watches and listeners; requests in flight end by themselves.
    pub fn shutdown(&self) {
        self.0.health.shutting_down.store(true, std::sync::atomic::Ordering::Relaxed);
        self.0.shutdown.cancel();
    }

    pub fn config(&self) -> &Config {
        &self.0.config
    }
}
