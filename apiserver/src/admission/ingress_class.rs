//! DefaultIngressClass. Upstream: plugin/pkg/admission/network/defaultingressclass.

use super::{Attributes, Lister, Operation, Plugin, newest_default};
use async_trait::async_trait;
use machinery::meta::{annotations, at, name, set};
use machinery::{Status, Value};

const GROUP: &str = "networking.k8s.io";

pub struct DefaultIngressClass;

#[async_trait]
impl Plugin for DefaultIngressClass {
    fn name(&self) -> &'static str {
        "DefaultIngressClass"
    }

    fn handles(&self, a: &Attributes) -> bool {
        a.is_main(GROUP, "ingresses") && a.operation == Operation::Create
    }

    async fn admit(&self, _: &Attributes, ingress: &mut Value, cx: &dyn Lister) -> Result<(), Status> {
        if at(ingress, &["spec", "ingressClassName"]).is_some()
            || annotations(ingress).contains_key("kubernetes.io/ingress.class")
        {
            return Ok(());
        }
        let classes = cx.list(GROUP, "ingressclasses", "");
        if let Some(class) = newest_default(classes, &["ingressclass.kubernetes.io/is-default-class"]) {
            set(ingress, &["spec", "ingressClassName"], name(&class).into());
        }
        Ok(())
    }
}
