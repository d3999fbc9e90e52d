//! Pod failure policy and success policy.

use super::indexes::Indexes;
use crate::core::pod;
use client::Object;
use k8s_openapi::api::batch::v1::{PodFailurePolicy, PodFailurePolicyOnExitCodesRequirement, SuccessPolicy};
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};

/// What the first matching rule says of a failed pod.
#[derive(Debug, PartialEq)]
pub enum Verdict {
    /// Counts against the back-off limit; also without a matching rule.
    Count,
    Ignore,
    FailIndex,
    /// The Job fails, with this message.
    FailJob(String),
}

pub fn of_failure(policy: Option<&PodFailurePolicy>, p: &Pod) -> Verdict {
    for (i, rule) in policy.iter().flat_map(|p| p.rules.iter()).enumerate() {
        let reason = if let Some(codes) = &rule.on_exit_codes {
            let Some(c) = container_matching(p, codes) else { continue };
            let code = exit_code(c);
            format!(
                "Container {} for pod {} failed with exit code {code} matching {} rule at index {i}",
                c.name,
                p.key(),
                rule.action
            )
        } else {
            let mut found = None;
            for pattern in rule.on_pod_conditions.iter().flatten() {
                let status = pattern.status.as_deref().unwrap_or("True");
                if pod::condition(p, &pattern.type_).is_some_and(|c| c.status == status) {
                    found = Some(pattern.type_.clone());
                    break;
                }
            }
            let Some(kind) = found else { continue };
            format!("Pod {} has condition {kind} matching {} rule at index {i}", p.key(), rule.action)
        };
        return match rule.action.as_str() {
            "Ignore" => Verdict::Ignore,
            "FailIndex" => Verdict::FailIndex,
            "FailJob" => Verdict::FailJob(reason),
            _ => Verdict::Count,
        };
    }
    Verdict::Count
}

fn exit_code(c: &ContainerStatus) -> i32 {
    c.state.as_ref().and_then(|s| s.terminated.as_ref()).map_or(0, |t| t.exit_code)
}

fn container_matching<'a>(p: &'a Pod, r: &PodFailurePolicyOnExitCodesRequirement) -> Option<&'a ContainerStatus> {
    let status = p.status.as_ref()?;
    let all = status.container_statuses.iter().flatten().chain(status.init_container_statuses.iter().flatten());
    all.filter(|c| r.container_name.as_ref().is_none_or(|n| *n == c.name)).find(|c| {
        let code = exit_code(c);
        let terminated = c.state.as_ref().is_some_and(|s| s.terminated.is_some());
        terminated && code != 0 && (r.values.contains(&code) == (r.operator == "In"))
    })
}

/// The first success rule that the succeeded indexes meet, as a message.
pub fn success(policy: Option<&SuccessPolicy>, completions: i32, succeeded: &Indexes) -> Option<String> {
    for (i, rule) in policy?.rules.iter().enumerate() {
        let wanted = rule.succeeded_indexes.as_deref().map(|s| Indexes::parse(s, completions));
        let have = wanted.as_ref().map_or(succeeded.len(), |w| w.0.iter().filter(|i| succeeded.has(**i)).count() as i32);
        let need = rule.succeeded_count.or(wanted.as_ref().map(Indexes::len));
        if need.is_some_and(|n| have >= n) {
            return Some(format!("Matched rules at index {i}"));
        }
    }
    None
}
