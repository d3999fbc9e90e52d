//! Resource metrics of pods, from whoever serves metrics.k8s.io (pkg/controller/podautoscaler/metrics).

use client::Client;
use client::api::encode;
use jiff::Timestamp;
use machinery::meta::{at, list_at, str_at};
use machinery::{Value, duration, quantity, time};
use std::collections::BTreeMap;

/// What one pod used, in thousandths.
#[derive(Clone, Debug, PartialEq)]
pub struct PodMetric {
    pub at: Timestamp,
    /// Seconds that it is an average of.
    pub window: i64,
    pub value: i64,
}

/// By pod name.
pub type Metrics = BTreeMap<String, PodMetric>;

/// Usage of a resource by the pods of a selector; of one container of each, unless its name is empty.
pub async fn of_pods(
    client: &Client,
    namespace: &str,
    selector: &str,
    resource: &str,
    container: &str,
) -> Result<Metrics, String> {
    let path = format!("/apis/metrics.k8s.io/v1beta1/namespaces/{namespace}/pods?labelSelector={}", encode(selector));
    let list = client.get_path(&path).await.map_err(|e| {
        let what = if e.is_not_found() {
            "the server could not find the requested resource (get pods.metrics.k8s.io)".to_owned()
        } else {
            e.to_string()
        };
        format!("unable to fetch metrics from resource metrics API: {what}")
    })?;
    let items = list_at(&list, &["items"]);
    if items.is_empty() {
        return Err("no metrics returned from resource metrics API".into());
    }
    Ok(items.iter().filter_map(|m| of_pod(m, resource, container)).collect())
}

fn of_pod(m: &Value, resource: &str, container: &str) -> Option<(String, PodMetric)> {
    let usage = |c: &Value| quantity::from_value(at(c, &["usage", resource])?).ok().map(|q| q.milli_value());
    let containers = list_at(m, &["containers"]);
    let value = match container {
        // A pod of which a part is not known is not known.
        "" if containers.is_empty() => None,
        "" => containers.iter().map(usage).sum(),
        name => containers.iter().find(|c| str_at(c, &["name"]) == name).and_then(usage),
    }?;
    let metric = PodMetric {
        at: time::parse(str_at(m, &["timestamp"]))?,
        window: duration::parse(str_at(m, &["window"])).unwrap_or(0) / 1_000_000_000,
        value,
    };
    Some((str_at(m, &["metadata", "name"]).to_owned(), metric))
}
