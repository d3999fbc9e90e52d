//! Deleting all content of a namespace, pods first.

use crate::Context;
use crate::core::discovery::{ApiResource, Discovery};
use crate::core::pod;
use client::{DeleteOptions, ListOptions, Object};
use jiff::SignedDuration;
use k8s_openapi::api::core::v1::{Namespace, Pod};
use std::collections::BTreeMap;

/// Seconds given to finalizers of others before looking again.
const FINALIZER_ESTIMATE: u64 = 15;

/// What a pass over a namespace found.
#[derive(Default)]
pub struct Outcome {
    pub discovery_error: Option<String>,
    pub errors: Vec<String>,
    /// Instances left, by `resource.group`.
    pub remaining: BTreeMap<String, usize>,
    /// Instances that hold a finalizer.
    pub finalizers: BTreeMap<String, usize>,
    /// Seconds after which the rest may be gone.
    pub estimate: u64,
    /// Pods are left, the rest was not touched.
    pub only_pods: bool,
}

pub async fn delete_all(ctx: &Context, ns: &Namespace, discovery: client::Result<Discovery>) -> Outcome {
    let mut out = Outcome::default();
    let discovery = match discovery {
        Ok(d) => d,
        Err(e) => {
            out.discovery_error = Some(e.to_string());
            out.errors.push(e.to_string());
            return out;
        }
    };
    if !discovery.failed.is_empty() {
        let list: Vec<String> = discovery.failed.iter().map(|(gv, e)| format!("{gv}: {e}")).collect();
        let text = format!("unable to retrieve the complete list of server APIs: {}", list.join(", "));
        out.discovery_error = Some(format!("Discovery failed for some groups, {} failing: {text}", discovery.failed.len()));
        out.errors.push(text);
    }
    let mut resources: Vec<&ApiResource> = discovery.preferred().filter(|r| r.namespaced && r.has_verbs(&["delete"])).collect();
    resources.sort_by_key(|r| !(r.gvr.group.is_empty() && r.gvr.resource == "pods"));
    for r in resources {
        let is_pods = r.gvr.group.is_empty() && r.gvr.resource == "pods";
        if let Err(e) = delete_resource(ctx, ns, r, is_pods, &mut out).await {
            out.errors.push(e.to_string());
        }
        if is_pods && !out.remaining.is_empty() {
            out.only_pods = true;
            return out;
        }
    }
    out
}

async fn delete_resource(ctx: &Context, ns: &Namespace, r: &ApiResource, is_pods: bool, out: &mut Outcome) -> crate::Result {
    let estimate = if is_pods { grace_left(ctx, ns).await? } else { 0 };
    let path = r.path(ns.name(), "");
    let background = DeleteOptions { propagation_policy: Some("Background"), ..Default::default() };
    let unsupported = |e: &client::Error| e.is_not_found() || e.status().is_some_and(|s| s.is("MethodNotAllowed"));
    let mut each = !r.has_verbs(&["deletecollection"]);
    if !each {
        match ctx.client.delete_path(&path, &background).await {
            Ok(_) => {}
            Err(e) if unsupported(&e) => each = true,
            Err(e) => return Err(e.into()),
        }
    }
    if !r.has_verbs(&["list"]) {
        return Ok(());
    }
    let list = || async {
        match ctx.client.list_metadata(&path).await {
            Err(e) if unsupported(&e) => Ok(Vec::new()),
            other => other,
        }
    };
    if each {
        for item in list().await? {
            let name = item.metadata.name.as_deref().unwrap_or("");
            match ctx.client.delete_path(&r.path(ns.name(), name), &background).await {
                Err(e) if !unsupported(&e) => return Err(e.into()),
                _ => {}
            }
        }
    }
    let left = list().await?;
    if left.is_empty() {
        return Ok(());
    }
    out.remaining.insert(format!("{}.{}", r.gvr.resource, r.gvr.group), left.len());
    let mut held = false;
    for f in left.iter().flat_map(|o| o.metadata.finalizers.iter().flatten()) {
        held = true;
        *out.finalizers.entry(f.clone()).or_default() += 1;
    }
    if estimate == 0 && !held {
        return Err(crate::Error::other(format!(
            "unexpected items still remain in namespace: {} for gvr: {}/{}, Resource={}",
            ns.name(),
            r.gvr.group,
            r.gvr.version,
            r.gvr.resource
        )));
    }
    out.estimate = out.estimate.max(if estimate > 0 { estimate } else { FINALIZER_ESTIMATE });
    Ok(())
}

/// The longest grace period of the pods here, 0 once that long has passed since the namespace's deletion.
async fn grace_left(ctx: &Context, ns: &Namespace) -> client::Result<u64> {
    let pods = ctx.client.list::<Pod>(ns.name(), &ListOptions::default()).await?;
    let grace = pods
        .items
        .iter()
        .filter(|p| !pod::is_terminal(p))
        .filter_map(|p| p.spec.as_ref()?.termination_grace_period_seconds)
        .max()
        .unwrap_or(0);
    let since = ns.metadata.deletion_timestamp.as_ref().map_or(SignedDuration::ZERO, |t| ctx.now().duration_since(t.0));
    Ok(if since >= SignedDuration::from_secs(grace) { 0 } else { u64::try_from(grace).unwrap_or(0) })
}
