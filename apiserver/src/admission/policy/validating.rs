//! What validating policies make of a request: denials, warnings (validating/{dispatcher,validator}.go).

use super::definition::{Cache, Policy, Validation};
use super::input::{Asker, Input, Scope, request};
use super::{Family, Invocation, namespace_object, select};
use crate::admission::{Attributes, Lister};
use cel::{Budget, Val, limits};
use machinery::{Status, Value, json, meta};

/// The longest message that an expression makes.
const MAX_MESSAGE: usize = 5 * 1024;

/// Why a policy is against a request.
struct Denial {
    message: String,
    reason: String,
}

pub async fn dispatch(cache: &Cache, attrs: &Attributes, obj: &Value, cx: &dyn Lister) -> Result<(), Status> {
    let (found, faults) = select(Family::Validating, cache, attrs, obj, cx).await;
    let mut first: Option<(String, String)> = None;
    for fault in faults.iter().filter(|f| !f.policy.ignores_errors()) {
        let binding = fault.binding.as_ref().map(|b| format!(" with binding '{}'", meta::name(b))).unwrap_or_default();
        let message = format!("ValidatingAdmissionPolicy '{}'{binding} denied request: {}", fault.policy.name(), fault.why);
        first.get_or_insert((message, String::new()));
    }
    if !found.is_empty() {
        let namespace = namespace_object(attrs, cx).await?;
        let request = request(attrs);
        for invocation in &found {
            let (policy, binding) = (invocation.policy.name(), meta::name(&invocation.binding));
            for denial in evaluate(invocation, attrs, obj, &request, &namespace, cx) {
                for action in meta::list_at(&invocation.binding, &["spec", "validationActions"]) {
                    let message = &denial.message;
                    match action.as_str() {
                        Some("Deny") => {
                            let text = format!(
                                "ValidatingAdmissionPolicy '{policy}' with binding '{binding}' denied request: {message}"
                            );
                            first.get_or_insert((text, denial.reason.clone()));
                        }
                        Some("Warn") => attrs.warn(format!(
                            "Validation failed for ValidatingAdmissionPolicy '{policy}' with binding '{binding}': {message}"
                        )),
                        // Audit: there are no audit events to annotate.
                        _ => {}
                    }
                }
            }
        }
    }
    first.map_or(Ok(()), |(message, reason)| Err(refusal(attrs, obj, message, &reason)))
}

fn refusal(attrs: &Attributes, obj: &Value, message: String, reason: &str) -> Status {
    let mut status = attrs.forbid(obj, &message);
    let reason = if reason.is_empty() { "Invalid" } else { reason };
    status.code = match reason {
        "Forbidden" => 403,
        "Unauthorized" => 401,
        "RequestEntityTooLarge" => 413,
        _ => 422,
    };
    status.reason = reason.into();
    status.details.insert("causes".into(), json!([{"message": message}]));
    status
}

/// The denials of a policy on one parameter object.
fn evaluate(
    invocation: &Invocation,
    attrs: &Attributes,
    obj: &Value,
    request: &Value,
    namespace: &Value,
    cx: &dyn Lister,
) -> Vec<Denial> {
    let policy: &Policy = &invocation.policy;
    let asker = Asker { attrs, authorizer: cx.authorizer() };
    let params = invocation.param.as_deref().unwrap_or(&Value::Null);
    let input = Input { attrs, object: obj, params, request, namespace, asker: &asker };
    let failed = |message: String| match policy.ignores_errors() {
        true => Vec::new(),
        false => vec![Denial { message, reason: String::new() }],
    };
    let budget = Budget::new(limits::RUNTIME_CEL_COST_BUDGET_MATCH_CONDITIONS);
    let conditions = Scope::new(&input, policy, &budget);
    match conditions.conditions() {
        Ok(true) => {}
        Ok(false) => return Vec::new(),
        Err(why) => return failed(why),
    }
    let budget = Budget::new(limits::RUNTIME_CEL_COST_BUDGET);
    let scope = Scope::new(&input, policy, &budget);
    let mut out = Vec::new();
    for v in &policy.validations {
        match scope.evaluate(&v.expression) {
            Err(why) => return failed(why),
            Ok(Ok(Val::Bool(true))) => {}
            Ok(Ok(_)) => match message(&scope, v) {
                Ok(message) => out.push(Denial { message, reason: v.reason.clone() }),
                Err(why) => out.extend(failed(format!("failed messageExpression: {why}"))),
            },
            Ok(Err(why)) => out.extend(failed(why)),
        }
    }
    for (_, e) in &policy.audit_annotations {
        match scope.evaluate(e) {
            Ok(Ok(_)) => {}
            Ok(Err(why)) | Err(why) => out.extend(failed(why)),
        }
    }
    out
}

/// The message of a validation that failed: by its expression, as given, or of the expression itself.
fn message<'a>(scope: &'a Scope<'a>, v: &Validation) -> Result<String, String> {
    if let Some(e) = &v.message_expression
        && let Ok(Val::String(text)) = scope.evaluate(e)?
    {
        let text = text.trim();
        if !text.is_empty() && text.len() <= MAX_MESSAGE && !text.contains('\n') {
            return Ok(text.to_owned());
        }
    }
    Ok(match v.message.as_str() {
        "" => format!("failed expression: {}", v.expression.text.trim()),
        given => given.to_owned(),
    })
}
