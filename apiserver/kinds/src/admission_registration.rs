//! admissionregistration.k8s.io: webhook configurations, and defaults and columns of admission policies (whose CEL is compiled by
//! the admission plugin).

use crate::at::{At, list_mut, set_default};
use crate::print::{self, AGE, NAME, cells, col, int};
use crate::rules::Rules;
use crate::selectors;
use crate::strategy::{Column, PrinterRow};
use machinery::field::ErrorList;
use machinery::validation::{dns1035_label, fully_qualified_name};
use machinery::{Value, json, meta};

static WEBHOOK_COLUMNS: [Column; 3] =
    [NAME, int("Webhooks", "Webhooks indicates the number of webhooks registered in this configuration"), AGE];

const WEBHOOKS: Rules = Rules {
    generation: true,
    columns: &WEBHOOK_COLUMNS,
    cells: |obj, now| cells([print::name(obj), meta::list_at(obj, &["webhooks"]).len().into(), print::age(obj, now)]),
    ..Rules::BASE
};

pub static VALIDATING: Rules = Rules {
    default: |obj| list_mut(obj, &["webhooks"]).filter(|h| h.is_object()).for_each(default_hook),
    validate: |root, _, e| webhooks(root.get("webhooks"), e, false),
    ..WEBHOOKS
};

pub static MUTATING: Rules = Rules {
    default: |obj| {
        for h in list_mut(obj, &["webhooks"]).filter(|h| h.is_object()) {
            default_hook(h);
            set_default(h, &["reinvocationPolicy"], "Never");
        }
    },
    validate: |root, _, e| webhooks(root.get("webhooks"), e, true),
    ..WEBHOOKS
};

fn default_rules(v: &mut Value, path: &[&str]) {
    for r in list_mut(v, path).filter(|r| r.is_object()) {
        set_default(r, &["scope"], "*");
    }
}

fn default_matching(v: &mut Value) {
    set_default(v, &["matchPolicy"], "Equivalent");
    for f in ["namespaceSelector", "objectSelector"] {
        set_default(v, &[f], json!({}));
    }
}

fn default_hook(h: &mut Value) {
    set_default(h, &["failurePolicy"], "Fail");
    default_matching(h);
    set_default(h, &["timeoutSeconds"], 10);
    default_rules(h, &["rules"]);
    if meta::at(h, &["clientConfig", "service"]).is_some_and(Value::is_object) {
        set_default(h, &["clientConfig", "service", "port"], 443);
    }
}

fn wildcard(at: At, e: &mut ErrorList, what: &str) {
    at.need(e, "");
    if at.len() > 1 && at.items().any(|v| v.str() == "*") {
        at.invalid(e, format!("if '*' is present, must not specify other {what}"));
    }
}

fn rule(r: At, e: &mut ErrorList) {
    let operations = r.get("operations");
    wildcard(operations, e, "operations");
    for o in operations.items() {
        o.one_of(e, &["CREATE", "UPDATE", "DELETE", "CONNECT", "*"]);
    }
    wildcard(r.get("apiGroups"), e, "API groups");
    wildcard(r.get("apiVersions"), e, "API versions");
    for v in r.get("apiVersions").items() {
        v.need(e, "");
    }
    resources(r.get("resources"), e);
    if r.has("scope") {
        r.get("scope").one_of(e, &["Cluster", "Namespaced", "*"]);
    }
}

/// Resources and subresources, of which a wildcard says all.
fn resources(at: At, e: &mut ErrorList) {
    at.need(e, "");
    let all: Vec<&str> = at.items().map(|r| r.str()).collect();
    let (mut with_sub, mut without_sub): (Vec<&str>, Vec<&str>) = (Vec::new(), Vec::new());
    for r in at.items() {
        let text = r.str();
        if text.is_empty() {
            r.required(e, "");
            continue;
        }
        if text == "*/*" {
            if all.len() > 1 {
                at.invalid(e, "if '*/*' is present, must not specify other resources");
            }
            continue;
        }
        let (resource, sub) = text.split_once('/').unwrap_or((text, ""));
        if with_sub.contains(&resource) && resource != "*" && text.contains('/') {
            r.invalid(e, format!("if '{resource}/*' is present, must not specify {text}"));
        }
        if without_sub.contains(&sub) && text.contains('/') {
            r.invalid(e, format!("if '*/{sub}' is present, must not specify {text}"));
        }
        if sub == "*" {
            with_sub.push(resource);
        }
        if resource == "*" && text.contains('/') {
            without_sub.push(sub);
        }
    }
    if all.len() > 1 && all.contains(&"*") && all.iter().any(|r| !r.contains('/') && *r != "*") {
        at.invalid(e, "if '*' is present, must not specify other resources without subresources");
    }
}

fn webhooks(hooks: At, e: &mut ErrorList, mutating: bool) {
    let mut names = Vec::new();
    for h in hooks.items() {
        let name = h.get("name");
        e.extend(fully_qualified_name(&name.path(), name.str()));
        h.get("rules").items().for_each(|r| rule(r, e));
        if h.has("failurePolicy") {
            h.get("failurePolicy").one_of(e, &["Fail", "Ignore"]);
        }
        if h.has("matchPolicy") {
            h.get("matchPolicy").one_of(e, &["Exact", "Equivalent"]);
        }
        let effects = h.get("sideEffects");
        if effects.present() {
            effects.one_of(e, &["None", "NoneOnDryRun"]);
        } else {
            effects.required(e, "must specify one of None, NoneOnDryRun");
        }
        let timeout = h.get("timeoutSeconds");
        if timeout.opt_int().is_some_and(|n| !(1..=30).contains(&n)) {
            timeout.invalid(e, "the timeout value must be between 1 and 30 seconds");
        }
        for f in ["namespaceSelector", "objectSelector"] {
            selectors::label_selector(h.get(f), e);
        }
        match_conditions(h.get("matchConditions"), e);
        if mutating && h.has("reinvocationPolicy") {
            h.get("reinvocationPolicy").one_of(e, &["IfNeeded", "Never"]);
        }
        client_config(h.get("clientConfig"), e);
        versions(h.get("admissionReviewVersions"), e);
        if !name.is_empty() && names.contains(&name.str()) {
            name.duplicate(e);
        }
        names.push(name.str());
    }
}

/// Names and number; the expressions are compiled where they are used.
fn match_conditions(conditions: At, e: &mut ErrorList) {
    if conditions.len() > 64 {
        conditions.too_many(e, 64);
    }
    let mut names = Vec::new();
    for name in conditions.items().map(|c| c.get("name")) {
        name.need_check(e, machinery::validation::qualified_name);
        if !name.is_empty() && names.contains(&name.str()) {
            name.duplicate(e);
        }
        names.push(name.str());
    }
}

/// An https address of a host and perhaps a path. What is shown of a wrong one is the part that is wrong.
fn web_address(url: At, e: &mut ErrorList) {
    const FORM: &str = "; desired format: https://host[/path]";
    let is_scheme = |s: &str| {
        s.starts_with(|c: char| c.is_ascii_alphabetic()) && s.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c))
    };
    let (scheme, rest) = url.str().split_once(':').filter(|(s, _)| is_scheme(s)).unwrap_or(("", url.str()));
    let (rest, fragment) = rest.split_once('#').unwrap_or((rest, ""));
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let authority = rest.strip_prefix("//").map_or("", |r| r.split('/').next().unwrap_or(""));
    let (user, host) = authority.rsplit_once('@').map_or((None, authority), |(u, h)| (Some(u), h));
    if !scheme.eq_ignore_ascii_case("https") {
        url.invalid_value(e, scheme, format!("'https' is the only allowed URL scheme{FORM}"));
    }
    if host.is_empty() {
        url.invalid_value(e, host, format!("host must be specified{FORM}"));
    }
    if let Some(user) = user {
        url.invalid_value(e, user, "user information is not permitted in the URL");
    }
    if !fragment.is_empty() {
        url.invalid_value(e, fragment, "fragments are not permitted in the URL");
    }
    if !query.is_empty() {
        url.invalid_value(e, query, "query parameters are not permitted in the URL");
    }
}

/// A URL or a service, the way all webhooks are reached.
pub fn client_config(c: At, e: &mut ErrorList) {
    let (url, service) = (c.get("url"), c.get("service"));
    if url.present() == service.present() {
        return c.required(e, "exactly one of url or service is required");
    }
    if url.present() {
        web_address(url, e);
        return;
    }
    // Upstream hands its function name and namespace in the wrong order, so each is reported as the other.
    for (f, at) in [("name", "namespace"), ("namespace", "name")] {
        if service.get(f).is_empty() {
            service.get(at).required(e, "");
        }
    }
    let port = service.get("port");
    if port.present() && !(1..=65535).contains(&port.int()) {
        port.invalid(e, "port is not valid: must be between 1 and 65535, inclusive");
    }
    let path = service.get("path");
    if path.present() && !matches!(path.str(), "" | "/") {
        if !path.str().starts_with('/') {
            path.invalid_str(e, "must start with a '/'");
        }
        let tail = path.str().get(1..).unwrap_or("");
        for (i, segment) in tail.strip_suffix('/').unwrap_or(tail).split('/').enumerate() {
            for m in machinery::validation::dns1123_subdomain(segment) {
                path.invalid_str(e, format!("segment[{i}]: {m}"));
            }
        }
    }
}

fn versions(at: At, e: &mut ErrorList) {
    if !at.need(e, "must specify one of v1, v1beta1") {
        return;
    }
    let mut seen = Vec::new();
    for v in at.items() {
        if seen.contains(&v.str()) {
            v.invalid(e, "duplicate version");
            continue;
        }
        seen.push(v.str());
        v.check(e, dns1035_label);
    }
    if !seen.iter().any(|v| ["v1", "v1beta1"].contains(v)) {
        at.invalid(e, "must include at least one of v1, v1beta1");
    }
}

static POLICY_COLUMNS: [Column; 4] = [
    NAME,
    int("Validations", "Validations indicates the number of validation rules defined in this configuration"),
    col("ParamKind", "ParamKind specifies the kind of resources used to parameterize this policy"),
    AGE,
];

pub static VALIDATING_POLICY: Rules = Rules {
    default: default_policy,
    validate: |root, _, e| {
        let s = root.get("spec");
        if s.get("validations").is_empty() && s.get("auditAnnotations").is_empty() {
            s.get("validations").required(e, "validations or auditAnnotations must be non-empty");
        }
        match_constraints(&s, e);
        for v in s.get("validations").items() {
            let expression = v.get("expression");
            if expression.str().trim().is_empty() {
                expression.required(e, "expression is not specified");
            }
            if v.get("message").str().contains('\n') {
                v.get("message").invalid(e, "message must not contain line breaks");
            }
            if v.has("reason") {
                v.get("reason").one_of(e, &["Unauthorized", "Forbidden", "Invalid", "RequestEntityTooLarge"]);
            }
        }
        if s.has("failurePolicy") {
            s.get("failurePolicy").one_of(e, &["Fail", "Ignore"]);
        }
    },
    columns: &POLICY_COLUMNS,
    cells: |obj, now| {
        let n = meta::list_at(obj, &["spec", "validations"]).len();
        cells([print::name(obj), n.into(), param_kind(obj).into(), print::age(obj, now)])
    },
    ..Rules::WITH_STATUS
};

fn default_policy(obj: &mut Value) {
    set_default(obj, &["spec", "failurePolicy"], "Fail");
    default_constraints(obj, "matchConstraints");
}

/// What a policy is about: required, and with sensible rules.
fn match_constraints(spec: &At<'_>, e: &mut ErrorList) {
    let constraints = spec.get("matchConstraints");
    if !constraints.present() {
        constraints.required(e, "");
    } else {
        constraints.get("resourceRules").need(e, "");
        for r in ["resourceRules", "excludeResourceRules"].iter().flat_map(|l| constraints.get(l).items()) {
            rule(r, e);
        }
    }
}

fn default_constraints(obj: &mut Value, field: &'static str) {
    if let Some(m) = obj.get_mut("spec").and_then(|s| s.get_mut(field)).filter(|m| m.is_object()) {
        default_matching(m);
        for l in ["resourceRules", "excludeResourceRules"] {
            default_rules(m, &[l]);
        }
    }
}

static MUTATING_POLICY_COLUMNS: [Column; 4] = [
    NAME,
    int("Mutations", "Mutation indicates the number of mutations rules defined in this configuration"),
    col("ParamKind", "ParamKind specifies the kind of resources used to parameterize this policy"),
    AGE,
];

pub static MUTATING_POLICY: Rules = Rules {
    generation: true,
    columns: &MUTATING_POLICY_COLUMNS,
    cells: |obj, now| {
        let n = meta::list_at(obj, &["spec", "mutations"]).len();
        cells([print::name(obj), n.into(), param_kind(obj).into(), print::age(obj, now)])
    },
    default: default_policy,
    validate: |root, _, e| {
        let s = root.get("spec");
        s.get("mutations").need(e, "mutations must contain at least one item");
        match_constraints(&s, e);
        for m in s.get("mutations").items() {
            let (apply, patch) = (m.get("applyConfiguration"), m.get("jsonPatch"));
            match m.get("patchType").str() {
                "ApplyConfiguration" => {
                    if !apply.present() {
                        apply.required(e, "applyConfiguration is required for ApplyConfiguration patch type");
                    }
                    if patch.present() {
                        patch.invalid(e, "jsonPatch may not be specified for ApplyConfiguration patch type");
                    }
                }
                "JSONPatch" => {
                    if !patch.present() {
                        patch.required(e, "jsonPatch is required for JSONPatch patch type");
                    }
                    if apply.present() {
                        apply.invalid(e, "applyConfiguration may not be specified for JSONPatch patch type");
                    }
                }
                _ => {
                    m.get("patchType").need_one_of(e, &["ApplyConfiguration", "JSONPatch"]);
                }
            }
        }
        if s.has("failurePolicy") {
            s.get("failurePolicy").one_of(e, &["Fail", "Ignore"]);
        }
        s.get("reinvocationPolicy").need_one_of(e, &["Never", "IfNeeded"]);
    },
    ..Rules::BASE
};

pub static MUTATING_POLICY_BINDING: Rules = Rules {
    generation: true,
    columns: &BINDING_COLUMNS,
    cells: binding_cells,
    default: |obj| default_constraints(obj, "matchResources"),
    validate: |root, _, e| {
        let s = root.get("spec");
        s.get("policyName").need_check(e, crate::names::subdomain);
        let p = s.get("paramRef");
        if p.present() {
            if p.get("name").is_empty() && !p.has("selector") {
                p.required(e, "either name or selector must be specified");
            } else if !p.get("name").is_empty() && p.has("selector") {
                p.get("name").forbidden(e, "name and selector are mutually exclusive");
            }
            p.get("parameterNotFoundAction").need_one_of(e, &["Allow", "Deny"]);
        }
    },
    ..Rules::BASE
};

static BINDING_COLUMNS: [Column; 4] = [
    NAME,
    col("PolicyName", "PolicyName indicates the policy definition which the policy binding binded to"),
    col("ParamRef", "ParamRef indicates the param resource which sets the configuration param"),
    AGE,
];

pub static VALIDATING_POLICY_BINDING: Rules = Rules {
    generation: true,
    default: |obj| default_constraints(obj, "matchResources"),
    validate: |root, _, e| {
        let s = root.get("spec");
        s.get("policyName").need_check(e, crate::names::subdomain);
        let (actions, mut seen) = (s.get("validationActions"), Vec::new());
        actions.need(e, "");
        for a in actions.items() {
            a.one_of(e, &["Audit", "Warn", "Deny"]);
            if seen.contains(&a.str()) {
                a.duplicate(e);
            }
            seen.push(a.str());
        }
        if seen.contains(&"Deny") && seen.contains(&"Warn") {
            actions.invalid(e, "must not contain both Deny and Warn (repeating the same validation failure information in the API response and headers serves no purpose)");
        }
        let p = s.get("paramRef");
        if p.present() {
            if p.get("name").is_empty() && !p.has("selector") {
                p.required(e, "either name or selector must be specified");
            } else if !p.get("name").is_empty() && p.has("selector") {
                p.get("name").forbidden(e, "name and selector are mutually exclusive");
            }
            p.get("parameterNotFoundAction").need_one_of(e, &["Allow", "Deny"]);
        }
    },
    columns: &BINDING_COLUMNS,
    cells: binding_cells,
    ..Rules::BASE
};

/// The `paramKind` of a policy.
fn param_kind(obj: &Value) -> String {
    let kind = meta::at(obj, &["spec", "paramKind"]);
    kind.map_or("<unset>".to_owned(), |k| format!("{}/{}", meta::str_at(k, &["apiVersion"]), meta::str_at(k, &["kind"])))
}

/// The cells of a binding.
fn binding_cells(obj: &Value, now: i64) -> PrinterRow {
    let parameter = meta::at(obj, &["spec", "paramRef"]).map_or_else(
        || "<unset>".to_owned(),
        |p| match (meta::str_at(p, &["namespace"]), meta::str_at(p, &["name"])) {
            (_, "") => selectors::format_selector(crate::at::value_at(p, &["selector"])),
            ("", name) => format!("*/{name}"),
            (namespace, name) => format!("{namespace}/{name}"),
        },
    );
    cells([print::name(obj), print::text(obj, &["spec", "policyName"]), parameter.into(), print::age(obj, now)])
}
