//! What the rules of a definition may cost at most, and whether that is too much. Upstream:
//! apiextensions-apiserver/pkg/apis/apiextensions/validation, CELSchemaContext and TotalCost.

use cel::{DeclType, limits};
use machinery::field::{Error, ErrorList, Path};

/// How often a node of a schema may stand in an object; `None`: as often as a request has room.
#[derive(Clone, Copy)]
pub struct Cardinality(Option<u64>);

impl Cardinality {
    pub const ONE: Self = Self(Some(1));

    /// Below a list or a map of at most `max` elements.
    pub fn times(self, max: Option<i64>) -> Self {
        Self(self.0.zip(max).map(|(n, max)| n.saturating_mul(u64::try_from(max).unwrap_or(0))))
    }

    /// The cost of a rule on all of them.
    pub fn of(self, decl: &DeclType, cost: u64) -> u64 {
        let count = self.0.unwrap_or(limits::MAX_REQUEST_SIZE / (decl.min_serialized + 1));
        cost.saturating_mul(count)
    }
}

/// Costs seen so far.
#[derive(Default)]
pub struct Costs {
    seen: Vec<(Path, u64)>,
}

/// How many expressions are named when all together cost too much.
const NAMED: usize = 4;

impl Costs {
    pub fn add(&mut self, what: &str, path: Path, cost: u64, e: &mut ErrorList) {
        if cost > limits::STATIC_ESTIMATED_COST_LIMIT {
            e.push(Error::forbidden(&path, exceeds(what, cost, limits::STATIC_ESTIMATED_COST_LIMIT)));
        }
        self.seen.push((path, cost));
    }

    /// Refuses what all rules of the schema at `path` may cost together.
    pub fn total(&mut self, path: &Path, e: &mut ErrorList) {
        let total = self.seen.iter().fold(0u64, |sum, (_, c)| sum.saturating_add(*c));
        if total <= limits::STATIC_ESTIMATED_CRD_COST_LIMIT {
            return;
        }
        self.seen.sort_by_key(|(_, c)| std::cmp::Reverse(*c));
        for (at, _) in self.seen.iter().take(NAMED) {
            let why = "contributed to estimated rule cost total exceeding cost limit for entire OpenAPIv3 schema";
            e.push(Error::forbidden(at, why));
        }
        let what = "x-kubernetes-validations estimated rule cost total for entire OpenAPIv3 schema";
        e.push(Error::forbidden(path, exceeds(what, total, limits::STATIC_ESTIMATED_CRD_COST_LIMIT)));
    }
}

#[allow(clippy::cast_precision_loss)]
fn exceeds(what: &str, cost: u64, limit: u64) -> String {
    let factor = cost as f64 / limit as f64;
    let factor = if factor > 100.0 {
        "more than 100x".to_owned()
    } else if factor < 1.5 {
        format!("{factor:.6}x")
    } else {
        format!("{factor:.1}x")
    };
    format!(
        "{what} exceeds budget by factor of {factor} (try simplifying the rule, or adding maxItems, maxProperties, and maxLength where \
         arrays, maps, and strings are declared)"
    )
}
