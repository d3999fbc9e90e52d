//! The status of validating admission policies: whether their expressions suit the types that they match
//! (pkg/controller/validatingadmissionpolicystatus, apiserver/pkg/admission/plugin/policy/validating/typechecking.go).
//! What is found are warnings: a policy works all the same. Types of custom resources are not looked at.

mod declared;

use crate::core::error::ignore_not_found;
use crate::manager::forever;
use crate::{Context, Result, synced};
use cel::{DeclType, Env, Field, Type};
use client::{InformerEvent, Object, Patch, WorkQueue};
use k8s_openapi::api::admissionregistration::v1::{ValidatingAdmissionPolicy, ValidatingAdmissionPolicySpec};
use machinery::{GroupVersionKind, Value, json};
use schema::Registry;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// More types than this are not checked.
const MAX_TYPES: usize = 10;

pub async fn run(ctx: Context) {
    let policies = ctx.informers.of::<ValidatingAdmissionPolicy>();
    let queue = WorkQueue::new();
    let q = queue.clone();
    policies.add_handler(move |e| {
        if let InformerEvent::Added(p) | InformerEvent::Updated { new: p, .. } = e {
            q.add(p.name().to_owned());
        }
    });
    synced!(policies);
    forever(queue.run("validatingadmissionpolicy-status", 1, move |name: String| {
        let (ctx, policies) = (ctx.clone(), policies.clone());
        async move {
            let Some(policy) = policies.get("", &name) else { return Result::Ok(()) };
            let generation = policy.metadata.generation.unwrap_or_default();
            let status = policy.status.as_ref();
            if status.is_some_and(|s| s.observed_generation == Some(generation) && s.type_checking.is_some()) {
                return Ok(());
            }
            let Some(spec) = &policy.spec else { return Ok(()) };
            let checked = match warnings(spec) {
                found if found.is_empty() => json!({"expressionWarnings": null}),
                found => json!({"expressionWarnings": found}),
            };
            let patch = Patch::Merge(json!({"status": {"observedGeneration": generation, "typeChecking": checked}}));
            ignore_not_found(ctx.client.patch_status::<ValidatingAdmissionPolicy>("", &name, &patch).await)?;
            Ok(())
        }
    }))
    .await;
}

/// The types that the rules name outright, sorted.
fn kinds(spec: &ValidatingAdmissionPolicySpec) -> BTreeSet<(String, String, String)> {
    let plain = |list: &Option<Vec<String>>| -> Vec<String> {
        let list = list.clone().unwrap_or_default();
        if list.iter().any(|v| v == "*") { Vec::new() } else { list }
    };
    let rules = spec.match_constraints.iter().flat_map(|m| m.resource_rules.iter().flatten());
    let mut out = BTreeSet::new();
    for rule in rules {
        let resources = rule.resources.iter().flatten().filter(|r| !r.contains(['*', '/']));
        for resource in resources {
            for group in plain(&rule.api_groups) {
                for version in plain(&rule.api_versions) {
                    if let Some(row) = Registry::builtin().resource(&group, &version, resource) {
                        out.insert((group.clone(), version.clone(), row.kind.to_string()));
                    }
                }
            }
        }
    }
    out
}

fn warnings(spec: &ValidatingAdmissionPolicySpec) -> Vec<Value> {
    let kinds: Vec<GroupVersionKind> =
        kinds(spec).into_iter().take(MAX_TYPES).map(|(g, v, k)| GroupVersionKind::new(g, v, k)).collect();
    let envs: Vec<(GroupVersionKind, Env)> = kinds.into_iter().filter_map(|k| Some((k.clone(), env(spec, &k)?))).collect();
    let mut out = Vec::new();
    let mut check = |path: String, expression: &str| {
        let found: Vec<String> = envs
            .iter()
            .filter_map(|(kind, env)| {
                let why = env.compile(expression).err()?;
                Some(format!("{}, Kind={}: compilation failed: {why}\n", kind.group_version(), kind.kind))
            })
            .collect();
        if !found.is_empty() {
            out.push(json!({"fieldRef": path, "warning": found.join("\n")}));
        }
    };
    for (i, v) in spec.validations.iter().flatten().enumerate() {
        check(format!("spec.validations[{i}].expression"), &v.expression);
        if let Some(e) = v.message_expression.as_deref().filter(|e| !e.is_empty()) {
            check(format!("spec.validations[{i}].messageExpression"), e);
        }
    }
    out
}

/// What the expressions may name. The API server has compiled them with all types but those of objects and parameters, so that
/// these are what is left to check.
fn env(spec: &ValidatingAdmissionPolicySpec, kind: &GroupVersionKind) -> Option<Env> {
    let object = declared::of_kind(&kind.group, &kind.version, &kind.kind)?.as_type();
    let mut env = Env::new([
        ("object", object.clone()),
        ("oldObject", object),
        ("request", Type::Dyn),
        ("namespaceObject", Type::Dyn),
        ("authorizer", Type::Named("kubernetes.authorization.Authorizer")),
        ("authorizer.requestResource", Type::Named("kubernetes.authorization.ResourceCheck")),
    ]);
    if let Some(p) = &spec.param_kind {
        let (api_version, kind) = (p.api_version.as_deref().unwrap_or_default(), p.kind.as_deref().unwrap_or_default());
        let gv = machinery::GroupVersion::parse(api_version);
        let params = gv.and_then(|gv| declared::of_kind(&gv.group, &gv.version, kind)).map_or(Type::Dyn, |d| d.as_type());
        env = env.with("params", params);
    }
    let mut fields = BTreeMap::new();
    let with_variables = |env: &Env, fields: &BTreeMap<String, Field>| {
        env.clone().with("variables", Type::Object(Arc::new(DeclType::object("kubernetes.variables", fields.clone()))))
    };
    for v in spec.variables.iter().flatten() {
        let t = with_variables(&env, &fields).compile(&v.expression).map_or(Type::Dyn, |p| p.output().clone());
        fields.insert(v.name.clone(), Field { json: v.name.clone(), decl: Arc::new(DeclType::scalar(t)), required: false });
    }
    Some(with_variables(&env, &fields))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_that_do_not_suit_the_type() {
        for (case, rules, validation, want) in [
            ("suits", ["apps", "v1", "deployments"], json!({"expression": "object.spec.replicas > 1"}), vec![]),
            (
                "confused",
                ["apps", "v1", "deployments"],
                json!({"expression": "object.spec.replicas > '1'", "messageExpression": "'got ' + object.spec.replicas"}),
                vec![
                    ("expression", "found no matching overload for '_>_' applied to '(int, string)'"),
                    ("messageExpression", "found no matching overload for '_+_' applied to '(string, int)'"),
                ],
            ),
            (
                "no such field",
                ["", "v1", "pods"],
                json!({"expression": "object.spec.containers.all(c, c.imgae == '')"}),
                vec![("expression", "undefined field 'imgae'")],
            ),
            (
                "metadata",
                ["", "v1", "pods"],
                json!({"expression": "object.metadata.labels['a'] == 'b' && object.kind == 'Pod'"}),
                vec![],
            ),
            ("any kind", ["*", "v1", "pods"], json!({"expression": "object.nope == 1"}), vec![]),
        ] {
            let spec = serde_json::from_value(json!({
                "matchConstraints": {"resourceRules": [{"apiGroups": [rules[0]], "apiVersions": [rules[1]], "resources": [rules[2]], "operations": ["*"]}]},
                "validations": [validation],
            }));
            let got = warnings(&spec.expect("a spec"));
            assert_eq!(got.len(), want.len(), "{case}: {got:?}");
            for (got, (field, text)) in got.iter().zip(want) {
                assert_eq!(got["fieldRef"], format!("spec.validations[0].{field}"), "{case}");
                assert!(got["warning"].as_str().is_some_and(|w| w.contains(text)), "{case}: {got}");
            }
        }
    }
}
