//! `IntOrString` of typed objects as numbers.

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

/// The number, or the percentage of `total`.
pub fn scaled(v: &IntOrString, total: i32, round_up: bool) -> Result<i32, String> {
    let v = match v {
        IntOrString::Int(n) => machinery::intstr::IntOrString::Int(*n),
        IntOrString::String(s) => machinery::intstr::IntOrString::String(s.clone()),
    };
    v.scaled(i64::from(total), round_up).map(|n| i32::try_from(n).unwrap_or(i32::MAX))
}
