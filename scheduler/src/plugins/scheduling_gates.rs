//! SchedulingGates: pods with `spec.schedulingGates` wait until the last gate is gone.

use crate::framework::PreEnqueuePlugin;
use crate::pod::PodInfo;
use crate::status::{Status, Verdict};

pub struct SchedulingGates;

impl PreEnqueuePlugin for SchedulingGates {
    fn name(&self) -> &'static str {
        "SchedulingGates"
    }
    fn pre_enqueue(&self, pod: &PodInfo) -> Verdict {
        let gates: Vec<&str> = pod.spec().scheduling_gates.iter().flatten().map(|g| g.name.as_str()).collect();
        if gates.is_empty() {
            return Ok(());
        }
        Err(Status::unresolvable(self.name(), format!("waiting for scheduling gates: [{}]", gates.join(" "))))
    }
}
