//! The rules of custom resources, as every kind has them. Upstream: apiextensions-apiserver/pkg/registry/customresource/strategy.go.

use super::Custom;
use kinds::{Context, PrinterRow, Strategy};
use machinery::field::ErrorList;
use machinery::{Value, json, meta, validation};

impl Strategy for Custom {
    fn prepare_for_create(&self, _: &Context, obj: &mut Value) {
        if self.version.status {
            meta::remove(obj, &["status"]);
        }
    }
    fn validate(&self, _: &Context, obj: &Value) -> ErrorList {
        self.version.validate(obj)
    }
    fn warnings(&self, _: &Context, obj: &Value, old: Option<&Value>) -> Vec<String> {
        self.version.warnings(obj, old)
    }
    fn validate_name(&self, name: &str, prefix: bool) -> Vec<String> {
        validation::name_is_dns_subdomain(name, prefix)
    }
    fn validate_update(&self, _: &Context, obj: &Value, old: &Value) -> ErrorList {
        self.version.validate_update(obj, old)
    }
    fn validate_status_update(&self, _: &Context, obj: &Value, old: &Value) -> ErrorList {
        self.version.validate_status(obj, old)
    }
    fn has_generation(&self) -> bool {
        true
    }
    fn allow_unconditional_update(&self) -> bool {
        false
    }
    fn selectable_fields(&self, obj: &Value) -> Vec<(&str, String)> {
        self.version.selectable_fields(obj)
    }
    fn selects(&self, field: &str) -> bool {
        self.version.selectable.iter().any(|f| f.name == field)
    }
    fn has_columns(&self) -> bool {
        true
    }
    fn column_definitions(&self) -> Option<Value> {
        let name = json!({"name": "Name", "type": "string", "format": "name",
            "description": kinds::table::NAME_DESCRIPTION, "priority": 0});
        let own = self.version.columns.iter().map(
            |c| json!({"name": c.name, "type": c.ty, "format": c.format, "description": c.description, "priority": c.priority}),
        );
        Some(std::iter::once(name).chain(own).collect())
    }
    fn row(&self, obj: &Value, now: i64) -> PrinterRow {
        let own = self.version.columns.iter().map(|c| c.cell(obj, now));
        (std::iter::once(meta::name(obj).into()).chain(own).collect(), Vec::new())
    }
}
