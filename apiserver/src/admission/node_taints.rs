//! DefaultTolerationSeconds and TaintNodesByCondition: pods stay five minutes on a node that fails, and a new node starts tainted until
//! it is found ready. Upstream: plugin/pkg/admission/{defaulttolerationseconds,nodetaint}.

use super::{Attributes, Lister, Operation, Plugin};
use async_trait::async_trait;
use machinery::meta::{list_at, set, str_at};
use machinery::{Status, Value, json};

const NOT_READY: &str = "node.kubernetes.io/not-ready";
const UNREACHABLE: &str = "node.kubernetes.io/unreachable";

/// `--default-{not-ready,unreachable}-toleration-seconds`.
pub struct DefaultTolerationSeconds {
    pub not_ready: i64,
    pub unreachable: i64,
}

impl Default for DefaultTolerationSeconds {
    fn default() -> Self {
        Self { not_ready: 300, unreachable: 300 }
    }
}

#[async_trait]
impl Plugin for DefaultTolerationSeconds {
    fn name(&self) -> &'static str {
        "DefaultTolerationSeconds"
    }

    fn handles(&self, a: &Attributes) -> bool {
        a.is_main("", "pods") && matches!(a.operation, Operation::Create | Operation::Update)
    }

    async fn admit(&self, _: &Attributes, pod: &mut Value, _: &dyn Lister) -> Result<(), Status> {
        let mut all = list_at(pod, &["spec", "tolerations"]).to_vec();
        let before = all.len();
        for (key, seconds) in [(NOT_READY, self.not_ready), (UNREACHABLE, self.unreachable)] {
            let tolerates = |t: &Value| {
                matches!(str_at(t, &["key"]), "" | NOT_READY | UNREACHABLE)
                    && (str_at(t, &["key"]).is_empty() || str_at(t, &["key"]) == key)
                    && matches!(str_at(t, &["effect"]), "" | "NoExecute")
            };
            if !all[..before].iter().any(tolerates) {
                all.push(json!({"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": seconds}));
            }
        }
        if all.len() > before {
            set(pod, &["spec", "tolerations"], all.into());
        }
        Ok(())
    }
}

pub struct TaintNodesByCondition;

#[async_trait]
impl Plugin for TaintNodesByCondition {
    fn name(&self) -> &'static str {
        "TaintNodesByCondition"
    }

    fn handles(&self, a: &Attributes) -> bool {
        a.is_main("", "nodes") && a.operation == Operation::Create
    }

    async fn admit(&self, _: &Attributes, node: &mut Value, _: &dyn Lister) -> Result<(), Status> {
        let mut taints = list_at(node, &["spec", "taints"]).to_vec();
        if taints.iter().any(|t| str_at(t, &["key"]) == NOT_READY && str_at(t, &["effect"]) == "NoSchedule") {
            return Ok(());
        }
        taints.push(json!({"key": NOT_READY, "effect": "NoSchedule"}));
        set(node, &["spec", "taints"], taints.into());
        Ok(())
    }
}
