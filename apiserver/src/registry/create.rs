//! Creating objects: decode, admit, name, validate, allocate, store. Upstream: store.go Create, endpoints/handlers/create.go,
//! registry/rest/create.go.

use super::options::{Kind, WriteOptions};
use super::update::{Written, attributes};
use super::{codec, convert, managed, metadata};
use crate::admission::Operation;
use crate::context::RequestCx;
use crate::http::body::{self, Body};
use crate::resources::Entry;
use crate::server::Inner;
use http::{Response, StatusCode};
use machinery::{Status, Value, meta, names};
use std::sync::Arc;
use std::time::Duration;

/// Tries at a free name for `generateName`.
const NAME_ATTEMPTS: usize = 8;

pub async fn create(server: &Arc<Inner>, cx: &RequestCx, entry: &Entry, request_body: Body) -> Result<Response<Body>, Status> {
    let accept = cx.accept()?;
    let opts = WriteOptions::parse(cx, Kind::Create)?;
    let bytes = body::read(request_body).await?;
    let mut obj = codec::decode_object(cx, &bytes, entry, opts.validation)?;
    if !entry.converts() {
        codec::default(entry, &mut obj);
    }
    let creation = Creation { server, cx, entry, namespace: cx.info.namespace_of(entry), opts: &opts, tracked: false };
    let written = creation.run(obj).await?;
    super::update::reply(cx, entry, StatusCode::CREATED, accept, &written).await
}

/// One object on its way into the store.
pub struct Creation<'a> {
    pub server: &'a Arc<Inner>,
    pub cx: &'a RequestCx,
    pub entry: &'a Entry,
    pub namespace: String,
    pub opts: &'a WriteOptions,
    /// Field ownership is recorded already (an apply that creates).
    pub tracked: bool,
}

impl Creation<'_> {
    /// Takes a decoded, defaulted object of the served version.
    pub async fn run(&self, mut obj: Value) -> Result<Written, Status> {
        let Self { server, cx, entry, opts, .. } = self;
        metadata::wipe_system_fields(&mut obj);
        metadata::ensure_namespace(&mut obj, entry.namespaced(), &self.namespace)?;
        metadata::dedup_owner_references(cx, &mut obj, false);
        let obj = if self.tracked { obj } else { managed::track(entry, "", opts, None, obj) };
        let mut obj = convert::to_storage(entry, obj)?;
        if entry.converts() {
            codec::default(entry, &mut obj);
        }
        let namespace = if entry.is("", "namespaces") { meta::name(&obj).to_owned() } else { self.namespace.clone() };
        let mut attrs = attributes(cx, entry, Operation::Create, opts, "");
        attrs.name = meta::name(&obj).to_owned();
        attrs.namespace = namespace;
        let admitted = server.admission.admit(&attrs, &mut obj, &***server).await;
        attrs.take_warnings().into_iter().for_each(|w| cx.warn(w));
        admitted?;
        metadata::ensure_namespace(&mut obj, entry.namespaced(), &self.namespace)?;
        metadata::dedup_owner_references(cx, &mut obj, true);

        let generated = meta::name(&obj).is_empty() && !meta::str_at(&obj, &["metadata", "generateName"]).is_empty();
        if !generated {
            return self.attempt(obj, &attrs).await;
        }
        for attempt in 1.. {
            match self.attempt(obj.clone(), &attrs).await {
                Err(s) if s.is_already_exists() && attempt < NAME_ATTEMPTS => {}
                Err(mut s) if s.is_already_exists() => {
                    s.message = format!("{}, the server was not able to generate a unique name for the object", s.message);
                    return Err(s);
                }
                done => return done,
            }
        }
        Err(Status::internal("no name"))
    }

    async fn attempt(&self, mut obj: Value, attrs: &crate::admission::Attributes) -> Result<Written, Status> {
        let Self { server, cx, entry, opts, .. } = self;
        let gvk = &entry.storage_gvk;
        metadata::fill_system_fields(&mut obj);
        let generate = meta::str_at(&obj, &["metadata", "generateName"]).to_owned();
        if meta::name(&obj).is_empty() && !generate.is_empty() {
            meta::set(&mut obj, &["metadata", "name"], names::generate_name(&generate).into());
        }
        let kcx = kinds::Context {
            namespace: self.namespace.clone(),
            user: cx.user.name.clone(),
            requester: kinds::Requester {
                uid: cx.user.uid.clone(),
                groups: cx.user.groups.clone(),
                extra: cx.user.extra.clone(),
            },
            subresource: String::new(),
            now: super::update::now(),
            dry_run: opts.dry_run,
        };
        if let Some(m) = obj.get_mut("metadata").and_then(Value::as_object_mut) {
            m.remove("generation");
        }
        // What the status subresource writes is not for creators to set; a kubelet registers its node with its status, though.
        if entry.subresource("status").is_some()
            && !entry.is("", "nodes")
            && let Some(o) = obj.as_object_mut()
        {
            o.remove("status");
        }
        if entry.strategy.has_generation() {
            meta::set(&mut obj, &["metadata", "generation"], 1.into());
        }
        entry.strategy.prepare_for_create(&kcx, &mut obj);
        // A status that was taken away is written as Go writes an empty one.
        if let Some(typed) = schema::Registry::builtin().typed_kind(&gvk.group, &gvk.version, &gvk.kind) {
            schema::decode::complete(&mut obj, typed);
        }
        let reservation = crate::services::begin(server, entry, &mut obj, None, opts.dry_run).await?;
        let mut errs = metadata::validate_create(entry, &obj);
        errs.extend(entry.strategy.validate(&kcx, &obj));
        if !errs.is_empty() {
            return Err(Status::invalid(&entry.gvk.group, &entry.gvk.kind, meta::name(&obj), &errs));
        }
        // What is read back is defaulted again: a Job has then the labels that its template was given above.
        entry.strategy.default(&mut obj);
        entry.strategy.warnings(&kcx, &obj, None).into_iter().for_each(|w| cx.warn(w));
        let validated = server.admission.validate(attrs, &obj, &***server).await;
        attrs.take_warnings().into_iter().for_each(|w| cx.warn(w));
        validated?;

        server.check_escalation(&cx.user, entry, &self.namespace, &obj, None).await?;
        let storage = entry.storage.as_ref().ok_or_else(|| Status::method_not_supported(&entry.gr(), "create"))?;
        let name = meta::name(&obj).to_owned();
        let obj = convert::persist(entry, obj).await?;
        if opts.dry_run {
            return match storage.get(&self.namespace, &name, "").await {
                Ok(_) => Err(Status::already_exists(&entry.gr(), &name)),
                Err(s) if s.is_not_found() => Ok(Written::Tree(obj)),
                Err(s) => Err(s),
            };
        }
        let stored = match storage.create(&self.namespace, &name, obj, ttl(server, entry)).await {
            Ok(o) => o,
            Err(mut s) if s.is_already_exists() => {
                if let Ok(there) = storage.get(&self.namespace, &name, "").await
                    && there.deleting()
                {
                    s.message = format!("object is being deleted: {}", s.message);
                }
                return Err(super::get::renamed(s, entry));
            }
            Err(s) => return Err(s),
        };
        reservation.commit().await;
        Ok(Written::Object(stored))
    }
}

/// How long objects of a resource live.
pub fn ttl(server: &Inner, entry: &Entry) -> Option<Duration> {
    (&*entry.storage_gvk.kind == "Event").then_some(server.config.event_ttl)
}

/// Stores an object that the server itself makes, past admission; an existing one is left alone.
pub async fn store_new(server: &Arc<Inner>, group: &str, resource: &str, mut obj: Value) -> Result<bool, Status> {
    let entry = server.entry(group, resource)?;
    let storage = entry.storage.as_ref().ok_or_else(|| Status::internal("nothing is kept of this resource"))?;
    let (namespace, name) = (meta::namespace(&obj).to_owned(), meta::name(&obj).to_owned());
    match storage.get(&namespace, &name, "").await {
        Ok(_) => return Ok(false),
        Err(s) if s.is_not_found() => {}
        Err(s) => return Err(s),
    }
    codec::default(&entry, &mut obj);
    metadata::fill_system_fields(&mut obj);
    let kcx = kinds::Context { namespace: namespace.clone(), now: super::update::now(), ..kinds::Context::default() };
    if entry.strategy.has_generation() {
        meta::set(&mut obj, &["metadata", "generation"], 1.into());
    }
    let status = obj.get("status").cloned();
    entry.strategy.prepare_for_create(&kcx, &mut obj);
    // Clients don't set it, the server does.
    if let Some(status) = status {
        obj["status"] = status;
    }
    let reservation = crate::services::begin(server, &entry, &mut obj, None, false).await?;
    match storage.create(&namespace, &name, obj, None).await {
        Ok(_) => {
            reservation.commit().await;
            Ok(true)
        }
        Err(s) if s.is_already_exists() => Ok(false),
        Err(s) => Err(s),
    }
}
