//! Everything a single-node cluster needs to trust itself, in one directory as kubeadm names it. What is there is kept; what is
//! missing is made; certificates near their end, or without a name they need, are renewed.

use crate::authority::{Identity, LEAF_LIFETIME, not_after};
use crate::kubeconfig::Kubeconfig;
use crate::{Authority, Error, Pair, Result, SigningKey, files};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// Renew when less than this is left.
const RENEW_BEFORE: Duration = Duration::from_secs(60 * 24 * 60 * 60);

/// What the certificates must say.
#[derive(Clone, Debug)]
pub struct ClusterSpec {
    pub node_name: String,
    /// Addresses of the node; the API server is reached by each.
    pub node_ips: Vec<IpAddr>,
    /// First address of the service range: `kubernetes.default`.
    pub service_ips: Vec<IpAddr>,
    pub dns_domain: String,
    /// More names of the API server.
    pub extra_names: Vec<String>,
    /// `https://127.0.0.1:6443`, for the kubeconfigs.
    pub server_url: String,
}

/// The files of a cluster and what was read from them.
pub struct ClusterPki {
    pub dir: PathBuf,
    pub ca: Authority,
    pub front_proxy_ca: Authority,
    pub api_server: Pair,
    /// How the API server shows itself to kubelets.
    pub kubelet_client: Pair,
    /// How it shows itself to aggregated API servers.
    pub front_proxy_client: Pair,
    /// The kubelet's serving certificate.
    pub kubelet_server: Pair,
    pub service_account: SigningKey,
    pub admin: Pair,
    pub controller_manager: Pair,
    pub scheduler: Pair,
    pub kubelet: Pair,
    pub kube_proxy: Pair,
}

impl ClusterPki {
    /// Makes what is missing in `dir`, keeps the rest; idempotent. Kubeconfigs (`admin.conf`, …) are rewritten when their content
    /// changes.
    pub fn ensure(dir: &Path, spec: &ClusterSpec) -> Result<Self> {
        files::ensure_dir(dir)?;
        let at = |name: &str, ext: &str| dir.join(format!("{name}.{ext}"));
        let ca = Authority::ensure(&at("ca", "crt"), &at("ca", "key"), "kubernetes")?;
        let front_proxy_ca = Authority::ensure(&at("front-proxy-ca", "crt"), &at("front-proxy-ca", "key"), "front-proxy-ca")?;
        let leaf = |ca: &Authority, file: &str, id: Identity| ensure_leaf(ca, &at(file, "crt"), &at(file, "key"), &id);

        let node_user = format!("system:node:{}", spec.node_name);
        let mut node_ips = spec.node_ips.clone();
        node_ips.push(IpAddr::from([127, 0, 0, 1]));
        node_ips.push(IpAddr::from(std::net::Ipv6Addr::LOCALHOST));
        let node_names = [spec.node_name.clone(), "localhost".into()];

        let pki = Self {
            api_server: leaf(&ca, "apiserver", api_server(spec))?,
            kubelet_client: leaf(
                &ca,
                "apiserver-kubelet-client",
                Identity::client("kube-apiserver-kubelet-client", &["system:masters"]),
            )?,
            front_proxy_client: leaf(&front_proxy_ca, "front-proxy-client", Identity::client("front-proxy-client", &[]))?,
            kubelet_server: leaf(
                &ca,
                "kubelet",
                Identity::server(&node_user, &node_names, &node_ips).with_organization("system:nodes"),
            )?,
            service_account: SigningKey::ensure(&at("sa", "key"), &at("sa", "pub"))?,
            admin: leaf(&ca, "admin", Identity::client("kubernetes-admin", &["system:masters"]))?,
            controller_manager: leaf(&ca, "controller-manager", Identity::client("system:kube-controller-manager", &[]))?,
            scheduler: leaf(&ca, "scheduler", Identity::client("system:kube-scheduler", &[]))?,
            kubelet: leaf(&ca, "kubelet-client", Identity::client(&node_user, &["system:nodes"]))?,
            kube_proxy: leaf(&ca, "kube-proxy", Identity::client("system:kube-proxy", &[]))?,
            ca,
            front_proxy_ca,
            dir: dir.to_owned(),
        };
        for (name, client) in [
            ("admin", &pki.admin),
            ("controller-manager", &pki.controller_manager),
            ("scheduler", &pki.scheduler),
            ("kubelet", &pki.kubelet),
            ("kube-proxy", &pki.kube_proxy),
        ] {
            let path = at(name, "conf");
            Kubeconfig::new("skiff", &spec.server_url, pki.ca.cert_pem(), client).write(&path)?;
        }
        Ok(pki)
    }

    /// Path of a file of the cluster: `ca.crt`, `admin.conf`, ….
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// The administrator's kubeconfig entry, to merge into a person's file.
    pub fn admin_kubeconfig(&self, name: &str, server_url: &str) -> Kubeconfig {
        Kubeconfig::new(name, server_url, self.ca.cert_pem(), &self.admin)
    }
}

fn api_server(spec: &ClusterSpec) -> Identity {
    let mut names: Vec<String> =
        ["localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc"].iter().map(|s| (*s).to_owned()).collect();
    names.push(format!("kubernetes.default.svc.{}", spec.dns_domain));
    names.push(spec.node_name.clone());
    let mut ips = vec![IpAddr::from([127, 0, 0, 1]), IpAddr::from(std::net::Ipv6Addr::LOCALHOST)];
    ips.extend(&spec.service_ips);
    ips.extend(&spec.node_ips);
    for extra in &spec.extra_names {
        match extra.parse() {
            Ok(ip) => ips.push(ip),
            Err(_) => names.push(extra.clone()),
        }
    }
    Identity::server("kube-apiserver", &names, &ips)
}

fn ensure_leaf(ca: &Authority, cert: &Path, key: &Path, id: &Identity) -> Result<Pair> {
    if cert.exists() && key.exists() {
        let pair = Pair::read(cert, key)?;
        if still_good(&pair, ca, id).map_err(|e| Error::content(cert, e))? {
            return Ok(pair);
        }
    }
    let pair = ca.issue(id, LEAF_LIFETIME)?;
    pair.write(cert, key)?;
    Ok(pair)
}

/// Signed by this authority, far from its end, of this user and with every name that is needed.
fn still_good(pair: &Pair, ca: &Authority, id: &Identity) -> Result<bool> {
    let soon = SystemTime::now() + RENEW_BEFORE;
    let soon = soon.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |d| d.as_secs());
    // Nothing outlives its authority, so near the authority's end there is nothing to gain.
    if not_after(&pair.cert)? < i64::try_from(soon).unwrap_or(i64::MAX).min(not_after(ca.cert_pem())?) {
        return Ok(false);
    }
    let (der, ca_der) = (pair.certificates()?.remove(0), ca.pair().certificates()?.remove(0));
    let bad = |e| Error::Invalid(format!("malformed certificate: {e}"));
    let (_, leaf) = x509_parser::parse_x509_certificate(&der).map_err(bad)?;
    let (_, issuer) = x509_parser::parse_x509_certificate(&ca_der).map_err(bad)?;
    if leaf.verify_signature(Some(issuer.public_key())).is_err() {
        return Ok(false);
    }
    pair.is_for(id)
}
