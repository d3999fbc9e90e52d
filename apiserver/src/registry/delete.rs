//! Deleting: at once, gracefully (pods), or when finalizers are done. Upstream: store.go Delete, registry/rest/delete.go.

use super::options::{DeleteOptions, Propagation};
use super::update::{ENDED_EARLY, Written};
use super::{get, metadata};
use crate::admission::{Attributes, Operation};
use crate::context::RequestCx;
use crate::http::body::{self, Body, BodyFormat};
use crate::http::respond;
use crate::resources::Entry;
use crate::server::Inner;
use http::{Response, StatusCode};
use kinds::Deletion;
use machinery::time::{self, Timestamp};
use machinery::{Status, Value, json, meta};
use parking_lot::Mutex;
use std::sync::Arc;
use storage::{Preconditions, Update};

const ORPHAN: &str = "orphan";
const FOREGROUND: &str = "foregroundDeletion";

/// Resources whose deletion is answered with the object; the others are answered with a Status.
fn returns_object(entry: &Entry) -> bool {
    match &*entry.row.group {
        "" => matches!(
            &*entry.row.resource,
            "pods"
                | "services"
                | "namespaces"
                | "persistentvolumes"
                | "persistentvolumeclaims"
                | "serviceaccounts"
                | "resourcequotas"
                | "podtemplates"
        ),
        "storage.k8s.io" => &*entry.row.resource != "csistoragecapacities",
        "resource.k8s.io" => true,
        _ => false,
    }
}

/// DELETE of one object.
pub async fn delete(server: &Arc<Inner>, cx: &RequestCx, entry: &Entry, request_body: Body) -> Result<Response<Body>, Status> {
    let accept = cx.accept()?;
    let opts = read_options(cx, entry, request_body).await?;
    let namespace = cx.info.namespace_of(entry);
    let deleted = delete_one(server, cx, entry, &namespace, cx.info.path_name(), &opts).await?;
    let code = if !deleted.gone && opts.orphan_dependents == Some(false) { StatusCode::ACCEPTED } else { StatusCode::OK };
    if deleted.gone && !returns_object(entry) {
        let object = deleted.object.value();
        let details = json!({"name": meta::name(&object), "group": &*entry.row.group, "kind": &*entry.row.resource,
            "uid": meta::uid(&object)});
        let mut details = details;
        if entry.row.group.is_empty()
            && let Some(d) = details.as_object_mut()
        {
            d.remove("group");
        }
        return Ok(respond::object(
            code,
            crate::http::Accept { transform: None, beta: false, ..accept },
            &respond::success(details),
        ));
    }
    super::update::reply(cx, entry, code, accept, &deleted.object).await
}

/// DeleteOptions of the body or the query.
pub async fn read_options(cx: &RequestCx, entry: &Entry, request_body: Body) -> Result<DeleteOptions, Status> {
    let bytes = body::read(request_body).await?;
    let value = if bytes.is_empty() {
        Value::Null
    } else {
        let parsed = match BodyFormat::from_content_type(cx.header("content-type"))? {
            BodyFormat::Json => body::parse_json(&bytes),
            BodyFormat::Yaml => body::parse_yaml(&bytes),
            BodyFormat::Protobuf => super::protobuf::decode(&bytes),
        };
        parsed.map_err(Status::bad_request)?
    };
    let opts = DeleteOptions::parse(&cx.query, &value)?;
    if entry.is("batch", "jobs") && opts.propagation.is_none() && opts.orphan_dependents.is_none() {
        cx.warn(
            "child pods are preserved by default when jobs are deleted; set propagationPolicy=Background to remove them or set \
             propagationPolicy=Orphan to suppress this warning",
        );
    }
    Ok(opts)
}

/// What a deletion led to.
pub struct Deleted {
    /// The object as it was last.
    pub object: Written,
    /// It is gone (or would be); otherwise it is marked.
    pub gone: bool,
}

/// What one look at the object says.
enum Verdict {
    /// Delete it now.
    Now,
    /// It is being deleted, and this changes nothing.
    Pending,
    /// It was marked; delete it now all the same, its grace being zero.
    Marked { then_delete: bool },
}

/// Deletes an object as a request with these options would.
pub async fn delete_one(
    server: &Arc<Inner>,
    cx: &RequestCx,
    entry: &Entry,
    namespace: &str,
    name: &str,
    opts: &DeleteOptions,
) -> Result<Deleted, Status> {
    let storage = entry.storage.as_ref().ok_or_else(|| Status::method_not_supported(&entry.gr(), "delete"))?;
    let preconditions = Preconditions { uid: opts.uid.clone(), resource_version: opts.resource_version.clone() };
    let verdict = Mutex::new((Verdict::Now, Value::Null));
    let round = |old: Option<Value>| {
        let verdict = &verdict;
        async move {
            let old = Arc::new(old.unwrap_or(Value::Null));
            *verdict.lock() = (Verdict::Now, Value::Null);
            check_preconditions(entry, &old, opts)?;
            admit(server, cx, entry, namespace, name, &old, opts).await?;
            let (what, new) = judge(entry, Arc::unwrap_or_clone(old), opts);
            let stop = matches!(what, Verdict::Now | Verdict::Pending) || opts.dry_run;
            if stop {
                *verdict.lock() = (what, new);
                return Err(Status::new(500, "", ENDED_EARLY));
            }
            // What is stored comes back from the storage.
            *verdict.lock() = (what, Value::Null);
            Ok(Update { value: new, ttl: None })
        }
    };
    let done = storage.guaranteed_update(namespace, name, &preconditions, false, round).await;
    let (verdict, object) = verdict.into_inner();
    let object = Written::Tree(object);
    let marked = match done {
        Ok(o) => Some(Written::Object(o)),
        Err(s) if s.message == ENDED_EARLY => None,
        Err(s) => return Err(get::renamed(s, entry)),
    };
    match verdict {
        Verdict::Pending => Ok(Deleted { object, gone: true }),
        Verdict::Marked { then_delete: false } => Ok(Deleted { object: marked.unwrap_or(object), gone: false }),
        Verdict::Now | Verdict::Marked { then_delete: true } if opts.dry_run => Ok(Deleted { object, gone: true }),
        Verdict::Now | Verdict::Marked { then_delete: true } => {
            // Our own mark changed the version that the client gave.
            let preconditions = Preconditions {
                resource_version: if marked.is_some() { None } else { preconditions.resource_version },
                ..preconditions
            };
            match storage.delete(namespace, name, &preconditions, |_| Ok(())).await {
                Ok(last) => {
                    crate::services::released(server, entry, &last).await;
                    Ok(Deleted { object: Written::Object(last), gone: true })
                }
                // Somebody else (the kubelet) was faster; our mark stands for it.
                Err(s) if s.is_not_found() && marked.is_some() => Ok(Deleted { object: marked.unwrap_or(object), gone: true }),
                Err(s) => Err(get::renamed(s, entry)),
            }
        }
    }
}

fn check_preconditions(entry: &Entry, old: &Value, opts: &DeleteOptions) -> Result<(), Status> {
    let gr = machinery::GroupResource::new(&*entry.gvk.group, &*entry.gvk.kind);
    let name = meta::name(old);
    if let Some(uid) = opts.uid.as_deref().filter(|u| *u != meta::uid(old)) {
        let why = format!(
            "the UID in the precondition ({uid}) does not match the UID in record ({}). The object might have been deleted and then \
             recreated",
            meta::uid(old)
        );
        return Err(Status::conflict(&gr, name, why));
    }
    if let Some(rv) = opts.resource_version.as_deref().filter(|v| *v != meta::resource_version(old)) {
        let why = format!(
            "the ResourceVersion in the precondition ({rv}) does not match the ResourceVersion in record ({}). The object might have \
             been modified",
            meta::resource_version(old)
        );
        return Err(Status::conflict(&gr, name, why));
    }
    Ok(())
}

async fn admit(
    server: &Arc<Inner>,
    cx: &RequestCx,
    entry: &Entry,
    namespace: &str,
    name: &str,
    old: &Arc<Value>,
    opts: &DeleteOptions,
) -> Result<(), Status> {
    let mut attrs = Attributes::new(cx.user.clone(), Operation::Delete, entry.gvr(), entry.gvk.clone());
    attrs.name = name.to_owned();
    attrs.namespace = if entry.is("", "namespaces") { name.to_owned() } else { namespace.to_owned() };
    attrs.dry_run = opts.dry_run;
    attrs.options = opts.object.clone();
    attrs.old_object = Some(old.clone());
    let mut null = Value::Null;
    let admitted = async {
        server.admission.admit(&attrs, &mut null, &**server).await?;
        server.admission.validate(&attrs, &null, &**server).await
    }
    .await;
    attrs.take_warnings().into_iter().for_each(|w| cx.warn(w));
    admitted
}

/// What is to be done with an object, and what it becomes.
fn judge(entry: &Entry, mut obj: Value, opts: &DeleteOptions) -> (Verdict, Value) {
    if entry.is("", "namespaces") {
        return namespace(obj, opts);
    }
    if entry.is("apiextensions.k8s.io", "customresourcedefinitions") && meta::deletion_timestamp(&obj).is_none() {
        return definition(obj);
    }
    let grace_given = opts.grace_seconds.map(|g| if g < 0 { 1 } else { g });
    let graceful = match before_delete(entry, &mut obj, grace_given) {
        Grace::Pending => return (Verdict::Pending, obj),
        Grace::None => None,
        Grace::Seconds(s) => Some(s),
    };
    set_finalizers(entry, &mut obj, opts);
    let pending = !meta::finalizers(&obj).is_empty();
    match graceful {
        Some(seconds) => (Verdict::Marked { then_delete: !pending && seconds == 0 }, obj),
        None if pending => {
            mark(&mut obj);
            (Verdict::Marked { then_delete: false }, obj)
        }
        None => (Verdict::Now, obj),
    }
}

enum Grace {
    /// Not deleted gracefully.
    None,
    /// Already on its way, and this request does not hasten it.
    Pending,
    Seconds(i64),
}

/// Upstream's BeforeDelete: marks an object that is deleted gracefully.
fn before_delete(entry: &Entry, obj: &mut Value, given: Option<i64>) -> Grace {
    let Deletion::Graceful { seconds } = entry.strategy.deletion(obj, given) else { return Grace::None };
    if let Some(at) = meta::deletion_timestamp(obj).map(str::to_owned) {
        let left = meta::i64_at(obj, &["metadata", "deletionGracePeriodSeconds"]).unwrap_or(0);
        if left == 0 {
            return Grace::None;
        }
        return match given {
            Some(period) if period < left => {
                if let Some(t) = time::parse(&at) {
                    let t = t - jiff::SignedDuration::from_secs(left - period);
                    meta::set(obj, &["metadata", "deletionTimestamp"], time::format(t).into());
                }
                meta::set(obj, &["metadata", "deletionGracePeriodSeconds"], period.into());
                Grace::Seconds(period)
            }
            _ => Grace::Pending,
        };
    }
    let at = Timestamp::now() + jiff::SignedDuration::from_secs(seconds.clamp(0, 1 << 31));
    meta::set(obj, &["metadata", "deletionTimestamp"], time::format(at).into());
    meta::set(obj, &["metadata", "deletionGracePeriodSeconds"], seconds.into());
    bump(obj);
    Grace::Seconds(seconds)
}

fn bump(obj: &mut Value) {
    if let Some(g) = meta::i64_at(obj, &["metadata", "generation"]).filter(|g| *g > 0) {
        meta::set(obj, &["metadata", "generation"], (g + 1).into());
    }
}

/// Marks an object that finalizers hold.
fn mark(obj: &mut Value) {
    let now = Timestamp::now();
    let later = meta::deletion_timestamp(obj).and_then(time::parse).is_none_or(|t| t > now);
    if meta::deletion_timestamp(obj).is_none() {
        bump(obj);
    }
    if later {
        meta::set(obj, &["metadata", "deletionTimestamp"], metadata::now().into());
    }
    meta::set(obj, &["metadata", "deletionGracePeriodSeconds"], 0.into());
}

/// The garbage collector's finalizers, as the options or the kind's default ask for.
fn set_finalizers(entry: &Entry, obj: &mut Value, opts: &DeleteOptions) {
    let had = |f: &str| meta::finalizers(obj).iter().any(|x| x == f);
    let (orphan, foreground) = match (opts.orphan_dependents, opts.propagation) {
        (Some(o), _) => (o, false),
        (None, Some(p)) => (p == Propagation::Orphan, p == Propagation::Foreground),
        (None, None) if had(ORPHAN) => (true, false),
        (None, None) if had(FOREGROUND) => (false, true),
        (None, None) => (entry.strategy.orphans_dependents(), false),
    };
    // Events are never collected, nor collect.
    let (orphan, foreground) = if &*entry.gvk.kind == "Event" { (false, false) } else { (orphan, foreground) };
    if had(ORPHAN) == orphan && had(FOREGROUND) == foreground {
        return;
    }
    let mut list: Vec<Value> = meta::finalizers(obj).iter().filter(|f| *f != ORPHAN && *f != FOREGROUND).cloned().collect();
    if orphan {
        list.push(ORPHAN.into());
    }
    if foreground {
        list.push(FOREGROUND.into());
    }
    if list.is_empty() {
        meta::remove(obj, &["metadata", "finalizers"]);
    } else {
        meta::set(obj, &["metadata", "finalizers"], list.into());
    }
}

/// A definition's objects are deleted before it: a finalizer holds it.
fn definition(mut obj: Value) -> (Verdict, Value) {
    let now = metadata::now();
    let mut held = meta::finalizers(&obj).to_vec();
    if !held.iter().any(|f| f == extensions::definition::FINALIZER) {
        held.push(extensions::definition::FINALIZER.into());
    }
    meta::set(&mut obj, &["metadata", "finalizers"], held.into());
    meta::set(&mut obj, &["metadata", "deletionTimestamp"], now.clone().into());
    meta::set(&mut obj, &["metadata", "deletionGracePeriodSeconds"], 0.into());
    extensions::definition::set_condition(
        &mut obj,
        "Terminating",
        "True",
        "InstanceDeletionPending",
        "CustomResourceDefinition marked for deletion; CustomResource deletion will begin soon",
        &now,
    );
    (Verdict::Marked { then_delete: false }, obj)
}

/// A namespace is emptied by its controller first: `spec.finalizers` hold it (pkg/registry/core/namespace/storage).
fn namespace(mut obj: Value, opts: &DeleteOptions) -> (Verdict, Value) {
    let held = !meta::list_at(&obj, &["spec", "finalizers"]).is_empty();
    if meta::deletion_timestamp(&obj).is_none() {
        meta::set(&mut obj, &["metadata", "deletionTimestamp"], metadata::now().into());
        meta::set(&mut obj, &["status", "phase"], "Terminating".into());
        if opts.orphan_dependents == Some(true) || opts.propagation == Some(Propagation::Orphan) {
            let mut f = meta::finalizers(&obj).to_vec();
            if !f.iter().any(|x| x == ORPHAN) {
                f.push(ORPHAN.into());
            }
            meta::set(&mut obj, &["metadata", "finalizers"], f.into());
        }
        let pending = !meta::finalizers(&obj).is_empty();
        return (Verdict::Marked { then_delete: !held && !pending }, obj);
    }
    if held || !meta::finalizers(&obj).is_empty() {
        return (Verdict::Marked { then_delete: false }, obj);
    }
    (Verdict::Now, obj)
}
