//! Watches: a stream of events as lines of JSON, or as messages of a WebSocket. The common case copies frames that all watchers of
//! a resource share.

use super::{convert, options, selectors, table};
use crate::context::RequestCx;
use crate::http::body::{Body, BoxError};
use crate::http::{Format, Transform, respond};
use crate::resources::Entry;
use crate::server::Inner;
use bytes::{Bytes, BytesMut};
use http::{Response, StatusCode, header};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use machinery::{Status, Value, json};
use rand::RngExt as _;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use storage::{Object, SendInitialEvents, WatchEvent, WatchOptions, Watcher};
use tokio_util::sync::WaitForCancellationFutureOwned;

/// Several events go out in one frame up to this size.
const FRAME: usize = 32 * 1024;

pub async fn watch(server: &Arc<Inner>, cx: &RequestCx, entry: &Arc<Entry>) -> Result<Response<Body>, Status> {
    let accept = cx.accept_of(entry)?;
    let storage = entry.storage.as_ref().ok_or_else(|| Status::method_not_supported(&entry.gr(), "watch"))?;
    options::validate_list(&cx.query, true)?;
    if server.shutdown.is_cancelled() {
        // A watch that ends at once would be asked for again at once by the components of this process.
        return Err(Status::service_unavailable("The apiserver is shutting down, please try again later."));
    }
    let selection = selectors::selection(cx, entry)?;
    let timeout = match cx.query.int("timeoutSeconds")? {
        Some(s) if s > 0 => Duration::from_secs(s.unsigned_abs()),
        // Spread over twice the minimum, so that watches don't all come back at once.
        _ => server.config.min_request_timeout.mul_f64(1.0 + rand::rng().random::<f64>()),
    };
    let watcher = storage
        .watch(WatchOptions {
            scope: selection.scope,
            selector: selection.selector,
            resource_version: cx.query.str("resourceVersion").to_owned(),
            send_initial_events: match cx.query.opt_bool("sendInitialEvents") {
                None => SendInitialEvents::Unset,
                Some(true) => SendInitialEvents::Yes,
                Some(false) => SendInitialEvents::No,
            },
            allow_bookmarks: cx.query.bool("allowWatchBookmarks"),
            timeout: Some(timeout),
        })
        .await?;
    let shape = match accept.transform {
        Some(Transform::Table) => Shape::Table { include: table::include(cx)?, headers: true },
        Some(_) => Shape::Partial,
        None if !entry.converts() && accept.format == Format::Protobuf => Shape::Binary,
        None if entry.converts() || accept.pretty || accept.format == Format::Protobuf => Shape::Tree,
        None => Shape::Shared,
    };
    // Upstream has no YAML stream either.
    if accept.format == Format::Yaml {
        return Err(crate::http::negotiate::not_acceptable(&[Format::Json, Format::Protobuf]));
    }
    let protobuf = accept.format == Format::Protobuf;
    let stream = Stream {
        watcher,
        entry: entry.clone(),
        fields: selection.converted,
        shape,
        deadline: Box::pin(tokio::time::sleep(timeout)),
        shutdown: Box::pin(server.shutdown.clone().cancelled_owned()),
        ended: false,
        protobuf,
        beta: accept.beta,
        _gauge: Gauge::new(server.clone()),
    };
    let body = StreamBody::new(futures::stream::unfold(stream, |mut s| async move {
        let bytes = s.next_frame().await?;
        Some((Ok::<_, BoxError>(Frame::data(bytes)), s))
    }));
    let mut r = Response::new(body.boxed_unsync());
    let content_type = if protobuf { "application/vnd.kubernetes.protobuf;stream=watch" } else { "application/json" };
    r.headers_mut().insert(header::CONTENT_TYPE, http::HeaderValue::from_static(content_type));
    *r.status_mut() = StatusCode::OK;
    Ok(r)
}

/// How events go out.
enum Shape {
    /// The frame that all watchers share.
    Shared,
    /// The object's protobuf form, which all watchers share.
    Binary,
    /// Decoded and encoded again: another version.
    Tree,
    Partial,
    Table {
        include: kinds::table::IncludeObject,
        headers: bool,
    },
}

struct Gauge(Arc<Inner>);

impl Gauge {
    fn new(server: Arc<Inner>) -> Self {
        server.metrics.watches.fetch_add(1, Ordering::Relaxed);
        Self(server)
    }
}

impl Drop for Gauge {
    fn drop(&mut self) {
        self.0.metrics.watches.fetch_sub(1, Ordering::Relaxed);
    }
}

struct Stream {
    watcher: Watcher,
    entry: Arc<Entry>,
    fields: Option<selectors::ConvertedFields>,
    shape: Shape,
    // Kept from event to event: to begin to wait for a time costs more than to go on.
    deadline: Pin<Box<tokio::time::Sleep>>,
    shutdown: Pin<Box<WaitForCancellationFutureOwned>>,
    ended: bool,
    /// Events are framed protobuf messages instead of lines of JSON.
    protobuf: bool,
    /// Tables and metadata go out as `v1beta1`.
    beta: bool,
    _gauge: Gauge,
}

impl Stream {
    /// The next event, with those that are at hand behind it; `None` ends the watch.
    async fn next_frame(&mut self) -> Option<Bytes> {
        if self.ended {
            return None;
        }
        let first = loop {
            let event = tokio::select! {
                biased;
                e = self.watcher.next() => e?,
                () = &mut self.deadline => return None,
                () = &mut self.shutdown => return None,
            };
            if let Some((event, served)) = self.selected(event).await {
                break self.encode(event, served).await;
            }
        };
        let Some(mut more) = self.at_hand().await else { return Some(first) };
        let mut out = BytesMut::with_capacity(first.len() + more.len());
        out.extend_from_slice(&first);
        loop {
            out.extend_from_slice(&more);
            if out.len() >= FRAME {
                break;
            }
            match self.at_hand().await {
                Some(bytes) => more = bytes,
                None => break,
            }
        }
        Some(out.freeze())
    }

    /// The next event that need not be waited for.
    async fn at_hand(&mut self) -> Option<Bytes> {
        while !self.ended {
            let event = self.watcher.try_next()?;
            if let Some((event, served)) = self.selected(event).await {
                return Some(self.encode(event, served).await);
            }
        }
        None
    }

    /// The event as a selector on converted objects lets it through, and its object as it is served if it was converted for that.
    async fn selected(&self, event: WatchEvent) -> Option<(WatchEvent, Option<Value>)> {
        let (Some(fields), WatchEvent::Object(e)) = (&self.fields, &event) else { return Some((event, None)) };
        let mut states = vec![e.object.clone()];
        states.extend(e.previous.clone());
        let mut selected = match fields.select(&self.entry, &states).await {
            Ok(selected) => selected.into_iter(),
            Err(status) => return Some((WatchEvent::Error(status), None)),
        };
        let (new, old) = (selected.next().flatten(), selected.next().flatten());
        // Without a new state that is selected, the event is about the old one at another revision.
        Some((WatchEvent::Object(e.narrowed(old.is_some(), new.is_some())?), new))
    }

    async fn encode(&mut self, event: WatchEvent, served: Option<Value>) -> Bytes {
        match event {
            WatchEvent::Object(e) => match &self.shape {
                Shape::Shared => e.frame().clone(),
                Shape::Binary => {
                    let object = super::protobuf::stored(&self.entry, &e.object);
                    self.framed(e.kind.as_str(), object)
                }
                _ => match self.object(&e.object, served).await {
                    Ok(v) => self.line(e.kind.as_str(), &v),
                    Err(s) => self.error(&s),
                },
            },
            WatchEvent::Bookmark { revision, initial_events_end } => {
                let mut m = json!({"resourceVersion": revision.to_string()});
                if initial_events_end {
                    m["annotations"] = json!({"k8s.io/initial-events-end": "true"});
                }
                let v = match &self.shape {
                    Shape::Table { .. } => json!({"kind": "Table", "apiVersion": "meta.k8s.io/v1",
                        "metadata": {"resourceVersion": revision.to_string()}, "columnDefinitions": null, "rows": [
                            {"cells": [], "object": {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": m}}]}),
                    Shape::Partial => json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": m}),
                    _ => json!({"kind": self.entry.gvk.kind, "apiVersion": self.entry.api_version(), "metadata": m}),
                };
                self.line("BOOKMARK", &v)
            }
            WatchEvent::Error(s) => self.error(&s),
        }
    }

    async fn object(&mut self, object: &Object, served: Option<Value>) -> Result<Value, Status> {
        if let (Shape::Tree, Some(served)) = (&self.shape, served) {
            return Ok(served);
        }
        let mut value = object.value();
        if matches!(self.shape, Shape::Table { .. }) {
            value = table::shown(&self.entry, vec![value]).await?.pop().unwrap_or_default();
        }
        Ok(match &mut self.shape {
            Shape::Shared | Shape::Binary | Shape::Tree => convert::from_storage(&self.entry, value).await?,
            Shape::Partial => table::partial(&value),
            Shape::Table { include, headers } => {
                let list_meta = json!({"resourceVersion": object.revision().to_string()});
                let t = kinds::table::table(&*self.entry.strategy, [&value], list_meta, *include, table::now(), *headers);
                *headers = false;
                t
            }
        })
    }

    fn error(&mut self, s: &Status) -> Bytes {
        self.ended = true;
        self.line("ERROR", &s.to_value())
    }

    fn line(&mut self, kind: &str, object: &Value) -> Bytes {
        let mut older = None;
        if self.beta {
            respond::v1beta1(older.insert(object.clone()));
        }
        let object = older.as_ref().unwrap_or(object);
        if !self.protobuf {
            return format!("{{\"type\":\"{kind}\",\"object\":{object}}}\n").into();
        }
        self.framed(kind, super::protobuf::encode(object))
    }

    fn framed(&mut self, kind: &str, object: Result<Vec<u8>, String>) -> Bytes {
        match object {
            Ok(bytes) => schema::proto::Codec::watch_frame(kind, &bytes).into(),
            // No protobuf form: the stream ends, and the client comes back asking for less.
            Err(error) => {
                tracing::warn!(kind = self.entry.gvk.kind, error, "an event has no protobuf form");
                self.ended = true;
                Bytes::new()
            }
        }
    }
}
