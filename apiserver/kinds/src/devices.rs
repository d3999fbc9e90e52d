//! resource.k8s.io: ResourceSlice, whose node `kubectl describe node` selects by; defaults of ResourceClaim and its template, which
//! quotas count by. The rest is left to the schema.

use crate::at::{list_mut, set_default};
use crate::print::{self, AGE, NAME, cells, col};
use crate::rules::Rules;
use crate::strategy::Column;
use machinery::{Value, meta};

static SLICE_COLUMNS: [Column; 5] = [NAME, col("Node", ""), col("Driver", ""), col("Pool", ""), AGE];

pub static RESOURCE_SLICE: Rules = Rules {
    generation: true,
    fields: &["spec.nodeName", "spec.driver"],
    columns: &SLICE_COLUMNS,
    cells: |obj, now| {
        cells([
            print::name(obj),
            print::text(obj, &["spec", "nodeName"]),
            print::text(obj, &["spec", "driver"]),
            print::text(obj, &["spec", "pool", "name"]),
            print::age(obj, now),
        ])
    },
    ..Rules::BASE
};

pub static RESOURCE_CLAIM: Rules = Rules { status: true, default: |obj| default_requests(obj, &["spec"]), ..Rules::BASE };

pub static RESOURCE_CLAIM_TEMPLATE: Rules = Rules { default: |obj| default_requests(obj, &["spec", "spec"]), ..Rules::BASE };

/// A request is for one device, unless it says otherwise.
fn default_requests(obj: &mut Value, spec: &[&str]) {
    let path: Vec<&str> = spec.iter().chain(&["devices", "requests"]).copied().collect();
    for request in list_mut(obj, &path) {
        for sub in list_mut(request, &["firstAvailable"]) {
            default_request(sub);
        }
        if let Some(exactly) = request.get_mut("exactly") {
            default_request(exactly);
        }
    }
}

fn default_request(request: &mut Value) {
    if !request.is_object() {
        return;
    }
    set_default(request, &["allocationMode"], "ExactCount");
    if meta::str_at(request, &["allocationMode"]) == "ExactCount" {
        set_default(request, &["count"], 1);
    }
}
