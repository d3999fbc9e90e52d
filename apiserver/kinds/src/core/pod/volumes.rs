//! `spec.volumes` of a pod, and the volume sources that persistent volumes share.

use super::Options;
use crate::at::At;
use crate::{check, names, selectors};
use machinery::field::{Error, ErrorList};
use std::net::SocketAddr;

pub const FILE_MODE: &str = "must be a number between 0 and 0777 (octal), both inclusive";

/// Sources in the order in which upstream looks at them, each with its rule.
type Rule = fn(At, &mut ErrorList);
pub const SOURCES: [(&str, Rule); 28] = [
    ("emptyDir", empty_dir),
    ("hostPath", host_path),
    ("gitRepo", git_repo),
    ("gcePersistentDisk", gce),
    ("awsElasticBlockStore", aws),
    ("secret", secret),
    ("nfs", nfs),
    ("iscsi", iscsi),
    ("glusterfs", |s, e| need_all(s, e, &["endpoints", "path"])),
    ("persistentVolumeClaim", |s, e| need_all(s, e, &["claimName"])),
    ("rbd", rbd),
    ("cinder", cinder),
    ("cephfs", |s, e| need_all(s, e, &["monitors"])),
    ("flocker", flocker),
    ("quobyte", quobyte),
    ("downwardAPI", downward_api),
    ("fc", fibre_channel),
    ("flexVolume", flex),
    ("configMap", config_map),
    ("azureFile", |s, e| need_all(s, e, &["secretName", "shareName"])),
    ("vsphereVolume", |s, e| need_all(s, e, &["volumePath"])),
    ("photonPersistentDisk", |s, e| need_all(s, e, &["pdID"])),
    ("portworxVolume", |s, e| need_all(s, e, &["volumeID"])),
    ("azureDisk", azure_disk),
    ("storageos", storage_os),
    ("projected", projected),
    ("scaleIO", |s, e| need_all(s, e, &["gateway", "system", "volumeName"])),
    ("csi", csi),
];

/// Each of these fields must be there.
pub fn need_all(at: At, e: &mut ErrorList, fields: &'static [&'static str]) {
    for f in fields {
        at.get(f).need(e, "");
    }
}

/// Validates the volumes; returns the names of those that are fine.
pub fn volumes<'a>(at: At<'a>, e: &mut ErrorList, o: &Options) -> Vec<(&'a str, At<'a>)> {
    let mut good: Vec<(&str, At)> = Vec::new();
    let created: Vec<String> = if o.pod_name.is_empty() {
        Vec::new()
    } else {
        at.items().filter(|v| v.has("ephemeral")).map(|v| format!("{}-{}", o.pod_name, v.get("name").str())).collect()
    };
    for v in at.items() {
        let before = e.len();
        source(v, e, o);
        let name = v.get("name");
        name.need_check(e, check::dns1123_label);
        if good.iter().any(|(n, _)| *n == name.str()) {
            name.duplicate(e);
        }
        if e.len() == before {
            good.push((name.str(), v));
        }
        let claim = v.at(&["persistentVolumeClaim", "claimName"]);
        if created.iter().any(|c| c == claim.str()) {
            claim.invalid(e, "must not reference a PVC that gets created for an ephemeral volume");
        }
    }
    good
}

fn source(v: At, e: &mut ErrorList, o: &Options) {
    let mut found = false;
    let mut one = |name: &'static str, e: &mut ErrorList| {
        let here = v.get(name);
        if !here.present() {
            return None;
        }
        if std::mem::replace(&mut found, true) {
            here.forbidden(e, "may not specify more than 1 volume type");
            return None;
        }
        Some(here)
    };
    for (name, rule) in SOURCES {
        if let Some(s) = one(name, e) {
            rule(s, e);
        }
    }
    if let Some(s) = one("ephemeral", e) {
        ephemeral(s, e);
        let name = v.get("name").str();
        if !o.pod_name.is_empty() && !name.is_empty() {
            let claim = format!("{}-{name}", o.pod_name);
            for m in check::dns1123_subdomain(&claim) {
                v.get("name").invalid_value(e, name, format!("PVC name {claim:?}: {m}"));
            }
        }
    }
    if let Some(s) = one("image", e) {
        if o.is_pod {
            s.get("reference").need(e, "");
        }
        s.get("pullPolicy").need_one_of(e, &super::containers::PULL_POLICIES);
    }
    if !found {
        v.required(e, "must specify a volume type");
    }
}

fn empty_dir(s: At, e: &mut ErrorList) {
    let limit = s.get("sizeLimit");
    if crate::resources::is_negative(limit.v) {
        limit.forbidden(e, "SizeLimit field must be a valid resource quantity");
    }
}

fn mode(at: At, e: &mut ErrorList) {
    if at.opt_int().is_some_and(|m| !(0..=0o777).contains(&m)) {
        at.invalid(e, FILE_MODE);
    }
}

pub fn no_backsteps(at: At, e: &mut ErrorList) {
    if at.str().split('/').any(|p| p == "..") {
        at.invalid(e, "must not contain '..'");
    }
}

/// A relative path without `..`.
pub fn local_descending(at: At, e: &mut ErrorList) {
    if at.str().starts_with('/') {
        at.invalid(e, "must be a relative path");
    }
    no_backsteps(at, e);
}

/// The same, and no name that starts with `..`, which the kubelet's atomic writer reserves.
pub fn local_non_reserved(at: At, e: &mut ErrorList) {
    local_descending(at, e);
    if at.str().starts_with("..") && !at.str().starts_with("../") && at.str() != ".." {
        at.invalid(e, "must not start with '..'");
    }
}

pub fn host_path(s: At, e: &mut ErrorList) {
    let path = s.get("path");
    if !path.need(e, "") {
        return;
    }
    no_backsteps(path, e);
    const TYPES: [&str; 8] =
        ["", "DirectoryOrCreate", "Directory", "FileOrCreate", "File", "Socket", "CharDevice", "BlockDevice"];
    if s.has("type") {
        s.get("type").one_of(e, &TYPES);
    }
}

fn git_repo(s: At, e: &mut ErrorList) {
    s.get("repository").need(e, "");
    local_descending(s.get("directory"), e);
}

fn disk(s: At, e: &mut ErrorList, id: &'static str) {
    s.get(id).need(e, "");
    s.get("partition").in_range(e, 0, 255);
}
pub fn gce(s: At, e: &mut ErrorList) {
    disk(s, e, "pdName");
}
pub fn aws(s: At, e: &mut ErrorList) {
    disk(s, e, "volumeID");
}

fn key_to_path(k: At, e: &mut ErrorList) {
    k.get("key").need(e, "");
    k.get("path").need(e, "");
    local_non_reserved(k.get("path"), e);
    mode(k.get("mode"), e);
}

fn keyed_source(s: At, e: &mut ErrorList, name: &'static str) {
    s.get(name).need(e, "");
    mode(s.get("defaultMode"), e);
    for k in s.get("items").items() {
        key_to_path(k, e);
    }
}
fn secret(s: At, e: &mut ErrorList) {
    keyed_source(s, e, "secretName");
}
fn config_map(s: At, e: &mut ErrorList) {
    keyed_source(s, e, "name");
}

pub fn nfs(s: At, e: &mut ErrorList) {
    need_all(s, e, &["server", "path"]);
    if !s.get("path").str().starts_with('/') {
        s.get("path").invalid_str(e, "must be an absolute path");
    }
}

fn valid_iqn(s: &str) -> bool {
    let alnum = |s: &str, n: usize| s.len() == n && s.bytes().all(|c| c.is_ascii_alphanumeric());
    match s.get(..4) {
        Some("eui.") => alnum(&s[4..], 16),
        Some("naa.") => alnum(&s[4..], 32),
        Some("iqn.") => s[4..].split_once(':').is_some_and(|(head, tail)| {
            let b = head.as_bytes();
            b.len() > 8
                && b.iter().take(7).enumerate().all(|(i, c)| if i == 4 { *c == b'-' } else { c.is_ascii_digit() })
                && b.get(7) == Some(&b'.')
                && !tail.is_empty()
                && !tail.contains(|c: char| ",;*&$|".contains(c) || c.is_whitespace())
        }),
        _ => false,
    }
}

pub fn iscsi(s: At, e: &mut ErrorList) {
    s.get("targetPortal").need(e, "");
    let known = |v: &str| ["iqn", "eui", "naa"].iter().any(|p| v.starts_with(p));
    let check_iqn = |at: At, e: &mut ErrorList| {
        if !known(at.str()) {
            at.invalid(e, "must be valid format starting with iqn, eui, or naa");
        } else if !valid_iqn(at.str()) {
            at.invalid(e, "must be valid format");
        }
    };
    let iqn = s.get("iqn");
    if iqn.need(e, "") {
        check_iqn(iqn, e);
    }
    s.get("lun").in_range(e, 0, 255);
    if (s.get("chapAuthDiscovery").bool() || s.get("chapAuthSession").bool()) && !s.has("secretRef") {
        s.get("secretRef").required(e, "");
    }
    if let Some(initiator) = s.get("initiatorName").some() {
        check_iqn(initiator, e);
    }
}

pub fn rbd(s: At, e: &mut ErrorList) {
    need_all(s, e, &["monitors", "image"]);
}

pub fn cinder(s: At, e: &mut ErrorList) {
    s.get("volumeID").need(e, "");
    if s.has("secretRef") {
        s.at(&["secretRef", "name"]).need(e, "");
    }
}

fn flocker(s: At, e: &mut ErrorList) {
    let (name, uuid) = (s.get("datasetName"), s.get("datasetUUID"));
    if name.is_empty() && uuid.is_empty() {
        s.required(e, "one of datasetName and datasetUUID is required");
    }
    if !name.is_empty() && !uuid.is_empty() {
        s.invalid_value(e, "resource", "datasetName and datasetUUID can not be specified simultaneously");
    }
    if name.str().contains('/') {
        name.invalid(e, "must not contain '/'");
    }
}

fn quobyte(s: At, e: &mut ErrorList) {
    const PAIRS: &str = "must be a host:port pair or multiple pairs separated by commas";
    let registry = s.get("registry");
    if registry.is_empty() {
        registry.required(e, PAIRS);
    } else if s.get("tenant").len() >= 65 {
        s.get("tenant").required(e, "must be a UUID and may not exceed a length of 64 characters");
    } else {
        for pair in registry.str().split(',') {
            if pair.parse::<SocketAddr>().is_err() && pair.split(':').count() != 2 {
                registry.invalid(e, PAIRS);
            }
        }
    }
    s.get("volume").need(e, "");
}

/// `metadata.labels['x']`: the path and its subscript.
fn split_subscript(path: &str) -> (&str, Option<&str>) {
    path.strip_suffix("']")
        .and_then(|p| p.split_once("['"))
        .filter(|(p, _)| !p.is_empty())
        .map_or((path, None), |(p, s)| (p, Some(s)))
}

const DOWNWARD_LABELS: [&str; 13] = [
    "metadata.annotations",
    "metadata.labels",
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.restartPolicy",
    "spec.serviceAccountName",
    "spec.schedulerName",
    "status.phase",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
];

/// A `fieldRef`, which may name one of `allowed`.
pub fn field_ref(at: At, e: &mut ErrorList, allowed: &[&str]) {
    let path = at.get("fieldPath");
    if !at.get("apiVersion").need(e, "") || !path.need(e, "") {
        return;
    }
    if at.get("apiVersion").str() != "v1" {
        return path.invalid(e, format!("error converting fieldPath: unsupported pod version: {}", at.get("apiVersion").str()));
    }
    match split_subscript(path.str()) {
        ("metadata.annotations", Some(key)) => {
            let key = key.to_lowercase();
            at.messages_for(e, &key, check::qualified_name(&key));
        }
        ("metadata.labels", Some(key)) => at.messages_for(e, key, check::qualified_name(key)),
        (p, Some(_)) => path.invalid(e, format!("error converting fieldPath: field label does not support subscript: {p}")),
        (p, None) => {
            let p = if p == "spec.host" { "spec.nodeName" } else { p };
            if !DOWNWARD_LABELS.contains(&p) && p != "status.podIPs" {
                path.invalid(e, format!("error converting fieldPath: field label not supported: {p}"));
            } else if !allowed.contains(&p) {
                e.push(Error::not_supported(&path.path(), p, allowed));
            }
        }
    }
}

const RESOURCE_FIELDS: [&str; 6] =
    ["limits.cpu", "limits.memory", "limits.ephemeral-storage", "requests.cpu", "requests.memory", "requests.ephemeral-storage"];
const BYTE_DIVISORS: [&str; 13] = ["1", "1k", "1M", "1G", "1T", "1P", "1E", "1Ki", "1Mi", "1Gi", "1Ti", "1Pi", "1Ei"];

/// A `resourceFieldRef`; a volume must say which container it means.
pub fn resource_field_ref(at: At, e: &mut ErrorList, volume: bool) {
    let resource = at.get("resource");
    let name = resource.str();
    let huge = name.starts_with("requests.hugepages-") || name.starts_with("limits.hugepages-");
    if volume && at.get("containerName").is_empty() {
        at.get("containerName").required(e, "");
    } else if resource.need(e, "") && !RESOURCE_FIELDS.contains(&name) && !huge {
        resource.not_supported(e, &RESOURCE_FIELDS);
    }
    let divisor = at.get("divisor");
    if crate::resources::is_zero(divisor.v) {
        return;
    }
    let bytes = "only divisor's values 1, 1k, 1M, 1G, 1T, 1P, 1E, 1Ki, 1Mi, 1Gi, 1Ti, 1Pi, 1Ei are supported with the";
    let (ok, detail) = match name.split_once('.').map_or("", |(_, r)| r) {
        "cpu" => (
            ["1m", "1"].contains(&divisor.str()),
            "only divisor's values 1m and 1 are supported with the cpu resource".to_owned(),
        ),
        "memory" => (BYTE_DIVISORS.contains(&divisor.str()), format!("{bytes} memory resource")),
        "ephemeral-storage" => (BYTE_DIVISORS.contains(&divisor.str()), format!("{bytes} local ephemeral storage resource")),
        _ if huge => (BYTE_DIVISORS.contains(&divisor.str()), format!("{bytes} hugepages resource")),
        _ => (true, String::new()),
    };
    if !ok {
        divisor.invalid_value(e, name, detail);
    }
}

fn downward_file(f: At, report: At, e: &mut ErrorList) {
    let at = |name: &'static str| report.get(name).with(f.get(name).v);
    at("path").need(e, "");
    local_non_reserved(at("path"), e);
    if f.has("fieldRef") {
        field_ref(
            at("fieldRef"),
            e,
            &["metadata.name", "metadata.namespace", "metadata.labels", "metadata.annotations", "metadata.uid"],
        );
        if f.has("resourceFieldRef") {
            report.invalid_value(e, "resource", "fieldRef and resourceFieldRef can not be specified simultaneously");
        }
    } else if f.has("resourceFieldRef") {
        resource_field_ref(at("resourceFieldRef"), e, true);
    } else {
        report.required(e, "one of fieldRef and resourceFieldRef is required");
    }
    mode(at("mode"), e);
}

fn downward_api(s: At, e: &mut ErrorList) {
    mode(s.get("defaultMode"), e);
    for f in s.get("items").items() {
        // Upstream reports at the volume, not at the item.
        downward_file(f, s, e);
    }
}

fn fibre_channel(s: At, e: &mut ErrorList) {
    let (wwns, ids) = (s.get("targetWWNs"), s.get("wwids"));
    if wwns.is_empty() && ids.is_empty() {
        wwns.required(e, "must specify either targetWWNs or wwids, but not both");
    }
    if !wwns.is_empty() && !ids.is_empty() {
        wwns.invalid(e, "targetWWNs and wwids can not be specified simultaneously");
    }
    if !wwns.is_empty() {
        match s.get("lun").some() {
            None => s.get("lun").required(e, "lun is required if targetWWNs is specified"),
            Some(lun) => lun.in_range(e, 0, 255),
        }
    }
}

fn flex(s: At, e: &mut ErrorList) {
    s.get("driver").need(e, "");
    for (k, _) in s.get("options").entries() {
        if k.split_once('/').is_some_and(|(domain, _)| {
            domain == "kubernetes.io" || domain.ends_with(".kubernetes.io") || domain == "k8s.io" || domain.ends_with(".k8s.io")
        }) {
            s.get("options").key(k).invalid_value(e, k, "kubernetes.io and k8s.io namespaces are reserved");
        }
    }
}

fn azure_disk(s: At, e: &mut ErrorList) {
    need_all(s, e, &["diskName", "diskURI"]);
    if s.has("cachingMode") {
        s.get("cachingMode").one_of(e, &["None", "ReadOnly", "ReadWrite"]);
    }
    let (kind, uri) = (s.get("kind"), s.get("diskURI"));
    if kind.present() {
        kind.one_of(e, &["Dedicated", "Shared", "Managed"]);
    }
    let managed = uri.str().starts_with("/subscriptions/");
    if kind.str() == "Managed" && !managed {
        uri.not_supported(
            e,
            &["/subscriptions/{sub-id}/resourcegroups/{group-name}/providers/microsoft.compute/disks/{disk-id}"],
        );
    } else if kind.present() && kind.str() != "Managed" && managed {
        uri.not_supported(e, &["https://{account-name}.blob.core.windows.net/{container-name}/{disk-name}.vhd"]);
    }
}

fn storage_os(s: At, e: &mut ErrorList) {
    s.get("volumeName").need_check(e, check::dns1123_label);
    s.get("volumeNamespace").check_if_set(e, check::dns1123_label);
    if s.has("secretRef") {
        s.at(&["secretRef", "name"]).need(e, "");
    }
}

pub fn csi_driver_name(at: At, e: &mut ErrorList) {
    if !at.need(e, "") {
        return;
    }
    if at.len() > 63 {
        at.too_long(e, 63);
    }
    let name = at.str().to_lowercase();
    at.messages_for(e, &name, check::dns1123_subdomain(&name));
}

fn csi(s: At, e: &mut ErrorList) {
    csi_driver_name(s.get("driver"), e);
    if s.has("nodePublishSecretRef") {
        let name = s.at(&["nodePublishSecretRef", "name"]);
        if name.need(e, "") {
            name.check(e, names::subdomain);
        }
    }
}

fn ephemeral(s: At, e: &mut ErrorList) {
    let template = s.get("volumeClaimTemplate");
    if !template.present() {
        return template.required(e, "");
    }
    let meta = template.get("metadata");
    crate::names::template_meta(meta, e);
    for (k, _) in meta.entries() {
        if !["annotations", "labels", "creationTimestamp"].contains(&k) && !meta.get(k).is_empty() {
            meta.get(k).forbidden(e, "cannot be set for an ephemeral volume");
        }
    }
    crate::core::persistent_volume_claim::claim_spec(template.get("spec"), e, false);
}

/// Sources of a projected volume: no two may write one path.
fn projected(s: At, e: &mut ErrorList) {
    mode(s.get("defaultMode"), e);
    let mut paths: Vec<&str> = Vec::new();
    fn claim_path<'a>(s: At, e: &mut ErrorList, paths: &mut Vec<&'a str>, path: &'a str, value: &str) {
        if paths.contains(&path) {
            s.invalid_value(e, value, "conflicting duplicate paths");
        } else {
            paths.push(path);
        }
    }
    for src in s.get("sources").items() {
        let mut count = 0;
        for name in ["secret", "configMap"] {
            let Some(p) = src.get(name).some() else { continue };
            count += 1;
            p.get("name").need(e, "");
            for k in p.get("items").items() {
                key_to_path(k, e);
                if !k.get("path").is_empty() {
                    claim_path(s, e, &mut paths, k.get("path").str(), p.get("name").str());
                }
            }
        }
        if let Some(p) = src.get("downwardAPI").some() {
            count += 1;
            for f in p.get("items").items() {
                downward_file(f, p, e);
                let path = f.get("path").str();
                if !path.is_empty() {
                    claim_path(s, e, &mut paths, path, path);
                }
            }
        }
        if let Some(p) = src.get("serviceAccountToken").some() {
            count += 1;
            let seconds = p.get("expirationSeconds");
            if seconds.int() < 600 {
                seconds.invalid_value(e, seconds.int(), "may not specify a duration less than 10 minutes");
            }
            if seconds.int() > 1 << 32 {
                seconds.invalid(e, "may not specify a duration larger than 2^32 seconds");
            }
            let path = s.get("path").with(p.get("path").v);
            if path.need(e, "") {
                local_non_reserved(path, e);
            }
        }
        if let Some(p) = src.get("clusterTrustBundle").some() {
            count += 1;
            match (p.get("name").some(), p.get("signerName").some()) {
                (Some(_), Some(_)) => p.invalid(e, "only one of name and signerName may be used"),
                (Some(name), None) => {
                    name.need(e, "must be a valid object name");
                    if p.has("labelSelector") {
                        p.get("labelSelector").invalid(e, "labelSelector must be unset if name is specified");
                    }
                }
                (None, Some(signer)) => {
                    signer.need(e, "must be a valid signer name");
                    selectors::label_selector(p.get("labelSelector"), e);
                }
                (None, None) => p.required(e, "either name or signerName must be specified"),
            }
            let path = p.get("path");
            path.need(e, "");
            local_non_reserved(path, e);
            claim_path(s, e, &mut paths, path.str(), path.str());
        }
        if let Some(p) = src.get("podCertificate").some() {
            count += 1;
            p.get("signerName").need(e, "");
            p.get("keyType").one_of(e, &["RSA3072", "RSA4096", "ECDSAP256", "ECDSAP384", "ECDSAP521", "ED25519"]);
            let max = p.get("maxExpirationSeconds");
            if max.opt_int().is_some_and(|n| n < 3600) {
                max.invalid(e, "if provided, maxExpirationSeconds must be >= 3600");
            }
            let mut any = false;
            for name in ["credentialBundlePath", "keyPath", "certificateChainPath"] {
                let path = p.get(name);
                if !path.is_empty() {
                    any = true;
                    local_non_reserved(path, e);
                    claim_path(s, e, &mut paths, path.str(), path.str());
                }
            }
            if !any {
                p.required(e, "specify at least one of credentialBundlePath, keyPath, and certificateChainPath");
            }
        }
        if count > 1 {
            src.forbidden(e, "may not specify more than 1 volume type per source");
        }
    }
}
