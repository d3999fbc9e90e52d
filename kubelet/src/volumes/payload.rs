//! The files of volumes that show API data: configMap, secret, downwardAPI, projected.

use super::atomic_writer::{File, Payload};
use super::token::Tokens;
use crate::context::Context;
use crate::pod::{fields, spec, status};
use client::Object;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{ConfigMap, DownwardAPIVolumeFile, KeyToPath, Pod, Secret, SecurityContext, Volume};
use std::collections::BTreeMap;

const DEFAULT_MODE: i32 = 0o644;

fn mode(m: i32) -> u32 {
    u32::try_from(m).unwrap_or(0o644) & 0o7777
}

/// The files of a volume, or why they cannot be told.
pub async fn collect(ctx: &Context, pod: &Pod, v: &Volume, tokens: &mut Tokens) -> Result<Payload, String> {
    if let Some(c) = &v.config_map {
        let default = c.default_mode.unwrap_or(DEFAULT_MODE);
        return config_map(ctx, pod, &c.name, c.items.as_deref(), default, c.optional == Some(true)).await;
    }
    if let Some(s) = &v.secret {
        let default = s.default_mode.unwrap_or(DEFAULT_MODE);
        let name = s.secret_name.as_deref().unwrap_or("");
        return secret(ctx, pod, name, s.items.as_deref(), default, s.optional == Some(true)).await;
    }
    if let Some(d) = &v.downward_api {
        return downward(ctx, pod, d.items.as_deref().unwrap_or_default(), d.default_mode.unwrap_or(DEFAULT_MODE));
    }
    let Some(p) = &v.projected else { return Ok(Payload::new()) };
    let default = p.default_mode.unwrap_or(DEFAULT_MODE);
    let mut all = Payload::new();
    for source in p.sources.iter().flatten() {
        if let Some(c) = &source.config_map {
            all.extend(config_map(ctx, pod, &c.name, c.items.as_deref(), default, c.optional == Some(true)).await?);
        }
        if let Some(s) = &source.secret {
            all.extend(secret(ctx, pod, &s.name, s.items.as_deref(), default, s.optional == Some(true)).await?);
        }
        if let Some(d) = &source.downward_api {
            all.extend(downward(ctx, pod, d.items.as_deref().unwrap_or_default(), default)?);
        }
        if let Some(t) = &source.service_account_token {
            let user = run_as_user(pod);
            let group = spec::spec(pod).security_context.as_ref().and_then(|s| s.fs_group);
            let token = tokens.get(ctx, pod, t.audience.as_deref().unwrap_or(""), t.expiration_seconds.unwrap_or(3600)).await?;
            // Readable by the pod's own user alone where there is one.
            let mode = if user.is_some() || group.is_some() { 0o600 } else { mode(default) };
            all.insert(t.path.clone(), File { data: token.into_bytes(), mode, uid: user });
        }
        if source.cluster_trust_bundle.is_some() || source.pod_certificate.is_some() {
            return Err("clusterTrustBundle and podCertificate sources are not supported".into());
        }
    }
    Ok(all)
}

/// The user that all containers of a pod run as, if it is the same.
fn run_as_user(pod: &Pod) -> Option<u32> {
    let s = spec::spec(pod);
    let of_pod = s.security_context.as_ref().and_then(|c| c.run_as_user);
    let of = |sc: &Option<SecurityContext>| sc.as_ref().and_then(|c| c.run_as_user).or(of_pod);
    let mut users = s.containers.iter().chain(s.init_containers.iter().flatten()).map(|c| of(&c.security_context));
    let first = users.next().flatten()?;
    users.all(|u| u == Some(first)).then(|| u32::try_from(first).ok()).flatten()
}

async fn config_map(
    ctx: &Context,
    pod: &Pod,
    name: &str,
    items: Option<&[KeyToPath]>,
    default: i32,
    optional: bool,
) -> Result<Payload, String> {
    let found = ctx.config_maps.get(pod.uid(), pod.namespace(), name).await?;
    let Some(cm) = found else {
        return if optional { Ok(Payload::new()) } else { Err(format!("configmap {name:?} not found")) };
    };
    let ConfigMap { data, binary_data, .. } = &*cm;
    let mut all: BTreeMap<&str, &[u8]> = data.iter().flatten().map(|(k, v)| (k.as_str(), v.as_bytes())).collect();
    all.extend(binary_data.iter().flatten().map(|(k, ByteString(v))| (k.as_str(), v.as_slice())));
    select(&all, items, default, optional, "configmap")
}

async fn secret(
    ctx: &Context,
    pod: &Pod,
    name: &str,
    items: Option<&[KeyToPath]>,
    default: i32,
    optional: bool,
) -> Result<Payload, String> {
    let found = ctx.secrets.get(pod.uid(), pod.namespace(), name).await?;
    let Some(s) = found else {
        return if optional { Ok(Payload::new()) } else { Err(format!("secret {name:?} not found")) };
    };
    let Secret { data, .. } = &*s;
    let all = data.iter().flatten().map(|(k, ByteString(v))| (k.as_str(), v.as_slice())).collect();
    select(&all, items, default, optional, "secret")
}

fn select(
    all: &BTreeMap<&str, &[u8]>,
    items: Option<&[KeyToPath]>,
    default: i32,
    optional: bool,
    what: &str,
) -> Result<Payload, String> {
    let file = |data: &[u8], m: i32| File { data: data.to_vec(), mode: mode(m), uid: None };
    let Some(items) = items.filter(|i| !i.is_empty()) else {
        return Ok(all.iter().map(|(k, v)| ((*k).to_owned(), file(v, default))).collect());
    };
    let mut out = Payload::new();
    for i in items {
        match all.get(i.key.as_str()) {
            Some(data) => {
                out.insert(i.path.clone(), file(data, i.mode.unwrap_or(default)));
            }
            None if optional => {}
            None => return Err(format!("references non-existent {what} key: {}", i.key)),
        }
    }
    Ok(out)
}

fn downward(ctx: &Context, pod: &Pod, items: &[DownwardAPIVolumeFile], default: i32) -> Result<Payload, String> {
    let hosts: Vec<String> = ctx.config.node_ips.iter().map(ToString::to_string).collect();
    let ips: Vec<String> = status::known_ips(pod);
    let mut out = Payload::new();
    for i in items {
        let value = if let Some(f) = &i.field_ref {
            fields::field(pod, &f.field_path, &ips, &hosts).ok_or_else(|| format!("unsupported fieldPath: {}", f.field_path))?
        } else if let Some(r) = &i.resource_field_ref {
            let name = r.container_name.as_deref().unwrap_or("");
            let c = spec::find_container(pod, name).ok_or_else(|| format!("container {name} not found"))?;
            fields::resource(&c, r, &fields::default_limits(pod, ctx.machine.allocatable()))?
        } else {
            continue;
        };
        out.insert(i.path.clone(), File { data: value.into_bytes(), mode: mode(i.mode.unwrap_or(default)), uid: None });
    }
    Ok(out)
}
