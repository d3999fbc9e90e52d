//! NamespaceLifecycle: nothing is created in a namespace that is missing or terminating, and the system's namespaces are not deleted.
//! Upstream: apiserver/pkg/admission/plugin/namespace/lifecycle.

use super::{Attributes, Lister, Operation, Plugin};
use async_trait::async_trait;
use machinery::meta::str_at;
use machinery::{GroupResource, Status, Value, json};

const IMMORTAL: [&str; 3] = ["default", "kube-system", "kube-public"];

pub struct NamespaceLifecycle;

#[async_trait]
impl Plugin for NamespaceLifecycle {
    fn name(&self) -> &'static str {
        "NamespaceLifecycle"
    }

    fn handles(&self, a: &Attributes) -> bool {
        match a.operation {
            Operation::Delete => a.is("", "namespaces"),
            Operation::Create | Operation::Update => {
                !a.namespace.is_empty() && !a.is("", "namespaces") && !a.is("authorization.k8s.io", "localsubjectaccessreviews")
            }
            Operation::Connect => false,
        }
    }

    async fn admit(&self, a: &Attributes, obj: &mut Value, cx: &dyn Lister) -> Result<(), Status> {
        if a.operation == Operation::Delete {
            if IMMORTAL.contains(&&*a.name) {
                return Err(Status::forbidden(&a.group_resource(), &a.name, "this namespace may not be deleted"));
            }
            return Ok(());
        }
        let namespace = match cx.get("", "namespaces", "", &a.namespace) {
            Some(n) => n,
            None => cx
                .get_live("", "namespaces", "", &a.namespace)
                .await?
                .ok_or_else(|| Status::not_found(&GroupResource::new("", "namespaces"), &a.namespace))?,
        };
        if a.operation == Operation::Create && str_at(&namespace, &["status", "phase"]) == "Terminating" {
            let ns = &a.namespace;
            let mut s = a.forbid(obj, format!("unable to create new content in namespace {ns} because it is being terminated"));
            let message = format!("namespace {ns} is being terminated");
            let cause = json!([{"reason": "NamespaceTerminating", "message": message, "field": "metadata.namespace"}]);
            s.details.insert("causes".into(), cause);
            return Err(s);
        }
        Ok(())
    }
}
