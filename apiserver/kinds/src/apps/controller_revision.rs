//! ControllerRevision: data that never changes.

use crate::at::value_at;
use crate::print::{self, AGE, NAME, cells, col};
use crate::rules::Rules;
use crate::strategy::Column;
use machinery::{Value, meta};

static COLUMNS: [Column; 4] = [NAME, col("Controller", "Controller of the object"), col("Revision", ""), AGE];

pub static CONTROLLER_REVISION: Rules = Rules {
    validate: |root, old, e| {
        root.get("revision").non_negative(e);
        let data = root.get("data");
        match old {
            Some(old) => data.immutable(e, value_at(old, &["data"])),
            None => match data.v {
                Value::Null => data.required(e, "data is mandatory"),
                Value::Object(_) => {}
                _ => data.required(e, "data must be a valid JSON object"),
            },
        }
    },
    columns: &COLUMNS,
    cells: |obj, now| {
        let owner = meta::controller_of(obj).map_or_else(|| print::NONE.to_owned(), owner_text);
        cells([print::name(obj), owner.into(), print::number(obj, &["revision"]), print::age(obj, now)])
    },
    ..Rules::BASE
};

/// `deployment.apps/web`.
fn owner_text(owner: &Value) -> String {
    let kind = meta::str_at(owner, &["kind"]).to_lowercase();
    let group = meta::str_at(owner, &["apiVersion"]).split_once('/').map_or(String::new(), |(g, _)| format!(".{g}"));
    format!("{kind}{group}/{}", meta::str_at(owner, &["name"]))
}
