//! PodTemplate: a template as an object of its own.

use super::pod::{defaults, spec, warnings};
use crate::at::value_at;
use crate::print::{self, NAME, cells, col};
use crate::rules::Rules;
use crate::selectors;
use crate::strategy::Column;
use crate::workload;
use machinery::meta;

static COLUMNS: [Column; 4] = [
    NAME,
    col("Containers", "Names of each container in the template."),
    col("Images", "Images referenced by each container in the template."),
    col("Pod Labels", "The labels for the pod template."),
];

pub static POD_TEMPLATE: Rules = Rules {
    generation: true,
    default: |obj| workload::default_template(obj, &[], defaults::pod_spec),
    validate: |root, old, e| spec::template(root.get("template"), e, old.map(|o| value_at(o, &["template"]))),
    warnings: |root, old| workload::template_warnings(root.get("template"), old, warnings::pod),
    columns: &COLUMNS,
    cells: |obj, _| {
        let [names, images] = print::containers(meta::list_at(obj, &["template", "spec", "containers"]));
        let labels = selectors::format_labels(meta::map_at(obj, &["template", "metadata", "labels"]));
        cells([print::name(obj), names, images, labels.into()])
    },
    ..Rules::BASE
};
