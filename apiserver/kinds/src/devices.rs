//! resource.k8s.io: ResourceSlice. `kubectl describe node` asks for a node's by a field; the rest is left to the schema.

use crate::print::{self, AGE, NAME, cells, col};
use crate::rules::Rules;
use crate::strategy::Column;

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
