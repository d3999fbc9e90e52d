//! DefaultStorageClass, StorageObjectInUseProtection, PersistentVolumeClaimResize. Upstream: plugin/pkg/admission/storage.

use super::{Attributes, Lister, Operation, Plugin, newest_default};
use async_trait::async_trait;
use machinery::meta::{annotations, at, bool_at, finalizers, name, set, str_at};
use machinery::quantity::{self, Quantity};
use machinery::{Status, Value};

const GROUP: &str = "storage.k8s.io";
const CLASS_ANNOTATION: &str = "volume.beta.kubernetes.io/storage-class";

pub struct DefaultStorageClass;

#[async_trait]
impl Plugin for DefaultStorageClass {
    fn name(&self) -> &'static str {
        "DefaultStorageClass"
    }

    fn handles(&self, a: &Attributes) -> bool {
        a.is_main("", "persistentvolumeclaims") && a.operation == Operation::Create
    }

    async fn admit(&self, _: &Attributes, claim: &mut Value, cx: &dyn Lister) -> Result<(), Status> {
        if at(claim, &["spec", "storageClassName"]).is_some() || annotations(claim).contains_key(CLASS_ANNOTATION) {
            return Ok(());
        }
        let marks = ["storageclass.kubernetes.io/is-default-class", "storageclass.beta.kubernetes.io/is-default-class"];
        if let Some(class) = newest_default(cx.list(GROUP, "storageclasses", ""), &marks) {
            set(claim, &["spec", "storageClassName"], name(&class).into());
        }
        Ok(())
    }
}

/// Volumes and claims in use are held by a finalizer until they are not.
pub struct StorageObjectInUseProtection;

#[async_trait]
impl Plugin for StorageObjectInUseProtection {
    fn name(&self) -> &'static str {
        "StorageObjectInUseProtection"
    }

    fn handles(&self, a: &Attributes) -> bool {
        a.operation == Operation::Create
            && (a.is_main("", "persistentvolumes")
                || a.is_main("", "persistentvolumeclaims")
                || a.is_main(GROUP, "volumeattributesclasses"))
    }

    async fn admit(&self, a: &Attributes, obj: &mut Value, _: &dyn Lister) -> Result<(), Status> {
        let finalizer = match a.gvr.resource.as_str() {
            "persistentvolumes" => "kubernetes.io/pv-protection",
            "persistentvolumeclaims" => "kubernetes.io/pvc-protection",
            _ => "kubernetes.io/vac-protection",
        };
        let mut all = finalizers(obj).to_vec();
        if !all.iter().any(|f| f == finalizer) {
            all.push(finalizer.into());
            set(obj, &["metadata", "finalizers"], all.into());
        }
        Ok(())
    }
}

pub struct PersistentVolumeClaimResize;

#[async_trait]
impl Plugin for PersistentVolumeClaimResize {
    fn name(&self) -> &'static str {
        "PersistentVolumeClaimResize"
    }

    fn handles(&self, a: &Attributes) -> bool {
        a.is_main("", "persistentvolumeclaims") && a.operation == Operation::Update
    }

    async fn validate(&self, a: &Attributes, claim: &Value, cx: &dyn Lister) -> Result<(), Status> {
        if size(claim) <= size(a.old()) {
            return Ok(());
        }
        if str_at(a.old(), &["status", "phase"]) != "Bound" {
            return Err(a.forbid(claim, "Only bound persistent volume claims can be expanded"));
        }
        let (class, old) = (class_of(claim), class_of(a.old()));
        let grows = |n: &str| cx.get(GROUP, "storageclasses", "", n).is_some_and(|c| bool_at(&c, &["allowVolumeExpansion"]));
        if class.is_empty() || class != old || !grows(class) {
            let why = "only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must support resize";
            return Err(a.forbid(claim, why));
        }
        Ok(())
    }
}

fn size(claim: &Value) -> Option<Quantity> {
    at(claim, &["spec", "resources", "requests", "storage"]).and_then(|q| quantity::from_value(q).ok())
}

fn class_of(claim: &Value) -> &str {
    match str_at(claim, &["metadata", "annotations", CLASS_ANNOTATION]) {
        "" => str_at(claim, &["spec", "storageClassName"]),
        beta => beta,
    }
}
