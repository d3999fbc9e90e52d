//! A container's environment: envFrom, env with its sources, and the variables of Services (upstream kubelet_pods.go).

use super::{env_file, expansion, fields, spec};
use crate::context::Context;
use crate::volumes::Ready;
use k8s_openapi::api::core::v1::{Container, EnvVarSource, FileKeySelector, Pod, Service};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// Ordered name and value pairs.
pub type Env = Vec<(String, String)>;

/// The pod's volumes, by name.
type Volumes = HashMap<String, Ready>;

/// The environment of `c`, or why it cannot be made (the message of CreateContainerConfigError).
pub async fn make(ctx: &Context, pod: &Pod, c: &Container, pod_ips: &[String], volumes: &Volumes) -> Result<Env, String> {
    let uid = pod.metadata.uid.as_deref().unwrap_or("");
    let ns = pod.metadata.namespace.as_deref().unwrap_or("");
    let services = service_env(ctx, ns, spec::spec(pod).enable_service_links.unwrap_or(true));
    let mut known: BTreeMap<String, String> = BTreeMap::new();
    let mut order: Vec<String> = Vec::new();
    for from in c.env_from.iter().flatten() {
        let prefix = from.prefix.as_deref().unwrap_or("");
        let data: BTreeMap<String, String> = if let Some(r) = &from.config_map_ref {
            match ctx.config_maps.get(uid, ns, &r.name).await? {
                Some(cm) => cm.data.clone().unwrap_or_default(),
                None if r.optional == Some(true) => continue,
                None => return Err(format!("configmap {:?} not found", r.name)),
            }
        } else if let Some(r) = &from.secret_ref {
            match ctx.secrets.get(uid, ns, &r.name).await? {
                Some(s) => {
                    let data = s.data.clone().unwrap_or_default();
                    data.into_iter().map(|(k, v)| (k, String::from_utf8_lossy(&v.0).into_owned())).collect()
                }
                None if r.optional == Some(true) => continue,
                None => return Err(format!("secret {:?} not found", r.name)),
            }
        } else {
            continue;
        };
        for (k, v) in data {
            set(&mut known, &mut order, format!("{prefix}{k}"), v);
        }
    }
    for var in c.env.iter().flatten() {
        let value = match (&var.value, &var.value_from) {
            (Some(v), _) if !v.is_empty() => expansion::expand(v, |n| known.get(n).or_else(|| services.get(n)).cloned()),
            (_, Some(EnvVarSource { file_key_ref: Some(r), .. })) => match from_file(volumes, r)? {
                Some(v) => v,
                None => continue,
            },
            (_, Some(from)) => match source(ctx, pod, c, from, pod_ips).await? {
                Some(v) => v,
                None => continue,
            },
            _ => String::new(),
        };
        set(&mut known, &mut order, var.name.clone(), value);
    }
    let mut env: Env = order.into_iter().map(|n| (n.clone(), known.get(&n).cloned().unwrap_or_default())).collect();
    env.extend(services.into_iter().filter(|(k, _)| !known.contains_key(k)));
    Ok(env)
}

fn set(known: &mut BTreeMap<String, String>, order: &mut Vec<String>, name: String, value: String) {
    if known.insert(name.clone(), value).is_none() {
        order.push(name);
    }
}

/// The value of a source; `None` leaves the variable out.
async fn source(ctx: &Context, pod: &Pod, c: &Container, from: &EnvVarSource, ips: &[String]) -> Result<Option<String>, String> {
    let uid = pod.metadata.uid.as_deref().unwrap_or("");
    let ns = pod.metadata.namespace.as_deref().unwrap_or("");
    if let Some(f) = &from.field_ref {
        let hosts: Vec<String> = ctx.config.node_ips.iter().map(ToString::to_string).collect();
        let value = fields::field(pod, &f.field_path, ips, &hosts);
        return value.map(Some).ok_or_else(|| format!("unsupported fieldPath: {}", f.field_path));
    }
    if let Some(r) = &from.resource_field_ref {
        let other = r.container_name.as_ref().filter(|n| !n.is_empty()).and_then(|n| spec::find_container(pod, n));
        return fields::resource(other.as_ref().unwrap_or(c), r, &fields::default_limits(pod, ctx.machine.allocatable()))
            .map(Some);
    }
    if let Some(k) = &from.config_map_key_ref {
        let optional = k.optional == Some(true);
        let Some(cm) = ctx.config_maps.get(uid, ns, &k.name).await? else {
            return if optional { Ok(None) } else { Err(format!("configmap {:?} not found", k.name)) };
        };
        return match cm.data.as_ref().and_then(|d| d.get(&k.key)) {
            Some(v) => Ok(Some(v.clone())),
            None if optional => Ok(None),
            None => Err(format!("couldn't find key {} in ConfigMap {ns}/{}", k.key, k.name)),
        };
    }
    if let Some(k) = &from.secret_key_ref {
        let optional = k.optional == Some(true);
        let Some(s) = ctx.secrets.get(uid, ns, &k.name).await? else {
            return if optional { Ok(None) } else { Err(format!("secret {:?} not found", k.name)) };
        };
        return match s.data.as_ref().and_then(|d| d.get(&k.key)) {
            Some(v) => Ok(Some(String::from_utf8_lossy(&v.0).into_owned())),
            None if optional => Ok(None),
            None => Err(format!("couldn't find key {} in Secret {ns}/{}", k.key, k.name)),
        };
    }
    Ok(None)
}

/// A variable that a file in a volume assigns; an empty one counts as missing.
fn from_file(volumes: &Volumes, r: &FileKeySelector) -> Result<Option<String>, String> {
    let volume = volumes
        .get(&r.volume_name)
        .ok_or_else(|| format!("cannot find the volume {:?} referenced by FileKeyRef", r.volume_name))?;
    let parsed = env_file::read(&volume.path, &r.path).map_err(|e| e.to_string()).and_then(|t| env_file::value(&t, &r.key));
    let value = parsed.map_err(|e| {
        tracing::warn!(volume = r.volume_name, path = r.path, error = e, "environment file not parsed");
        "couldn't parse env file".to_owned()
    })?;
    match value.is_empty() {
        false => Ok(Some(value)),
        true if r.optional == Some(true) => Ok(None),
        true => {
            let file = volume.path.join(&r.path);
            Err(format!("environment variable key {:?} not found in file {:?}", r.key, file.display().to_string()))
        }
    }
}

/// Variables of the namespace's Services, and always those of default/kubernetes.
fn service_env(ctx: &Context, ns: &str, links: bool) -> BTreeMap<String, String> {
    let mut chosen: BTreeMap<String, Arc<Service>> = BTreeMap::new();
    let name = |s: &Service| s.metadata.name.clone().unwrap_or_default();
    if let Some(s) = ctx.services.get("default", "kubernetes") {
        chosen.insert("kubernetes".into(), s);
    }
    if links {
        chosen.extend(ctx.services.list_namespace(ns).into_iter().map(|s| (name(&s), s)));
    }
    let mut env = BTreeMap::new();
    chosen.values().for_each(|s| service_vars(s, &mut env));
    env
}

fn service_vars(service: &Service, env: &mut BTreeMap<String, String>) {
    let Some(s) = &service.spec else { return };
    let ip = s.cluster_ip.as_deref().unwrap_or("");
    let ports = s.ports.as_deref().unwrap_or_default();
    let Some(first) = ports.first().filter(|_| !ip.is_empty() && ip != "None") else { return };
    let upper = |n: &str| n.replace('-', "_").to_uppercase();
    let prefix = upper(service.metadata.name.as_deref().unwrap_or(""));
    env.insert(format!("{prefix}_SERVICE_HOST"), ip.to_owned());
    env.insert(format!("{prefix}_SERVICE_PORT"), first.port.to_string());
    for p in ports {
        if let Some(n) = p.name.as_deref().filter(|n| !n.is_empty()) {
            env.insert(format!("{prefix}_SERVICE_PORT_{}", upper(n)), p.port.to_string());
        }
    }
    let host = if ip.contains(':') { format!("[{ip}]") } else { ip.to_owned() };
    for (i, p) in ports.iter().enumerate() {
        let protocol = p.protocol.as_deref().unwrap_or("TCP");
        let url = format!("{}://{host}:{}", protocol.to_lowercase(), p.port);
        if i == 0 {
            env.insert(format!("{prefix}_PORT"), url.clone());
        }
        let one = format!("{prefix}_PORT_{}_{}", p.port, protocol.to_uppercase());
        env.insert(one.clone(), url);
        env.insert(format!("{one}_PROTO"), protocol.to_lowercase());
        env.insert(format!("{one}_PORT"), p.port.to_string());
        env.insert(format!("{one}_ADDR"), ip.to_owned());
    }
}
