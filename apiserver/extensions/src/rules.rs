//! The seam to CEL: who compiles `x-kubernetes-validations` of a schema, and what checks an object by them. Without a compiler,
//! schemas with rules are refused.

use crate::structural::Schema;
use machinery::Value;
use machinery::field::{Error, ErrorList, Path};

/// The compiled rules of a schema, all its levels.
pub trait RuleSet: Send + Sync {
    /// Errors of an object; with `old`, of an update.
    fn validate(&self, v: &Value, old: Option<&Value>) -> ErrorList;
}

/// A compiler of rules.
pub trait Compile: Send + Sync {
    /// The rules of a schema, `None` if it has none. Errors are those of the definition, below `path`.
    fn compile(&self, raw: &Value, schema: &Schema, path: &Path) -> Result<Option<Box<dyn RuleSet>>, ErrorList>;
}

/// No compiler: a schema with rules is refused.
pub struct NoRules;

impl Compile for NoRules {
    fn compile(&self, _: &Value, schema: &Schema, path: &Path) -> Result<Option<Box<dyn RuleSet>>, ErrorList> {
        if schema.any(&|s| !s.validations.is_empty()) {
            let why = "x-kubernetes-validations (CEL rules) are not built into this server";
            return Err(vec![Error::forbidden(path, why)]);
        }
        Ok(None)
    }
}

/// The compiler of this build.
pub fn compiler() -> &'static dyn Compile {
    &NoRules
}
