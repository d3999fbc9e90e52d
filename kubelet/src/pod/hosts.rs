//! The pod's name inside itself: hostname, domain and the managed /etc/hosts.

use super::spec::{host_network, spec};
use crate::context::Context;
use k8s_openapi::api::core::v1::{HostAlias, Pod};
use std::path::{Path, PathBuf};

/// Hostname and domain (empty without a subdomain) of a pod.
pub fn names(pod: &Pod, cluster_domain: &str) -> (String, String) {
    let s = spec(pod);
    if let Some(name) = s.hostname_override.as_ref().filter(|n| !n.is_empty()) {
        return (name.clone(), String::new());
    }
    let name = pod.metadata.name.as_deref().unwrap_or("");
    let hostname = match s.hostname.as_deref().filter(|h| !h.is_empty()) {
        Some(h) => h.to_owned(),
        // A label is at most 63 long and ends in an alphanumeric.
        None => name.chars().take(63).collect::<String>().trim_end_matches(['-', '.']).to_owned(),
    };
    let domain = match s.subdomain.as_deref().filter(|d| !d.is_empty()) {
        Some(d) => format!("{d}.{}.svc.{cluster_domain}", pod.metadata.namespace.as_deref().unwrap_or("")),
        None => String::new(),
    };
    (hostname, domain)
}

/// The hostname the sandbox gets: the FQDN where the pod asks for that.
pub fn kernel_hostname(pod: &Pod, cluster_domain: &str) -> Result<String, String> {
    let (hostname, domain) = names(pod, cluster_domain);
    if spec(pod).set_hostname_as_fqdn != Some(true) || domain.is_empty() {
        return Ok(hostname);
    }
    let fqdn = format!("{hostname}.{domain}");
    if fqdn.len() > 64 {
        return Err(format!(
            "failed to construct FQDN from pod hostname and cluster domain, FQDN {fqdn} is too long (64 is the max characters allowed)"
        ));
    }
    Ok(fqdn)
}

/// Writes the pod's hosts file, once its addresses are known.
pub fn write(ctx: &Context, pod: &Pod, ips: &[String]) -> std::io::Result<PathBuf> {
    let path = ctx.config.pod_dir(pod.metadata.uid.as_deref().unwrap_or("")).join("etc-hosts");
    let (hostname, domain) = names(pod, &ctx.config.kubelet.cluster_domain);
    let aliases = spec(pod).host_aliases.as_deref().unwrap_or_default();
    let text = if host_network(pod) {
        let own = std::fs::read_to_string("/etc/hosts").unwrap_or_default();
        format!("# Kubernetes-managed hosts file (host network).\n{own}")
    } else {
        managed(&hostname, &domain, ips)
    };
    write_file(&path, &format!("{text}{}", alias_lines(aliases)))?;
    Ok(path)
}

fn managed(hostname: &str, domain: &str, ips: &[String]) -> String {
    let mut out = String::from("# Kubernetes-managed hosts file.\n");
    for (ip, names) in [
        ("127.0.0.1", "localhost"),
        ("::1", "localhost ip6-localhost ip6-loopback"),
        ("fe00::", "ip6-localnet"),
        ("fe00::", "ip6-mcastprefix"),
        ("fe00::1", "ip6-allnodes"),
        ("fe00::2", "ip6-allrouters"),
    ] {
        out.push_str(&format!("{ip}\t{names}\n"));
    }
    for ip in ips {
        let fqdn = if domain.is_empty() { String::new() } else { format!("{hostname}.{domain}\t") };
        out.push_str(&format!("{ip}\t{fqdn}{hostname}\n"));
    }
    out
}

fn alias_lines(aliases: &[HostAlias]) -> String {
    if aliases.is_empty() {
        return String::new();
    }
    let mut out = String::from("\n# Entries added by HostAliases.\n");
    for a in aliases {
        out.push_str(&format!("{}\t{}\n", a.ip, a.hostnames.as_deref().unwrap_or_default().join("\t")));
    }
    out
}

/// Written in place: containers have the inode mounted.
fn write_file(path: &Path, text: &str) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    std::fs::write(path, text)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o644))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content() {
        let text = managed("web-0", "web.ns.svc.cluster.local", &["10.0.0.5".into()]);
        assert!(text.starts_with("# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n"));
        assert!(text.ends_with("10.0.0.5\tweb-0.web.ns.svc.cluster.local\tweb-0\n"));
        let alias = HostAlias { ip: "1.2.3.4".into(), hostnames: Some(vec!["a".into(), "b".into()]) };
        assert_eq!(alias_lines(&[alias]), "\n# Entries added by HostAliases.\n1.2.3.4\ta\tb\n");
    }
}
