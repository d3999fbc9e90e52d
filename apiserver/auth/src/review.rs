//! The review kinds: asking the API server who a token is and what a user may do. Each function takes the request's object and
//! returns the response's. Upstream: pkg/registry/{authentication,authorization}.

use crate::authn::Tokens;
use crate::authz::{Attributes, Authorizer, Decision};
use crate::user::UserInfo;
use machinery::field::{Error, ErrorList, Path};
use machinery::meta::{at, list_at, map_at, str_at};
use machinery::{Map, Status, Value, json, meta};

const AUTHORIZATION: &str = "authorization.k8s.io";

fn strings(v: &[Value]) -> Vec<String> {
    v.iter().filter_map(Value::as_str).map(str::to_owned).collect()
}

/// A user as `authentication.k8s.io/v1` UserInfo.
pub fn user_value(u: &UserInfo) -> Value {
    let mut m = Map::new();
    if !u.name.is_empty() {
        m.insert("username".into(), u.name.clone().into());
    }
    if !u.uid.is_empty() {
        m.insert("uid".into(), u.uid.clone().into());
    }
    if !u.groups.is_empty() {
        m.insert("groups".into(), u.groups.clone().into());
    }
    if !u.extra.is_empty() {
        m.insert("extra".into(), json!(u.extra));
    }
    m.into()
}

/// `authentication.k8s.io` TokenReview. `audiences` are the API server's own, for a review that names none.
pub async fn token_review(tokens: &Tokens, audiences: &[String], mut review: Value) -> Result<Value, Status> {
    let token = str_at(&review, &["spec", "token"]).to_owned();
    if token.is_empty() {
        return Err(Status::bad_request("token is required for TokenReview in authentication"));
    }
    let mut asked = strings(list_at(&review, &["spec", "audiences"]));
    if asked.is_empty() {
        asked = audiences.to_vec();
    }
    let mut status = Map::new();
    match tokens.authenticate(&token, &asked).await {
        Ok(Some(found)) => {
            status.insert("authenticated".into(), true.into());
            status.insert("user".into(), user_value(&found.user));
            if !found.audiences.is_empty() {
                status.insert("audiences".into(), found.audiences.into());
            }
        }
        Ok(None) => {
            status.insert("user".into(), json!({}));
        }
        Err(e) => {
            status.insert("user".into(), json!({}));
            status.insert("error".into(), format!("[invalid bearer token, {e}]").into());
        }
    }
    review["status"] = status.into();
    Ok(review)
}

/// `authentication.k8s.io` SelfSubjectReview.
pub fn self_subject_review(user: &UserInfo, mut review: Value, now: &str) -> Value {
    meta::set(&mut review, &["metadata", "creationTimestamp"], now.into());
    review["status"] = json!({"userInfo": user_value(user)});
    review
}

/// `authorization.k8s.io` SubjectAccessReview.
pub async fn subject_access_review(authorizer: &dyn Authorizer, review: Value) -> Result<Value, Status> {
    let mut errors = validate_spec(&review, true);
    errors.extend(empty_metadata(&review, &[], "must be empty"));
    refuse("SubjectAccessReview", errors)?;
    let user = subject(&review);
    answer(authorizer, user, review).await
}

/// `authorization.k8s.io` LocalSubjectAccessReview, in the namespace of the request's path.
pub async fn local_subject_access_review(
    authorizer: &dyn Authorizer,
    namespace: &str,
    mut review: Value,
) -> Result<Value, Status> {
    if meta::namespace(&review).is_empty() {
        meta::set(&mut review, &["metadata", "namespace"], namespace.into());
    }
    let mut errors = validate_spec(&review, true);
    errors.extend(empty_metadata(&review, &["namespace"], "must be empty except for namespace"));
    let asked = str_at(&review, &["spec", "resourceAttributes", "namespace"]);
    if at(&review, &["spec", "resourceAttributes"]).is_some() && asked != meta::namespace(&review) {
        errors.push(Error::invalid(&Path::new("spec.resourceAttributes.namespace"), asked, "must match metadata.namespace"));
    }
    if let Some(v) = at(&review, &["spec", "nonResourceAttributes"]) {
        errors.push(Error::invalid(&Path::new("spec.nonResourceAttributes"), v.clone(), "disallowed on this kind of request"));
    }
    refuse("LocalSubjectAccessReview", errors)?;
    if namespace != meta::namespace(&review) {
        return Err(Status::bad_request(format!("spec.resourceAttributes.namespace must match namespace: {namespace}")));
    }
    let user = subject(&review);
    answer(authorizer, user, review).await
}

/// `authorization.k8s.io` SelfSubjectAccessReview.
pub async fn self_subject_access_review(authorizer: &dyn Authorizer, user: &UserInfo, review: Value) -> Result<Value, Status> {
    let mut errors = validate_spec(&review, false);
    errors.extend(empty_metadata(&review, &[], "must be empty"));
    refuse("SelfSubjectAccessReview", errors)?;
    answer(authorizer, user.clone(), review).await
}

/// `authorization.k8s.io` SelfSubjectRulesReview.
pub async fn self_subject_rules_review(authorizer: &dyn Authorizer, user: &UserInfo, mut review: Value) -> Result<Value, Status> {
    let namespace = str_at(&review, &["spec", "namespace"]).to_owned();
    if namespace.is_empty() {
        return Err(Status::bad_request("no namespace on request"));
    }
    let set = authorizer.rules_for(user, &namespace).await;
    let (mut resources, mut paths) = (Vec::new(), Vec::new());
    for r in &set.rules {
        if !r.resources.is_empty() {
            let mut rule = r.to_value();
            meta::remove(&mut rule, &["nonResourceURLs"]);
            resources.push(rule);
        }
        if !r.non_resource_urls.is_empty() {
            paths.push(json!({"verbs": r.verbs, "nonResourceURLs": r.non_resource_urls}));
        }
    }
    let mut status = json!({"resourceRules": resources, "nonResourceRules": paths, "incomplete": set.incomplete});
    if let Some(e) = crate::authz::aggregate(&set.errors) {
        status["evaluationError"] = e.into();
    }
    review["metadata"] = json!({});
    review["spec"] = json!({});
    review["status"] = status;
    Ok(review)
}

fn refuse(kind: &str, errors: ErrorList) -> Result<(), Status> {
    if errors.is_empty() { Ok(()) } else { Err(Status::invalid(AUTHORIZATION, kind, "", &errors)) }
}

fn validate_spec(review: &Value, needs_subject: bool) -> ErrorList {
    let mut errors = ErrorList::new();
    let spec = Path::new("spec");
    let resource = at(review, &["spec", "resourceAttributes"]);
    let path = at(review, &["spec", "nonResourceAttributes"]);
    match (resource, path) {
        (Some(_), Some(p)) => {
            let why = "cannot be specified in combination with resourceAttributes";
            errors.push(Error::invalid(&spec.child("nonResourceAttributes"), p.clone(), why));
        }
        (None, None) => {
            let why = "exactly one of nonResourceAttributes or resourceAttributes must be specified";
            errors.push(Error::invalid(&spec.child("resourceAttributes"), Value::Null, why));
        }
        _ => {}
    }
    if needs_subject && str_at(review, &["spec", "user"]).is_empty() && list_at(review, &["spec", "groups"]).is_empty() {
        errors.push(Error::invalid(&spec.child("user"), "", "at least one of user or group must be specified"));
    }
    for kind in ["fieldSelector", "labelSelector"] {
        let Some(selector) = at(review, &["spec", "resourceAttributes", kind]) else { continue };
        let field = Path::new("spec.resourceAttributes").child(kind);
        let raw = str_at(selector, &["rawSelector"]);
        match (raw.is_empty(), list_at(selector, &["requirements"]).is_empty()) {
            (false, false) => {
                errors.push(Error::invalid(
                    &field.child("rawSelector"),
                    raw,
                    "may not specified at the same time as requirements",
                ));
            }
            (true, true) => {
                let why = format!("when {field} is specified, requirements or rawSelector is required");
                errors.push(Error::required(&field.child("requirements"), why));
            }
            _ => {}
        }
    }
    errors
}

fn empty_metadata(review: &Value, allowed: &[&str], why: &str) -> Option<Error> {
    let m = map_at(review, &["metadata"]);
    let set = |(k, v): (&String, &Value)| k != "managedFields" && !v.is_null() && !allowed.contains(&k.as_str());
    m.iter().any(set).then(|| Error::invalid(&Path::new("metadata"), Value::Object(m.clone()), why))
}

fn subject(review: &Value) -> UserInfo {
    let spec = review.get("spec").unwrap_or(&Value::Null);
    UserInfo {
        name: str_at(spec, &["user"]).into(),
        uid: str_at(spec, &["uid"]).into(),
        groups: strings(list_at(spec, &["groups"])),
        extra: map_at(spec, &["extra"])
            .iter()
            .map(|(k, v)| (k.clone(), strings(v.as_array().map_or(&[], Vec::as_slice))))
            .collect(),
    }
}

async fn answer(authorizer: &dyn Authorizer, user: UserInfo, mut review: Value) -> Result<Value, Status> {
    let attrs = attributes(user, review.get("spec").unwrap_or(&Value::Null));
    let v = authorizer.authorize(&attrs).await;
    let mut status = Map::new();
    status.insert("allowed".into(), (v.decision == Decision::Allow).into());
    if v.decision == Decision::Deny {
        status.insert("denied".into(), true.into());
    }
    if !v.reason.is_empty() {
        status.insert("reason".into(), v.reason.into());
    }
    if let Some(e) = v.error {
        status.insert("evaluationError".into(), e.into());
    }
    review["status"] = status.into();
    Ok(review)
}

fn attributes(user: UserInfo, spec: &Value) -> Attributes {
    let Some(r) = at(spec, &["resourceAttributes"]) else {
        return Attributes::path(
            &user,
            str_at(spec, &["nonResourceAttributes", "verb"]),
            str_at(spec, &["nonResourceAttributes", "path"]),
        );
    };
    let text = |k: &str| str_at(r, &[k]);
    let mut a = Attributes::resource(&user, text("verb"), text("group"), text("resource"), text("namespace"), text("name"))
        .with_subresource(text("subresource"));
    if !text("version").is_empty() {
        a.version = text("version").into();
    }
    a.field_selector = selector(r, "fieldSelector");
    a.label_selector = selector(r, "labelSelector");
    a
}

/// The raw selector, or its equality requirements written as one. Other operators only narrow a request, which no built-in
/// authorizer rewards.
fn selector(attributes: &Value, kind: &str) -> String {
    let raw = str_at(attributes, &[kind, "rawSelector"]);
    if !raw.is_empty() {
        return raw.to_owned();
    }
    let terms = list_at(attributes, &[kind, "requirements"]).iter().filter_map(|r| match list_at(r, &["values"]) {
        [one] if str_at(r, &["operator"]) == "In" => Some(format!("{}={}", str_at(r, &["key"]), one.as_str()?)),
        _ => None,
    });
    terms.collect::<Vec<_>>().join(",")
}
