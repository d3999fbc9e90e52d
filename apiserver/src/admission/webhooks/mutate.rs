//! Mutating webhooks: one after the other, each on what the one before left. Where one changed the object, those that ask for it
//! are called a second time, after the built-in plugins.

use super::config::Hook;
use super::review::{Refusal, ask};
use super::{Shared, matching, versioned};
use crate::admission::{Attributes, Lister};
use crate::resources::Table;
use machinery::{GroupVersionKind, Status, Value};

const PLUGIN: &str = "MutatingAdmissionWebhook";

pub async fn dispatch(shared: &Shared, attrs: &Attributes, obj: &mut Value, cx: &dyn Lister) -> Result<(), Status> {
    attrs.reinvocation.lock().begin(PLUGIN, obj);
    let done = call_all(shared, attrs, obj, cx).await;
    attrs.reinvocation.lock().end(PLUGIN, obj);
    done
}

async fn call_all(shared: &Shared, attrs: &Attributes, obj: &mut Value, cx: &dyn Lister) -> Result<(), Status> {
    let hooks = shared.source.mutating();
    let table = shared.table.load_full();
    for hook in hooks.iter() {
        let Some(what) = matching::matches(hook, attrs, obj, &table, cx).await? else { continue };
        if !attrs.reinvocation.lock().wants(PLUGIN, &hook.id) {
            continue;
        }
        let object = versioned::convert(&table, obj, &what.kind).await?;
        let old = versioned::convert(&table, attrs.old(), &what.kind).await?;
        let answer = ask(&shared.client, hook, attrs, &what, &object, &old, true).await;
        let done = match answer {
            Ok(a) if a.patch.is_empty() => Ok(()),
            Ok(a) => match patched(&table, hook, &object, &a.patch, &what.kind) {
                Ok((changed, new)) => {
                    *obj = restored(&table, obj, new).await?;
                    if changed {
                        attrs.reinvocation.lock().changed(PLUGIN);
                    }
                    Ok(())
                }
                Err(s) => Err(Refusal::Other(s)),
            },
            Err(r) => Err(r),
        };
        if hook.reinvoke {
            attrs.reinvocation.lock().invoked(PLUGIN, &hook.id);
        }
        done.or_else(|r| r.verdict(hook))?;
    }
    Ok(())
}

/// The object after a webhook's patch, and whether that changed it.
fn patched(
    table: &Table,
    hook: &Hook,
    object: &Value,
    patch: &[Value],
    kind: &GroupVersionKind,
) -> Result<(bool, Value), Status> {
    if object.is_null() {
        return Err(Status::internal(format!(
            "admission webhook {:?} attempted to modify the object, which is not supported for this operation",
            hook.name
        )));
    }
    let new = patch::json_patch::apply_operations(object, patch).map_err(Status::internal)?;
    let new = versioned::reread(table, new, kind)?;
    Ok((new != *object, new))
}

/// Back in the version that the object had before a webhook wanted another.
async fn restored(table: &Table, before: &Value, new: Value) -> Result<Value, Status> {
    if before["apiVersion"] == new["apiVersion"] {
        return Ok(new);
    }
    let gv = machinery::GroupVersion::parse(before["apiVersion"].as_str().unwrap_or("")).unwrap_or_default();
    let kind = GroupVersionKind::new(gv.group, gv.version, before["kind"].as_str().unwrap_or(""));
    let back = versioned::convert(table, &new, &kind).await?;
    versioned::reread(table, back, &kind)
}
