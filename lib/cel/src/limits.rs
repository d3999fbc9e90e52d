//! The limits on expressions and their evaluation, as upstream's API server sets them.

/// The most that one evaluation of one expression may cost.
pub const PER_CALL_LIMIT: u64 = 1_000_000;
/// The most that the rules of one custom resource may cost on one request.
pub const RUNTIME_CEL_COST_BUDGET: u64 = 10_000_000;
/// The most that all expressions of one policy may cost on one request.
pub const RUNTIME_CEL_COST_BUDGET_MATCH_CONDITIONS: u64 = RUNTIME_CEL_COST_BUDGET / 4;
/// The most that one rule of a CRD may be estimated to cost.
pub const STATIC_ESTIMATED_COST_LIMIT: u64 = 10_000_000;
/// The most that all rules of a CRD may be estimated to cost.
pub const STATIC_ESTIMATED_CRD_COST_LIMIT: u64 = 100_000_000;
/// The largest request body that sizes are estimated from.
pub const MAX_REQUEST_SIZE: u64 = 3 * 1024 * 1024;
/// The longest expression, in characters.
pub const MAX_EXPRESSION: usize = 100_000;
/// How deep an expression may nest; upstream's limit is 250, which takes more stack than a worker thread has.
pub const MAX_DEPTH: usize = 80;
