//! Typed objects from JSON and to JSON.
//!
//! The generated types' code for this is large, and the compiler makes it anew in every crate that asks for it by a type parameter.
//! [`Json`] is implemented here once for every kind that components use: its functions have none, so that the program holds each
//! once.
//!
//! Go writes `null` for a time that was never set, and anybody may leave one out of a condition; the generated types take no null
//! there. One such object must not keep an informer from all others, so nulls are then read as Go reads them: as the zero value.

use crate::metadata::PartialObject;
use k8s_openapi::api::{
    admissionregistration::v1::ValidatingAdmissionPolicy,
    apps::v1::{ControllerRevision, DaemonSet, Deployment, ReplicaSet, StatefulSet},
    autoscaling::v2::HorizontalPodAutoscaler,
    batch::v1::{CronJob, Job},
    certificates::v1::CertificateSigningRequest,
    coordination::v1::Lease,
    core::v1::{
        ConfigMap, Endpoints, Event, Namespace, Node, PersistentVolume, PersistentVolumeClaim, Pod, ReplicationController,
        ResourceQuota, Secret, Service, ServiceAccount,
    },
    discovery::v1::EndpointSlice,
    networking::v1::{IPAddress, ServiceCIDR},
    node::v1::RuntimeClass,
    policy::v1::PodDisruptionBudget,
    rbac::v1::ClusterRole,
    storage::v1::{CSIDriver, CSINode, CSIStorageCapacity, StorageClass, VolumeAttachment, VolumeAttributesClass},
};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Result, Value};

/// Go's zero `time.Time`.
const ZERO_TIME: &str = "0001-01-01T00:00:00Z";

/// What the API server is told and tells in JSON.
pub trait Json: Sized + Send {
    fn from_json(json: &[u8]) -> Result<Self>;
    /// Reads a list object.
    fn list_from_json(json: &[u8]) -> Result<List<Self>>;
    fn to_json(&self) -> Result<Vec<u8>>;
}

/// A list object.
#[derive(Deserialize)]
pub struct List<K> {
    #[serde(default)]
    pub metadata: ListMeta,
    #[serde(default = "Vec::new")]
    pub items: Vec<K>,
}

/// `metav1.ListMeta`, the parts in use.
#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
pub struct ListMeta {
    pub resource_version: String,
    #[serde(rename = "continue")]
    pub continue_token: String,
}

macro_rules! json {
    ($($kind:ty),* $(,)?) => {
        $(impl Json for $kind {
            fn from_json(json: &[u8]) -> Result<Self> {
                decode(json)
            }
            fn list_from_json(json: &[u8]) -> Result<List<Self>> {
                decode(json)
            }
            fn to_json(&self) -> Result<Vec<u8>> {
                serde_json::to_vec(self)
            }
        })*
    };
}

json! {
    Value, PartialObject, ControllerRevision, DaemonSet, Deployment, ReplicaSet, StatefulSet, HorizontalPodAutoscaler, CronJob, Job,
    CertificateSigningRequest, Lease, ConfigMap, Endpoints, Event, Namespace, Node, PersistentVolume, PersistentVolumeClaim, Pod,
    ReplicationController, ResourceQuota, Secret, Service, ServiceAccount, EndpointSlice, IPAddress, ServiceCIDR, RuntimeClass,
    PodDisruptionBudget, ClusterRole, CSIDriver, CSINode, CSIStorageCapacity, StorageClass, VolumeAttachment, VolumeAttributesClass,
    ValidatingAdmissionPolicy,
}

fn decode<K: DeserializeOwned>(json: &[u8]) -> Result<K> {
    serde_json::from_slice(json).or_else(|e| {
        let mut tree: Value = serde_json::from_slice(json)?;
        zero_nulls(&mut tree);
        // By way of bytes: the types' code for reading trees would be as much again.
        serde_json::from_slice(&serde_json::to_vec(&tree)?).map_err(|_| e)
    })
}

fn zero_nulls(v: &mut Value) {
    match v {
        Value::Object(map) => {
            let time = |k: &str| k.ends_with("Time") || k.ends_with("Timestamp");
            map.retain(|k, v| !v.is_null() || time(k));
            for v in map.values_mut() {
                if v.is_null() { *v = ZERO_TIME.into() } else { zero_nulls(v) }
            }
        }
        Value::Array(list) => list.iter_mut().for_each(zero_nulls),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

    #[test]
    fn times_never_set() {
        let json = br#"{"metadata": {"name": "s", "creationTimestamp": null}, "spec": {"ports": null},
            "status": {"conditions": [{"type": "T", "status": "True", "reason": "R", "message": "", "lastTransitionTime": null}]}}"#;
        let s: Service = decode(json).expect("service");
        let conditions: Vec<Condition> = s.status.and_then(|s| s.conditions).unwrap_or_default();
        assert_eq!(conditions[0].last_transition_time.0.to_string(), ZERO_TIME);
        assert!(decode::<Service>(br#"{"metadata": {"name": 1}}"#).is_err());
    }
}
