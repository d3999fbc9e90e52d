//! Changing objects: from the stored object through a change (a body, a patch, a subresource's rule), admission, the strategy and
//! validation, back into the store. Upstream: store.go Update, registry/rest/update.go, endpoints/handlers/update.go.

use super::create::{Creation, ttl};
use super::options::{Kind, WriteOptions};
use super::{codec, convert, get, managed, metadata, table};
use crate::admission::{Attributes, Operation};
use crate::context::RequestCx;
use crate::http::body::{self, Body};
use crate::http::{Accept, Transform, respond};
use crate::resources::Entry;
use crate::server::Inner;
use auth::authz;
use http::{Response, StatusCode};
use machinery::field::{Error, Path};
use machinery::{Status, Value, json, meta};
use parking_lot::Mutex;
use std::sync::Arc;
use storage::{Object, Preconditions, Update};

/// Seconds since the epoch.
pub fn now() -> i64 {
    table::now()
}

/// The outcome of a write: as stored, or (dry run) as it would have been.
pub enum Written {
    Object(Arc<Object>),
    Tree(Value),
}

impl Written {
    /// The object in its storage version.
    pub fn value(&self) -> Value {
        match self {
            Self::Object(o) => o.value(),
            Self::Tree(v) => v.clone(),
        }
    }
}

/// Answers with the outcome of a write.
pub async fn reply(
    cx: &RequestCx,
    entry: &Entry,
    code: StatusCode,
    accept: Accept,
    written: &Written,
) -> Result<Response<Body>, Status> {
    match (written, accept.transform) {
        (Written::Object(o), _) => get::reply(cx, entry, code, accept, o).await,
        (Written::Tree(v), Some(Transform::Table)) => {
            let v = &table::shown(entry, vec![v.clone()]).await?.pop().unwrap_or_default();
            let t = kinds::table::table(&*entry.strategy, [v], json!({}), table::include(cx)?, table::now(), true);
            Ok(respond::object(code, accept, &t))
        }
        (Written::Tree(v), Some(_)) => Ok(respond::object(code, accept, &table::partial(v))),
        (Written::Tree(v), None) => Ok(respond::object(code, accept, &convert::from_storage(entry, v.clone()).await?)),
    }
}

/// What admission is told of a write.
pub fn attributes(cx: &RequestCx, entry: &Entry, operation: Operation, opts: &WriteOptions, subresource: &str) -> Attributes {
    let mut a = Attributes::new(cx.user.clone(), operation, entry.gvr(), entry.gvk.clone());
    a.subresource = subresource.to_owned();
    a.namespace = cx.info.namespace.clone();
    a.name = cx.info.path_name().to_owned();
    a.dry_run = opts.dry_run;
    a.options = opts.object.clone();
    a
}

/// What is changed, by whom.
pub struct Target<'a> {
    pub server: &'a Arc<Inner>,
    pub cx: &'a RequestCx,
    pub entry: &'a Entry,
    pub namespace: String,
    pub name: String,
    /// `""`, `status`, `finalize`, …
    pub subresource: &'a str,
    pub opts: &'a WriteOptions,
}

/// Makes the new object, in the served version, of the present one (`None`: there is none yet). It tracks field ownership, too.
pub type Change<'a> = dyn Fn(Option<&Value>) -> Result<Value, Status> + Send + Sync + 'a;

/// PUT.
pub async fn replace(
    server: &Arc<Inner>,
    cx: &RequestCx,
    entry: &Entry,
    subresource: &str,
    request_body: Body,
) -> Result<Response<Body>, Status> {
    let accept = cx.accept()?;
    let bytes = body::read(request_body).await?;
    let opts = WriteOptions::parse(cx, Kind::Update)?;
    let namespace = cx.info.namespace_of(entry);
    let object = || {
        let mut obj = codec::decode_object(cx, &bytes, entry, opts.validation)?;
        if !entry.converts() {
            codec::default(entry, &mut obj);
        }
        metadata::ensure_namespace(&mut obj, entry.namespaced(), &cx.info.namespace_of(entry))?;
        metadata::check_name(&obj, cx.info.path_name())?;
        Ok::<_, Status>(obj)
    };
    let obj = object()?;
    let target = Target { server, cx, entry, namespace, name: cx.info.path_name().to_owned(), subresource, opts: &opts };
    let uid = meta::uid(&obj).to_owned();
    let preconditions = Preconditions { uid: (!uid.is_empty()).then_some(uid), ..Preconditions::default() };
    let create_missing = subresource.is_empty() && entry.strategy.allow_create_on_update();
    // The first round, most often the only one, gets the object itself.
    let first = Mutex::new(Some(obj));
    let change = |live: Option<&Value>| {
        let taken = first.lock().take();
        let obj = match taken {
            Some(obj) => obj,
            None => object()?,
        };
        Ok(managed::track(entry, subresource, &opts, live, obj))
    };
    let (written, created) = update(&target, &preconditions, create_missing, &change).await?;
    reply(cx, entry, if created { StatusCode::CREATED } else { StatusCode::OK }, accept, &written).await
}

/// Ends the round of an update early; carried as an error through the storage's retry loop.
enum Early {
    /// A dry run's result.
    DryRun(Value),
    /// The last finalizer is gone: the object is to be deleted. The object as it would have been.
    Delete(Value),
    /// Not there: goes the way of a create.
    Create(Value),
}

/// The message of a round that has its answer without a write. Any other error is one, even after such a round: the object may
/// have changed in between.
pub(super) const ENDED_EARLY: &str = "ended early";

/// Runs a change until it is stored. True: the object was created.
pub async fn update(
    target: &Target<'_>,
    preconditions: &Preconditions,
    create_missing: bool,
    change: &Change<'_>,
) -> Result<(Written, bool), Status> {
    let Target { server, cx, entry, namespace, name, opts, .. } = target;
    let storage = entry.storage.as_ref().ok_or_else(|| Status::method_not_supported(&entry.gr(), "update"))?;
    let early: Mutex<Option<Early>> = Mutex::new(None);
    let reservation: Mutex<Option<crate::services::Reservation>> = Mutex::new(None);
    let round = |old: Option<Value>| {
        let (early, reservation) = (&early, &reservation);
        async move {
            // What an earlier round took is given back before this one asks for the same.
            *early.lock() = None;
            *reservation.lock() = None;
            let stop = |e: Early| {
                *early.lock() = Some(e);
                Err(Status::new(500, "", ENDED_EARLY))
            };
            let Some(old) = old else {
                return match change(None) {
                    Ok(v) => stop(Early::Create(v)),
                    Err(s) => Err(s),
                };
            };
            let old = Arc::new(old);
            let (new, reserved) = prepare(target, &old, change).await?;
            let gone = meta::finalizers(&new).is_empty()
                && meta::deletion_timestamp(&old).is_some()
                && meta::i64_at(&old, &["metadata", "deletionGracePeriodSeconds"]).unwrap_or(0) == 0
                && (!entry.is("", "namespaces") || meta::list_at(&new, &["spec", "finalizers"]).is_empty());
            if gone {
                return stop(Early::Delete(new));
            }
            if opts.dry_run {
                return stop(Early::DryRun(new));
            }
            *reservation.lock() = Some(reserved);
            Ok(Update { value: new, ttl: ttl(server, entry) })
        }
    };
    let done = storage.guaranteed_update(namespace, name, preconditions, create_missing, round).await;
    let ended_early = matches!(&done, Err(s) if s.message == ENDED_EARLY);
    let (early, reservation) = (early.into_inner().filter(|_| ended_early), reservation.into_inner());
    match (done, early) {
        (Ok(object), _) => {
            if let Some(r) = reservation {
                r.commit().await;
            }
            Ok((Written::Object(object), false))
        }
        (Err(_), Some(Early::DryRun(v))) => Ok((Written::Tree(v), false)),
        (Err(_), Some(Early::Delete(v))) => {
            if !opts.dry_run {
                match storage.delete(namespace, name, preconditions, |_| Ok(())).await {
                    Ok(last) => crate::services::released(server, entry, &last).await,
                    Err(s) if s.is_not_found() => {}
                    Err(s) => return Err(s),
                }
            }
            Ok((Written::Tree(v), false))
        }
        (Err(_), Some(Early::Create(v))) => {
            let mut attrs =
                auth::Attributes::resource(&cx.user, "create", &entry.row.group, &entry.row.resource, namespace, name);
            attrs.version = entry.row.version.to_string();
            authz::check(&*server.authorizer, &attrs).await?;
            if let Some(uid) = preconditions.uid.as_deref().filter(|u| !u.is_empty()) {
                return Err(Status::conflict(
                    &entry.gr(),
                    name,
                    format!("Precondition failed: UID in precondition: {uid}, UID in object meta: "),
                ));
            }
            let creation = Creation { server, cx, entry, namespace: namespace.clone(), opts, tracked: true };
            Ok((creation.run(v).await?, true))
        }
        (Err(s), None) => Err(get::renamed(s, entry)),
    }
}

/// One round: the object that is to be stored.
async fn prepare(
    target: &Target<'_>,
    old: &Arc<Value>,
    change: &Change<'_>,
) -> Result<(Value, crate::services::Reservation), Status> {
    let Target { server, cx, entry, namespace, name, subresource, opts } = target;
    let gr = entry.gr();
    let live = if entry.custom.is_some() || entry.converts() {
        Arc::new(convert::from_storage(entry, Value::clone(old)).await?)
    } else {
        old.clone()
    };
    // The rules of a custom resource hold for the version that is asked for, those of a built-in kind for the stored one.
    let old = if entry.custom.is_some() { &live } else { old };
    let new = change(Some(&*live))?;
    let mut new = convert::to_storage(entry, new)?;
    if entry.converts() {
        codec::default(entry, &mut new);
    }
    metadata::ensure_namespace(&mut new, entry.namespaced(), namespace)?;
    if meta::name(&new) != name.as_str() {
        metadata::check_name(&new, name)?;
    }
    let mut attrs = attributes(cx, entry, Operation::Update, opts, subresource);
    attrs.name = name.clone();
    attrs.old_object = Some(old.clone());
    let old: &Value = old;
    let admitted = server.admission.admit(&attrs, &mut new, &***server).await;
    attrs.take_warnings().into_iter().for_each(|w| cx.warn(w));
    admitted?;
    metadata::ensure_namespace(&mut new, entry.namespaced(), namespace)?;
    metadata::dedup_owner_references(cx, &mut new, true);

    let found = meta::resource_version(old).to_owned();
    match meta::resource_version(&new) {
        "" | "0" if entry.strategy.allow_unconditional_update() => {
            meta::set(&mut new, &["metadata", "resourceVersion"], found.into());
        }
        "" | "0" => {
            let path = Path::new("metadata").child("resourceVersion");
            let err = Error::invalid(&path, 0, "must be specified for an update");
            return Err(Status::invalid(&gr.group, &gr.resource, name, &vec![err]));
        }
        given if given != found => return Err(Status::modified(&gr, name)),
        _ => {}
    }
    let kcx = kinds::Context {
        namespace: namespace.clone(),
        user: cx.user.name.clone(),
        requester: kinds::Requester::default(),
        subresource: (*subresource).to_owned(),
        now: now(),
        dry_run: opts.dry_run,
    };
    let generation = meta::at(old, &["metadata", "generation"]).cloned();
    match generation {
        Some(g) => meta::set(&mut new, &["metadata", "generation"], g),
        None => {
            meta::remove(&mut new, &["metadata", "generation"]);
        }
    }
    if *subresource == "status" {
        keep_but_status(&mut new, old, entry.custom.is_some());
        entry.strategy.prepare_for_status_update(&kcx, &mut new, old);
    } else {
        if entry.subresource("status").is_some()
            && *subresource != "approval"
            && let Some(o) = new.as_object_mut()
        {
            match old.get("status") {
                Some(s) => {
                    o.insert("status".into(), s.clone());
                }
                None => {
                    o.remove("status");
                }
            }
        }
        entry.strategy.prepare_for_update(&kcx, &mut new, old);
    }
    metadata::keep_system_fields(&mut new, old);
    if entry.strategy.has_generation() && *subresource != "status" {
        metadata::bump_generation(&mut new, old, entry.custom.is_some() && entry.subresource("status").is_none());
    }
    let reserved = if subresource.is_empty() {
        crate::services::begin(server, entry, &mut new, Some(old), opts.dry_run).await?
    } else {
        crate::services::Reservation::none()
    };
    let mut errs = metadata::validate_update(entry, &new, old);
    errs.extend(if *subresource == "status" {
        entry.strategy.validate_status_update(&kcx, &new, old)
    } else {
        entry.strategy.validate_update(&kcx, &new, old)
    });
    if !errs.is_empty() {
        return Err(Status::invalid(&entry.gvk.group, &entry.gvk.kind, name, &errs));
    }
    entry.strategy.warnings(&kcx, &new, Some(old)).into_iter().for_each(|w| cx.warn(w));
    server.check_escalation(&cx.user, entry, namespace, &new, Some(old)).await?;
    managed::ignore_timestamps(&mut new, old);
    let validated = server.admission.validate(&attrs, &new, &***server).await;
    attrs.take_warnings().into_iter().for_each(|w| cx.warn(w));
    validated?;
    Ok((convert::persist(entry, new).await?, reserved))
}

/// A status update leaves everything but the status and the metadata that clients own as it was.
/// That of a custom resource leaves all metadata, too.
fn keep_but_status(new: &mut Value, old: &Value, custom: bool) {
    let mut kept = old.clone();
    let (Some(k), Some(n)) = (kept.as_object_mut(), new.as_object_mut()) else { return };
    match n.remove("status") {
        Some(s) => {
            k.insert("status".into(), s);
        }
        None => {
            k.remove("status");
        }
    }
    let metadata = n.remove("metadata");
    if custom {
        let fields = metadata.as_ref().and_then(|m| m.get("managedFields")).cloned();
        let version = metadata.as_ref().and_then(|m| m.get("resourceVersion")).cloned();
        *new = kept;
        for (f, v) in [("managedFields", fields), ("resourceVersion", version)] {
            match v {
                Some(v) => meta::set(new, &["metadata", f], v),
                None => _ = meta::remove(new, &["metadata", f]),
            }
        }
        return;
    }
    if let Some(m) = metadata {
        k.insert("metadata".into(), m);
    }
    *new = kept;
    for f in ["ownerReferences"] {
        match meta::at(old, &["metadata", f]) {
            Some(v) => meta::set(new, &["metadata", f], v.clone()),
            None => {
                meta::remove(new, &["metadata", f]);
            }
        }
    }
}
