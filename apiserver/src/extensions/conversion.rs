//! Objects from one version of a definition to another: by name alone, or by a webhook. Upstream:
//! apiextensions-apiserver/pkg/apiserver/conversion.

use super::Family;
use crate::server::Inner;
use crate::webhook::{Client, ClientConfig};
use machinery::{Map, Status, Value, json, meta};
use std::sync::Arc;
use std::time::Duration;

/// How versions convert.
#[derive(Clone)]
pub enum Conversion {
    /// Only `apiVersion` changes.
    None,
    Webhook(Arc<Webhook>),
}

/// The webhook of a definition.
pub struct Webhook {
    name: String,
    config: ClientConfig,
    review_version: &'static str,
    client: Client,
}

const TIMEOUT: Duration = Duration::from_secs(30);

impl Webhook {
    pub fn new(server: &Inner, crd: &Value) -> Result<Self, String> {
        let config = crd.pointer("/spec/conversion/webhook/clientConfig").unwrap_or(&Value::Null);
        let versions = meta::list_at(crd, &["spec", "conversion", "webhook", "conversionReviewVersions"]);
        let review_version = versions
            .iter()
            .find_map(|v| match v.as_str() {
                Some("v1") => Some("v1"),
                Some("v1beta1") => Some("v1beta1"),
                _ => None,
            })
            .ok_or("no version of ConversionReview is known")?;
        Ok(Self {
            name: meta::name(crd).to_owned(),
            config: ClientConfig::from_value(config).map_err(|e| e.to_string())?,
            review_version,
            client: Client(server.outbound.clone()),
        })
    }

    async fn convert(&self, objects: &[Value], to: &str) -> Result<Vec<Value>, Status> {
        let (from, kind) = match objects.first() {
            Some(o) => (meta::str_at(o, &["apiVersion"]), meta::str_at(o, &["kind"])),
            None => return Ok(Vec::new()),
        };
        let fail = |why: String| {
            let (group, version) = from.rsplit_once('/').unwrap_or(("", from));
            Status::new(500, "", format!("conversion webhook for {group}/{version}, Kind={kind} failed: {why}"))
        };
        let uid = uuid::Uuid::new_v4().to_string();
        let review = json!({"kind": "ConversionReview", "apiVersion": format!("apiextensions.k8s.io/{}", self.review_version),
            "request": {"uid": uid, "desiredAPIVersion": to, "objects": objects}});
        let answer = self.client.call(&self.config, &review, TIMEOUT).await.map_err(|e| fail(e.to_string()))?;
        let response = answer.get("response").filter(|r| r.is_object()).ok_or_else(|| fail("no response provided".into()))?;
        if self.review_version == "v1" && meta::str_at(response, &["uid"]) != uid {
            return Err(fail(format!("expected response.uid={uid:?}, got {:?}", meta::str_at(response, &["uid"]))));
        }
        match meta::str_at(response, &["result", "status"]) {
            "Success" => {}
            status => {
                let message = meta::str_at(response, &["result", "message"]);
                return Err(fail(if message.is_empty() {
                    format!("response.result.status was '{status}', not 'Success'")
                } else {
                    message.to_owned()
                }));
            }
        }
        let converted = meta::list_at(response, &["convertedObjects"]);
        if converted.len() != objects.len() {
            return Err(fail(format!("webhook returned {} objects, expected {}", converted.len(), objects.len())));
        }
        tracing::debug!(crd = self.name, objects = objects.len(), to, "converted by webhook");
        converted.iter().zip(objects).enumerate().map(|(i, (new, old))| restore(new, old, to, i).map_err(&fail)).collect()
    }
}

/// A webhook may change labels and annotations, no other metadata.
fn restore(new: &Value, old: &Value, to: &str, i: usize) -> Result<Value, String> {
    let mut new = new.clone();
    let found = meta::str_at(&new, &["apiVersion"]);
    if found != to {
        return Err(format!(
            "returned invalid converted object at index {i}: invalid groupVersion (expected {to}, received {found})"
        ));
    }
    let (kind, want) = (meta::str_at(&new, &["kind"]), meta::str_at(old, &["kind"]));
    if kind != want {
        return Err(format!("returned invalid converted object at index {i}: invalid kind (expected {want}, received {kind})"));
    }
    for f in ["name", "namespace", "uid"] {
        let (a, b) = (meta::str_at(&new, &["metadata", f]), meta::str_at(old, &["metadata", f]));
        if a != b {
            return Err(format!("returned invalid converted object at index {i}: metadata.{f} is immutable: {b} -> {a}"));
        }
    }
    let mut kept = old.get("metadata").and_then(Value::as_object).cloned().unwrap_or_else(Map::new);
    for f in ["labels", "annotations"] {
        kept.remove(f);
        if let Some(v) = meta::at(&new, &["metadata", f]).filter(|v| v.as_object().is_some_and(|m| !m.is_empty())) {
            kept.insert(f.into(), v.clone());
        }
    }
    new["metadata"] = kept.into();
    Ok(new)
}

/// Objects as another version has them: defaulted as the version they come in, converted, and pruned by the other's schema.
pub async fn convert(family: &Family, objects: Vec<Value>, to: &str) -> Result<Vec<Value>, Status> {
    let target = family.version(to).ok_or_else(|| Status::internal(format!("no version {to}")))?;
    let mut out = objects;
    let foreign: Vec<usize> =
        out.iter().enumerate().filter(|(_, o)| meta::str_at(o, &["apiVersion"]) != to).map(|(i, _)| i).collect();
    if foreign.is_empty() {
        return Ok(out);
    }
    match &family.conversion {
        Conversion::None => {
            for i in &foreign {
                out[*i]["apiVersion"] = to.into();
            }
        }
        Conversion::Webhook(hook) => {
            // One review holds objects of one version only.
            let mut groups: Vec<(String, Vec<usize>)> = Vec::new();
            for i in &foreign {
                let from = meta::str_at(&out[*i], &["apiVersion"]).to_owned();
                match groups.iter_mut().find(|(f, _)| *f == from) {
                    Some((_, list)) => list.push(*i),
                    None => groups.push((from, vec![*i])),
                }
            }
            for (_, indexes) in groups {
                let objects: Vec<Value> = indexes.iter().map(|i| out[*i].clone()).collect();
                let converted = hook.convert(&objects, to).await?;
                for (i, v) in indexes.into_iter().zip(converted) {
                    out[i] = v;
                }
            }
        }
    }
    for i in foreign {
        target.refresh(&mut out[i]);
    }
    Ok(out)
}
