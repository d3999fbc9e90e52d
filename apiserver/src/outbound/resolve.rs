//! Where a Service leads: a ready endpoint, as upstream's `--enable-aggregator-routing` has it
//! (apiserver/pkg/util/proxy, ResolveEndpoint), so that nothing depends on kube-proxy running beside the server.

use crate::objects::Objects;
use auth::ObjectGetter as _;
use machinery::{Value, meta};
use rand::seq::SliceRandom as _;
use std::sync::Arc;
use storage::{ListOptions, Scope};

/// Looks Services and EndpointSlices up in the watch caches.
pub struct Resolver {
    objects: Arc<Objects>,
    /// Address and port of this server itself: `kubernetes.default`.
    own: (String, u16),
}

impl Resolver {
    pub fn new(objects: Arc<Objects>, own: (String, u16)) -> Self {
        Self { objects, own }
    }

    /// Address and port of a ready endpoint; `Err` is upstream's text.
    pub async fn resolve(&self, namespace: &str, name: &str, port: u16) -> Result<(String, u16), String> {
        if (namespace, name, port) == ("default", "kubernetes", 443) {
            return Ok(self.own.clone());
        }
        let found = self.objects.get("", "services", namespace, name).await.map_err(|s| s.message)?;
        let service = found.ok_or_else(|| format!("service {name:?} not found"))?;
        match meta::str_at(&service, &["spec", "type"]) {
            "ClusterIP" | "LoadBalancer" | "NodePort" => {}
            "ExternalName" => return Ok((meta::str_at(&service, &["spec", "externalName"]).to_owned(), port)),
            other => return Err(format!("unsupported service type {other:?}")),
        }
        let chosen = meta::list_at(&service, &["spec", "ports"])
            .iter()
            .find(|p| p["port"] == port)
            .ok_or_else(|| format!("no service port {port} found for service {name:?}"))?;
        let slices = self.slices(namespace, name).await?;
        endpoint(&service, &slices, meta::str_at(chosen, &["name"]))
            .ok_or_else(|| format!("no endpoints available for service {name:?}"))
    }

    async fn slices(&self, namespace: &str, service: &str) -> Result<Vec<Value>, String> {
        let storage = self.objects.storage("discovery.k8s.io", "endpointslices").ok_or("endpoint slices are not served")?;
        let service = service.to_owned();
        let options = ListOptions {
            scope: Scope { namespace: Some(namespace.to_owned()), name: None },
            selector: Some(Arc::new(move |o| o.label("kubernetes.io/service-name") == Some(&service))),
            resource_version: "0".into(),
            ..ListOptions::default()
        };
        let list = storage.list(options).await.map_err(|s| s.message)?;
        Ok(list.items.iter().map(|o| o.value()).collect())
    }
}

/// Any ready endpoint with the port, of the Service's first address family if there is one.
fn endpoint(service: &Value, slices: &[Value], port_name: &str) -> Option<(String, u16)> {
    let family = meta::list_at(service, &["spec", "ipFamilies"]).first().and_then(Value::as_str).unwrap_or("IPv4");
    let mut found = Vec::new();
    for slice in slices {
        let port = meta::list_at(slice, &["ports"])
            .iter()
            .find(|p| meta::str_at(p, &["name"]) == port_name)
            .and_then(|p| u16::try_from(p.get("port")?.as_u64()?).ok());
        let Some(port) = port else { continue };
        for e in meta::list_at(slice, &["endpoints"]) {
            let ready = meta::at(e, &["conditions", "ready"]).and_then(Value::as_bool).unwrap_or(true);
            if let Some(a) = meta::list_at(e, &["addresses"]).first().and_then(Value::as_str).filter(|_| ready) {
                found.push((meta::str_at(slice, &["addressType"]) == family, a.to_owned(), port));
            }
        }
    }
    found.shuffle(&mut rand::rng());
    let best = found.iter().position(|(preferred, ..)| *preferred).unwrap_or(0);
    found.into_iter().nth(best).map(|(_, a, p)| (a, p))
}

#[cfg(test)]
mod tests {
    use super::*;
    use machinery::json;

    #[test]
    fn ready_endpoints_of_the_first_family() {
        let service = json!({"spec": {"ipFamilies": ["IPv4", "IPv6"]}});
        let slice = |family: &str, name: &str, address: &str, ready: Value| {
            json!({"addressType": family, "ports": [{"name": name, "port": 8443}],
                "endpoints": [{"addresses": [address], "conditions": {"ready": ready}}]})
        };
        for (case, slices, want) in [
            ("none", vec![], None),
            ("not ready", vec![slice("IPv4", "", "10.0.0.1", false.into())], None),
            ("unknown is ready", vec![slice("IPv4", "", "10.0.0.1", Value::Null)], Some("10.0.0.1")),
            ("other port", vec![slice("IPv4", "x", "10.0.0.1", true.into())], None),
            (
                "family",
                vec![slice("IPv6", "", "fd00::1", true.into()), slice("IPv4", "", "10.0.0.1", true.into())],
                Some("10.0.0.1"),
            ),
            ("second family", vec![slice("IPv6", "", "fd00::1", true.into())], Some("fd00::1")),
        ] {
            assert_eq!(endpoint(&service, &slices, ""), want.map(|w| (w.to_owned(), 8443)), "{case}");
        }
    }
}
