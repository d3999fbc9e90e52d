//! Priority: a pod's priority is that of its PriorityClass, and only one class is the default. Upstream: plugin/pkg/admission/priority.

use super::{Attributes, Lister, Operation, Plugin};
use async_trait::async_trait;
use machinery::meta::{at, bool_at, i64_at, name, set, str_at};
use machinery::{Status, Value};
use std::sync::Arc;

const GROUP: &str = "scheduling.k8s.io";

pub struct Priority;

#[async_trait]
impl Plugin for Priority {
    fn name(&self) -> &'static str {
        "Priority"
    }

    fn handles(&self, a: &Attributes) -> bool {
        matches!(a.operation, Operation::Create | Operation::Update)
            && (a.is_main("", "pods") || a.is_main(GROUP, "priorityclasses"))
    }

    async fn admit(&self, a: &Attributes, pod: &mut Value, cx: &dyn Lister) -> Result<(), Status> {
        if !a.is("", "pods") {
            return Ok(());
        }
        if a.operation == Operation::Update {
            for field in ["priority", "preemptionPolicy"] {
                if let (None, Some(old)) = (at(pod, &["spec", field]), at(a.old(), &["spec", field])) {
                    set(pod, &["spec", field], old.clone());
                }
            }
            return Ok(());
        }
        let class = match str_at(pod, &["spec", "priorityClassName"]) {
            "" => default_class(cx),
            wanted => Some(match cx.get(GROUP, "priorityclasses", "", wanted) {
                Some(c) => c,
                None => cx
                    .get_live(GROUP, "priorityclasses", "", wanted)
                    .await?
                    .ok_or_else(|| a.forbid(pod, format!("no PriorityClass with name {wanted} was found")))?,
            }),
        };
        let value = class.as_ref().and_then(|c| i64_at(c, &["value"])).unwrap_or(0);
        let policy = match &class {
            None => "PreemptLowerPriority".to_owned(),
            Some(c) => str_at(c, &["preemptionPolicy"]).to_owned(),
        };
        if let Some(given) = i64_at(pod, &["spec", "priority"])
            && given != value
        {
            return Err(a.forbid(
                pod,
                format!(
                    "the integer value of priority ({given}) must not be provided in pod spec; priority admission controller computed \
                     {value} from the given PriorityClass name"
                ),
            ));
        }
        let given = str_at(pod, &["spec", "preemptionPolicy"]);
        if !policy.is_empty() && !given.is_empty() && given != policy {
            return Err(a.forbid(
                pod,
                format!(
                    "the string value of PreemptionPolicy ({given}) must not be provided in pod spec; priority admission controller \
                     computed {policy} from the given PriorityClass name"
                ),
            ));
        }
        if let Some(c) = &class {
            set(pod, &["spec", "priorityClassName"], name(c).into());
        }
        set(pod, &["spec", "priority"], value.into());
        if !policy.is_empty() {
            set(pod, &["spec", "preemptionPolicy"], policy.into());
        }
        Ok(())
    }

    async fn validate(&self, a: &Attributes, class: &Value, cx: &dyn Lister) -> Result<(), Status> {
        if !a.is(GROUP, "priorityclasses") || !bool_at(class, &["globalDefault"]) {
            return Ok(());
        }
        match default_class(cx) {
            Some(d) if a.operation == Operation::Create || name(&d) != name(class) => Err(
                a.forbid(class, format!("PriorityClass {} is already marked as default. Only one default can exist", name(&d)))
            ),
            _ => Ok(()),
        }
    }
}

/// The class marked as default; of several (a race), the one of lowest value.
fn default_class(cx: &dyn Lister) -> Option<Arc<Value>> {
    let all = cx.list(GROUP, "priorityclasses", "").into_iter().filter(|c| bool_at(c, &["globalDefault"]));
    all.min_by_key(|c| i64_at(c, &["value"]).unwrap_or(0))
}
