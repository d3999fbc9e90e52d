//! The ports of health that stock components have: `/healthz`, `/livez`, `/readyz`, to anybody.

use clap::Args;
use pki::{Authority, Identity, Pair};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

const HEALTHY: &[&str] = &["/healthz", "/livez", "/readyz"];

/// Where a component tells about its health over HTTPS.
#[derive(Args)]
pub struct Secure {
    /// Address of the port for health.
    #[arg(long, default_value_t = IpAddr::V4(Ipv4Addr::UNSPECIFIED))]
    bind_address: IpAddr,
    /// Port for health; 0 for none [default: upstream's of this component].
    #[arg(long)]
    secure_port: Option<u16>,
    /// Certificate that the port shows [default: one of its own making].
    #[arg(long, requires = "tls_private_key_file")]
    tls_cert_file: Option<PathBuf>,
    /// Key of that.
    #[arg(long, requires = "tls_cert_file")]
    tls_private_key_file: Option<PathBuf>,
}

impl Secure {
    /// Serves in the background, on `port` unless told otherwise.
    pub async fn serve(&self, port: u16) -> Result<(), String> {
        let port = self.secure_port.unwrap_or(port);
        if port == 0 {
            return Ok(());
        }
        let pair = match (&self.tls_cert_file, &self.tls_private_key_file) {
            (Some(cert), Some(key)) => Pair::read(cert, key),
            _ => self_signed(self.bind_address),
        };
        let tls = pair.and_then(|p| pki::tls::server_config(&p, &[])).map_err(|e| e.to_string())?;
        let listener = listen((self.bind_address, port).into()).await?;
        tokio::spawn(health::serve(listener, Some(TlsAcceptor::from(Arc::new(tls))), HEALTHY));
        Ok(())
    }
}

/// A certificate for a port that was given none.
pub fn self_signed(address: IpAddr) -> pki::Result<Pair> {
    let host = crate::settings::host_name();
    let identity = Identity::server(&host, &[host.clone(), "localhost".into()], &[address, Ipv4Addr::LOCALHOST.into()]);
    Authority::issue_alone(&identity)
}

async fn listen(address: SocketAddr) -> Result<TcpListener, String> {
    TcpListener::bind(address).await.map_err(|e| format!("cannot listen on {address}: {e}"))
}

/// Serves health over plain HTTP in the background.
pub async fn plain(address: SocketAddr) -> Result<(), String> {
    tokio::spawn(health::serve(listen(address).await?, None, HEALTHY));
    Ok(())
}
