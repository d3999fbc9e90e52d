//! The port of health, plain HTTP on this machine alone unless told otherwise: `/healthz`.

use crate::context::Context;
use crate::kubelet::StartError;
use tokio::net::TcpListener;

const HEALTHY: &[&str] = &["/healthz", "/healthz/ping"];

/// Binds the port; none where it is 0.
pub async fn bind(ctx: &Context) -> Result<Option<TcpListener>, StartError> {
    let k = &ctx.config.kubelet;
    if k.healthz_port == 0 {
        return Ok(None);
    }
    let at = format!("{}:{}", k.healthz_bind_address, k.healthz_port);
    TcpListener::bind(&at).await.map(Some).map_err(|source| StartError::Io { what: format!("listen on {at}"), source })
}

/// Serves until dropped.
pub async fn run(listener: TcpListener) {
    health::serve(listener, None, HEALTHY).await;
}
