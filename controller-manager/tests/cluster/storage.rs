//! Claims, volumes, and the local-path provisioner.

use crate::harness::Cluster;
use client::Object;
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim, Pod};
use serde_json::{Value, json};

const CLAIMS: &str = "/api/v1/namespaces/default/persistentvolumeclaims";

fn claim(name: &str, spec: Value) -> Value {
    let mut all = json!({"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}});
    all.as_object_mut().expect("object").extend(spec.as_object().expect("object").clone());
    json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name}, "spec": all})
}

fn is(phase: &'static str) -> impl Fn(&PersistentVolumeClaim) -> bool {
    move |c| c.status.as_ref().and_then(|s| s.phase.as_deref()) == Some(phase)
}

#[tokio::test]
async fn a_claim_of_the_default_class_is_provisioned_for_its_first_pod() {
    let mut c = Cluster::start().await;
    let class: Value = json!({"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": "local-path",
        "annotations": {"storageclass.kubernetes.io/is-default-class": "true"}}, "provisioner": "skiff.dev/local-path",
        "volumeBindingMode": "WaitForFirstConsumer", "reclaimPolicy": "Delete"});
    c.apply("/apis/storage.k8s.io/v1/storageclasses", class).await;
    c.apply(CLAIMS, claim("data", json!({}))).await;
    c.until_event("WaitForFirstConsumer", "waiting for first consumer to be created before binding").await;
    c.run_pods().await;
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "user"}, "spec": {"containers": [{"name": "c", "image": "i"}],
        "volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "data"}}]}});
    c.apply("/api/v1/namespaces/default/pods", pod).await;
    let bound = c.until_one::<PersistentVolumeClaim>("data", "bound", is("Bound")).await;
    let name = format!("pvc-{}", bound.uid());
    assert_eq!(bound.spec.as_ref().and_then(|s| s.volume_name.as_deref()), Some(name.as_str()));
    c.until_event("ProvisioningSucceeded", &name).await;
    assert_eq!(c.directories().len(), 1);
    let v = c
        .until_one::<PersistentVolume>(&name, "bound", |v| v.status.as_ref().and_then(|s| s.phase.as_deref()) == Some("Bound"))
        .await;
    assert!(v.spec.as_ref().is_some_and(|s| s.node_affinity.is_some()));

    c.delete::<PersistentVolumeClaim>("data", "Background").await;
    c.until_one::<PersistentVolumeClaim>("data", "protected while used", |c| c.is_terminating()).await;
    c.delete::<Pod>("user", "Background").await;
    c.until::<PersistentVolumeClaim>("claim gone", <[_]>::is_empty).await;
    c.until::<PersistentVolume>("volume gone", <[_]>::is_empty).await;
    assert!(c.directories().is_empty(), "the directory is removed");
    c.stop().await;
}

#[tokio::test]
async fn claims_take_volumes_made_by_hand() {
    let c = Cluster::start().await;
    let volume = |name: &str, size: &str| {
        json!({"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": name}, "spec": {"capacity": {"storage": size},
            "accessModes": ["ReadWriteOnce"], "storageClassName": "", "hostPath": {"path": "/tmp/x"}}})
    };
    for (name, size) in [("big", "10Gi"), ("fit", "1Gi")] {
        c.apply("/api/v1/persistentvolumes", volume(name, size)).await;
        // The controller knows it, and so may choose it.
        c.until_one::<PersistentVolume>(name, "available", |v| {
            v.status.as_ref().and_then(|s| s.phase.as_deref()) == Some("Available")
        })
        .await;
    }
    c.apply(CLAIMS, claim("a", json!({"storageClassName": ""}))).await;
    let a = c.until_one::<PersistentVolumeClaim>("a", "bound", is("Bound")).await;
    assert_eq!(a.spec.as_ref().and_then(|s| s.volume_name.as_deref()), Some("fit"), "the smallest that suffices");
    c.apply(CLAIMS, claim("b", json!({"storageClassName": "", "volumeName": "big"}))).await;
    c.until_one::<PersistentVolumeClaim>("b", "bound by name", is("Bound")).await;
    c.apply(CLAIMS, claim("c", json!({"storageClassName": ""}))).await;
    c.until_one::<PersistentVolumeClaim>("c", "pending", is("Pending")).await;
    c.until_event("FailedBinding", "no persistent volumes available for this claim and no storage class is set").await;
    c.delete::<PersistentVolumeClaim>("a", "Background").await;
    c.until_one::<PersistentVolume>("fit", "released, its data kept", |v| {
        v.status.as_ref().and_then(|s| s.phase.as_deref()) == Some("Released")
    })
    .await;
    c.stop().await;
}
