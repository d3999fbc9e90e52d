//! What a cluster's directory promises: made once, kept, private, and good for TLS; kubeconfigs merged without loss.

use pki::kubeconfig::{Kubeconfig, remove_from};
use pki::tls::ClientVerifier;
use pki::{Authority, ClusterPki, ClusterSpec, Identity, SigningKey, VerifyingKey, csr};
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::time::Duration;

fn spec() -> ClusterSpec {
    ClusterSpec {
        node_name: "node-1".into(),
        node_ips: vec!["192.0.2.7".parse().unwrap()],
        service_ips: vec!["10.96.0.1".parse().unwrap()],
        dns_domain: "cluster.local".into(),
        extra_names: vec!["192.0.2.8".into(), "api.example".into()],
        server_url: "https://127.0.0.1:6443".into(),
    }
}

fn handshake(server: rustls::ServerConfig, client: rustls::ClientConfig, name: &str) -> Result<usize, rustls::Error> {
    let mut c = rustls::ClientConnection::new(Arc::new(client), name.to_owned().try_into().unwrap())?;
    let mut s = rustls::ServerConnection::new(Arc::new(server))?;
    while c.is_handshaking() || s.is_handshaking() {
        let mut buf = Vec::new();
        c.write_tls(&mut buf).unwrap();
        s.read_tls(&mut &buf[..]).unwrap();
        s.process_new_packets()?;
        let mut buf = Vec::new();
        s.write_tls(&mut buf).unwrap();
        c.read_tls(&mut &buf[..]).unwrap();
        c.process_new_packets()?;
    }
    Ok(s.peer_certificates().map_or(0, <[_]>::len))
}

#[test]
fn ensure_is_idempotent_and_private() {
    let dir = tempfile::tempdir().unwrap();
    let first = ClusterPki::ensure(dir.path(), &spec()).unwrap();
    let second = ClusterPki::ensure(dir.path(), &spec()).unwrap();
    assert_eq!(first.ca.cert_pem(), second.ca.cert_pem());
    assert_eq!(first.api_server.cert, second.api_server.cert);
    assert_eq!(first.service_account.public.key_id, second.service_account.public.key_id);
    let public = VerifyingKey::read_all(&first.path("sa.pub")).unwrap();
    assert_eq!(public[0].key_id, first.service_account.public.key_id);
    for entry in std::fs::read_dir(dir.path()).unwrap() {
        let path = entry.unwrap().path();
        let private = path.extension().is_some_and(|e| e == "key" || e == "conf");
        let mode = path.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, if private { 0o600 } else { 0o644 }, "{}", path.display());
    }
    let mut renamed = spec();
    renamed.node_ips.push("192.0.2.99".parse().unwrap());
    let third = ClusterPki::ensure(dir.path(), &renamed).unwrap();
    assert_ne!(first.api_server.cert, third.api_server.cert, "a new address needs a new certificate");
    assert_eq!(first.admin.cert, third.admin.cert);
}

#[test]
fn token_keys_are_found_in_whatever_pem_there_is() {
    let dir = tempfile::tempdir().unwrap();
    let p = ClusterPki::ensure(dir.path(), &spec()).unwrap();
    let key = |pem: &str| VerifyingKey::all_from_pem(pem).unwrap().into_iter().map(|k| k.key_id).collect::<Vec<_>>();
    let private = key(&p.admin.key);
    assert_eq!(private.len(), 1);
    assert_eq!(key(&p.admin.cert)[0], private[0], "a certificate, as envtest has it");
    let public = std::fs::read_to_string(p.path("sa.pub")).unwrap();
    assert_eq!(key(&format!("{public}\n{}", p.admin.cert)).len(), 1 + key(&p.admin.cert).len(), "several in one file");
}

#[test]
fn tls_offers_and_judges_client_certificates() {
    let dir = tempfile::tempdir().unwrap();
    let p = ClusterPki::ensure(dir.path(), &spec()).unwrap();
    let ca = p.ca.cert_pem();
    let server = || pki::tls::server_config(&p.api_server, &[ca, p.front_proxy_ca.cert_pem()]).unwrap();
    for name in ["kubernetes.default.svc.cluster.local", "127.0.0.1", "10.96.0.1", "192.0.2.8", "api.example", "node-1"] {
        assert_eq!(handshake(server(), pki::tls::client_config(ca, Some(&p.admin)).unwrap(), name).unwrap(), 1, "{name}");
    }
    assert_eq!(handshake(server(), pki::tls::client_config(ca, None).unwrap(), "localhost").unwrap(), 0);
    assert!(handshake(server(), pki::tls::client_config(ca, None).unwrap(), "other.example").is_err());
    let stranger = Authority::generate("other").unwrap().issue(&Identity::client("x", &[]), Duration::from_secs(600)).unwrap();
    assert_eq!(handshake(server(), pki::tls::client_config(ca, Some(&stranger)).unwrap(), "localhost").unwrap(), 1);
    let judge = ClientVerifier::new(ca).unwrap();
    judge.verify(&p.admin.certificates().unwrap()).unwrap();
    assert!(judge.verify(&stranger.certificates().unwrap()).is_err(), "another authority");
    assert!(judge.verify(&p.front_proxy_client.certificates().unwrap()).is_err(), "the front proxy's authority");
    assert!(judge.verify(&p.api_server.certificates().unwrap()).is_err(), "not for clients");
}

#[test]
fn kubeconfig_merge_keeps_the_rest() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(".kube/config");
    std::fs::create_dir(dir.path().join(".kube")).unwrap();
    let theirs = "apiVersion: v1\nkind: Config\ncurrent-context: work\nclusters:\n- name: work\n  cluster:\n    server: https://w\n    \
                  insecure-skip-tls-verify: true\nusers:\n- name: me\n  user:\n    exec:\n      command: login\n      args: [\"0123\", \
                  \"yes\"]\ncontexts:\n- name: work\n  context: {cluster: work, user: me, namespace: dev}\nextensions: []\n";
    std::fs::write(&path, theirs).unwrap();
    let ca = Authority::generate("ca").unwrap();
    let client = ca.issue(&Identity::client("admin", &[]), Duration::from_secs(600)).unwrap();
    let k = Kubeconfig::new("skiff", "https://127.0.0.1:6443", ca.cert_pem(), &client);
    k.merge_into(&path).unwrap();
    k.merge_into(&path).unwrap();
    let read = || -> serde_json::Value { serde_saphyr::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap() };
    let v = read();
    assert_eq!(v["current-context"], "skiff");
    assert_eq!(v["clusters"].as_array().unwrap().len(), 2);
    assert_eq!(v["users"][0]["user"]["exec"]["args"], serde_json::json!(["0123", "yes"]));
    assert_eq!(v["contexts"][0]["context"]["namespace"], "dev");
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    assert!(remove_from(&path, "skiff").unwrap());
    assert!(!remove_from(&path, "skiff").unwrap());
    let mut expected: serde_json::Value = serde_saphyr::from_str(theirs).unwrap();
    expected["current-context"] = "".into();
    assert_eq!(read(), expected);
    std::fs::write(&path, "just text").unwrap();
    assert!(k.merge_into(&path).is_err());
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "just text", "what is no kubeconfig is left alone");
}

#[test]
fn signing_requests() {
    let ca = Authority::generate("ca").unwrap();
    let request = |cn: &str, o: &str, dns: &[&str]| {
        let mut p = rcgen::CertificateParams::new(dns.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>()).unwrap();
        p.distinguished_name = rcgen::DistinguishedName::new();
        p.distinguished_name.push(rcgen::DnType::OrganizationName, o);
        p.distinguished_name.push(rcgen::DnType::CommonName, cn);
        p.serialize_request(&rcgen::KeyPair::generate().unwrap()).unwrap().pem().unwrap()
    };
    let client: Vec<String> = vec!["client auth".into(), "digital signature".into()];
    let serving: Vec<String> = vec!["server auth".into(), "digital signature".into()];
    let cases = [
        ("kubelet client", csr::KUBE_APISERVER_CLIENT_KUBELET, "system:node:a", "system:nodes", &[][..], &client, None),
        (
            "not a node",
            csr::KUBE_APISERVER_CLIENT_KUBELET,
            "system:node:a",
            "x",
            &[],
            &client,
            Some("subject organization is not system:nodes"),
        ),
        (
            "names",
            csr::KUBE_APISERVER_CLIENT_KUBELET,
            "system:node:a",
            "system:nodes",
            &["a"],
            &client,
            Some("DNS subjectAltNames are not allowed"),
        ),
        ("serving", csr::KUBELET_SERVING, "system:node:a", "system:nodes", &["a"], &serving, None),
        (
            "serving without names",
            csr::KUBELET_SERVING,
            "system:node:a",
            "system:nodes",
            &[],
            &serving,
            Some("DNS or IP subjectAltName is required"),
        ),
        ("a person", csr::KUBE_APISERVER_CLIENT, "jane", "dev", &[], &client, None),
    ];
    for (case, signer, cn, o, dns, usages, refusal) in cases {
        let r = csr::Request::parse(request(cn, o, dns).as_bytes()).unwrap();
        assert_eq!(r.refusal(signer, usages).as_deref(), refusal, "{case}");
        let cert = r.sign(&ca, usages, Duration::from_secs(600)).unwrap();
        let der = pki::authority::certificates(&cert).unwrap();
        let ok = ClientVerifier::new(ca.cert_pem()).unwrap().verify(&der).is_ok();
        assert_eq!(ok, usages == &client, "{case}");
    }
    assert!(csr::Request::parse(b"-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n").is_err());
}

#[test]
fn rsa_service_account_keys_are_read() {
    let pem = rcgen::KeyPair::generate_for(&rcgen::PKCS_RSA_SHA256).unwrap().serialize_pem();
    let k = SigningKey::from_pem(&pem).unwrap();
    assert_eq!(k.public.jwk["alg"], "RS256");
    assert_eq!(k.public.jwk["e"], "AQAB");
    assert!(SigningKey::from_pem("nothing").is_err());
}
