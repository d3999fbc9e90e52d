//! Creating and deleting pods on behalf of an owner, with the events that tell of it (pkg/controller RealPodControl).

use crate::{Context, Result};
use client::{DeleteOptions, EventType, Object, Recorder, reference_to};
use k8s_openapi::api::core::v1::{ObjectReference, Pod, PodTemplateSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};

/// The pod that a template describes, owned by `owner`; without a name.
pub fn from_template(template: &PodTemplateSpec, owner_name: &str, namespace: &str, owner: OwnerReference) -> Pod {
    let meta = template.metadata.clone().unwrap_or_default();
    Pod {
        metadata: ObjectMeta {
            generate_name: Some(format!("{owner_name}-")),
            namespace: Some(namespace.to_owned()),
            labels: meta.labels,
            annotations: meta.annotations,
            finalizers: meta.finalizers,
            owner_references: Some(vec![owner]),
            ..Default::default()
        },
        spec: template.spec.clone(),
        status: None,
    }
}

/// Pod operations of one controller.
#[derive(Clone)]
pub struct PodControl {
    pub client: client::Client,
    pub recorder: Recorder,
}

impl PodControl {
    pub fn new(ctx: &Context, recorder: &Recorder) -> Self {
        Self { client: ctx.client.clone(), recorder: recorder.clone() }
    }

    /// Creates a pod; events go to `about`.
    pub async fn create(&self, pod: &Pod, about: &ObjectReference) -> Result<Pod> {
        match self.client.create(pod.namespace(), pod).await {
            Ok(created) => {
                self.recorder.event(about, EventType::Normal, "SuccessfulCreate", format!("Created pod: {}", created.name()));
                Ok(created)
            }
            Err(e) => {
                if !e.is_namespace_terminating() {
                    self.recorder.event(about, EventType::Warning, "FailedCreate", format!("Error creating: {e}"));
                }
                Err(e.into())
            }
        }
    }

    /// Deletes a pod; gone already is an error that the caller may ignore, without an event.
    pub async fn delete(&self, namespace: &str, name: &str, about: &ObjectReference) -> Result<()> {
        match self.client.delete::<Pod>(namespace, name, &DeleteOptions::default()).await {
            Ok(()) => {
                self.recorder.event(about, EventType::Normal, "SuccessfulDelete", format!("Deleted pod: {name}"));
                Ok(())
            }
            Err(e) => {
                if !e.is_not_found() {
                    self.recorder.event(about, EventType::Warning, "FailedDelete", format!("Error deleting: {e}"));
                }
                Err(e.into())
            }
        }
    }
}

/// A reference for events about `owner`.
pub fn about<K: Object>(owner: &K) -> ObjectReference {
    reference_to(owner)
}
