//! What mutating policies make of an object: configurations that are applied, JSON patches (mutating/{dispatcher,patch}).

use super::definition::{Cache, Mutation, Policy};
use super::input::{Asker, Input, Scope, request};
use super::{Family, Invocation, namespace_object, select};
use crate::admission::{Attributes, Lister};
use cel::{Budget, List, Val, limits};
use machinery::{Status, Value, json, meta};
use schema::Registry;

const PLUGIN: &str = "MutatingAdmissionPolicy";

/// What tells an invocation from others in the second round.
fn id(invocation: &Invocation) -> String {
    let param = invocation.param.as_deref().map(|p| format!("{}/{}", meta::namespace(p), meta::name(p)));
    format!("{}|{}|{}", invocation.policy.name(), meta::name(&invocation.binding), param.unwrap_or_default())
}

pub async fn dispatch(cache: &Cache, attrs: &Attributes, obj: &mut Value, cx: &dyn Lister) -> Result<(), Status> {
    let (found, faults) = select(Family::Mutating, cache, attrs, obj, cx).await;
    let denied = |policy: &Policy, binding: Option<&Value>, why: &str| match binding {
        Some(b) => format!("policy '{}' with binding '{}' denied request: {why}", policy.name(), meta::name(b)),
        None => format!("policy {:?} denied request: {why}", policy.name()),
    };
    let mut messages: Vec<(String, bool)> = Vec::new();
    for f in faults.iter().filter(|f| !f.policy.ignores_errors()) {
        messages.push((denied(&f.policy, f.binding.as_deref(), &f.why), false));
    }
    if !found.is_empty() {
        let namespace = namespace_object(attrs, cx).await?;
        let request = request(attrs);
        attrs.reinvocation.lock().begin(PLUGIN, obj);
        for invocation in &found {
            let id = id(invocation);
            if !attrs.reinvocation.lock().wants(PLUGIN, &id) {
                continue;
            }
            let before = obj.clone();
            let faults = mutate(invocation, attrs, obj, &request, &namespace, cx);
            if before != *obj {
                attrs.reinvocation.lock().changed(PLUGIN);
            }
            if meta::str_at(&invocation.policy.object, &["spec", "reinvocationPolicy"]) == "IfNeeded" {
                attrs.reinvocation.lock().invoked(PLUGIN, &id);
            }
            let faults = faults.into_iter().filter(|_| !invocation.policy.ignores_errors());
            messages.extend(faults.map(|why| (denied(&invocation.policy, Some(&invocation.binding), &why), true)));
        }
        attrs.reinvocation.lock().end(PLUGIN, obj);
    }
    let Some((message, invalid)) = messages.first().cloned() else { return Ok(()) };
    let mut status = attrs.forbid(obj, "admission request denied by policy");
    status.message = message;
    if invalid {
        status.reason = "Invalid".into();
    }
    status.details.insert("causes".into(), messages.iter().map(|(m, _)| json!({"message": m})).collect());
    Err(status)
}

/// Runs a policy's mutations in turn; gives what went wrong.
fn mutate(
    invocation: &Invocation,
    attrs: &Attributes,
    obj: &mut Value,
    request: &Value,
    namespace: &Value,
    cx: &dyn Lister,
) -> Vec<String> {
    let policy: &Policy = &invocation.policy;
    let asker = Asker { attrs, authorizer: cx.authorizer() };
    let params = invocation.param.as_deref().unwrap_or(&Value::Null);
    {
        let input = Input { attrs, object: obj, params, request, namespace, asker: &asker };
        let budget = Budget::new(limits::RUNTIME_CEL_COST_BUDGET_MATCH_CONDITIONS);
        let scope = Scope::new(&input, policy, &budget);
        match scope.conditions() {
            Ok(true) => {}
            Ok(false) => return Vec::new(),
            Err(why) => return vec![why],
        }
    }
    let mut faults = Vec::new();
    for mutation in &policy.mutations {
        let input = Input { attrs, object: obj, params, request, namespace, asker: &asker };
        match changed(mutation, policy, &input, attrs) {
            Ok(Some(new)) => *obj = new,
            Ok(None) => {}
            Err(why) => faults.push(why),
        }
    }
    faults
}

/// The object as a mutation makes it; nothing if it leaves it.
fn changed(mutation: &Mutation, policy: &Policy, input: &Input, attrs: &Attributes) -> Result<Option<Value>, String> {
    let budget = Budget::new(limits::RUNTIME_CEL_COST_BUDGET);
    let scope = Scope::new(input, policy, &budget);
    let (live, made) = (input.object, evaluated(&scope, mutation)?);
    let mut new = match mutation {
        Mutation::Apply(_) => {
            let mut made = made;
            made["apiVersion"] = live["apiVersion"].clone();
            made["kind"] = live["kind"].clone();
            let gvk = &attrs.gvk;
            let typed = Registry::builtin()
                .typed_kind(&gvk.group, &gvk.version, &gvk.kind)
                .ok_or_else(|| format!("Resource kind {}, Kind={} not found", gvk.group_version(), gvk.kind))?;
            patch::typed::validate(&made, typed)
                .map_err(|e| format!("error applying patch: failed to convert patch object to typed object: {e}"))?;
            let atomics = patch::typed::atomics(&made, typed);
            if !atomics.is_empty() {
                let listed = atomics.join(", ");
                return Err(format!(
                    "error applying patch: invalid ApplyConfiguration: may not mutate atomic arrays, maps or structs: {listed}"
                ));
            }
            patch::typed::merge(live, &made, typed).map_err(|e| format!("error applying patch: failed to merge patch: {e}"))?
        }
        Mutation::Patch(_) => match patch::json_patch::apply(live, &made) {
            Ok(new) => new,
            // A test that fails leaves the object as it is.
            Err(e) if e.message.ends_with("test failed") => return Ok(None),
            Err(e) => return Err(format!("JSON Patch: {}", e.message)),
        },
    };
    kinds::strategy_for(&attrs.gvk.group, &attrs.gvk.kind).default(&mut new);
    Ok(Some(new))
}

/// What a mutation's expression gives, as JSON: a configuration, or the operations of a patch.
fn evaluated<'a>(scope: &'a Scope<'a>, mutation: &Mutation) -> Result<Value, String> {
    match mutation {
        Mutation::Apply(e) => {
            let made = scope.evaluate(e)??;
            type_names(&made, "Object").map_err(|e| format!("type mismatch: {e}"))?;
            made.to_json().map_err(|e| e.to_string())
        }
        Mutation::Patch(e) => {
            let Val::List(list) = scope.evaluate(e)?? else {
                return Err("type mismatch: JSONPatchType.expression should evaluate to array".into());
            };
            operations(&list)
        }
    }
}

fn operations(list: &List) -> Result<Value, String> {
    let mut out = Vec::new();
    for v in list.iter() {
        let v = v.map_err(|e| e.to_string())?;
        if let Ok(Some(value)) = v.get("value") {
            own_type_names(&value).map_err(|e| format!("type mismatch: {e}"))?;
        }
        out.push(
            v.to_json()
                .map_err(|e| format!("JSONPath valueExpression evaluated to a type that could not marshal to JSON: {e}"))?,
        );
    }
    Ok(Value::Array(out))
}

fn own_type_names(v: &Val) -> Result<(), String> {
    match v {
        Val::Struct(s) => type_names(v, &s.name),
        _ => Ok(()),
    }
}

/// Objects are named by their place: what stands in `spec` of `Object` is an `Object.spec`.
fn type_names(v: &Val, place: &str) -> Result<(), String> {
    match v {
        Val::Struct(s) if *s.name != *place => Err(format!(
            "unexpected type name {:?}, expected {place:?}, which matches field name path from root Object type",
            s.name
        )),
        Val::Struct(s) => s.fields.iter().try_for_each(|(name, v)| type_names(v, &format!("{place}.{name}"))),
        Val::List(List::Made(l)) => l.iter().try_for_each(|v| type_names(v, place)),
        Val::Map(cel::MapVal::Made(m)) => m.iter().try_for_each(|(_, v)| type_names(v, place)),
        _ => Ok(()),
    }
}
