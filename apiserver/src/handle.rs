//! From a request to an answer: the filters that every request passes, in upstream's order (apiserver/pkg/server/config.go,
//! DefaultBuildHandlerChain): panic guard, request info, in-flight limit, authentication, impersonation, authorization, timeout.

use crate::context::RequestCx;
use crate::http::body::{self, Body, BoxError};
use crate::http::{Query, RequestInfo, respond};
use crate::router;
use crate::server::{ApiServer, Inner};
use auth::{UserInfo, authz};
use bytes::Bytes;
use futures::FutureExt as _;
use http::{HeaderName, HeaderValue, Request, Response, header};
use http_body_util::BodyExt as _;
use hyper::body::Body as _;
use machinery::Status;
use rustls::pki_types::CertificateDer;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::time::Instant;

/// Certificates that a connection showed; a request extension.
#[derive(Clone)]
pub struct PeerCertificates(pub Arc<Vec<CertificateDer<'static>>>);

const AUDIT_ID: HeaderName = HeaderName::from_static("audit-id");

impl ApiServer {
    /// Answers a request. Its user comes from an [`UserInfo`] extension (in-process), from [`PeerCertificates`], or from headers.
    /// Never fails and never panics: what goes wrong is an answer, too.
    pub async fn handle(&self, request: Request<Body>) -> Response<Body> {
        let server = &self.0;
        let started = Instant::now();
        let (mut parts, request_body) = request.into_parts();
        let audit_id = match parts.headers.get(&AUDIT_ID) {
            Some(v) if v.len() <= 64 => v.clone(),
            _ => HeaderValue::from_str(&uuid::Uuid::new_v4().to_string()).unwrap_or(HeaderValue::from_static("none")),
        };
        let query = Query::parse(parts.uri.query().unwrap_or(""));
        let takes_gzip = respond::takes_gzip(&parts.headers);
        let info = RequestInfo::parse(&parts.method, parts.uri.path(), &query);
        let mut info_kept = RequestInfo::default();
        let mut known = false;
        let answer = match info {
            Err(e) => respond::status(&Status::internal(format!("failed to create RequestInfo: {e}")), None),
            Ok(info) => {
                known = !info.is_resource || server.table.load().get(&info.group, &info.version, &info.resource).is_some();
                info_kept = info.clone();
                let user = parts.extensions.remove::<UserInfo>();
                let work = AssertUnwindSafe(filtered(server, parts, info, query, user, request_body)).catch_unwind();
                work.await.unwrap_or_else(|panic| {
                    server.metrics.panics.fetch_add(1, Ordering::Relaxed);
                    let what = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
                    tracing::error!(
                        verb = info_kept.verb,
                        path = info_kept.path,
                        panic = what.unwrap_or("?"),
                        "a request panicked"
                    );
                    respond::status(
                        &Status::internal("this request caused apiserver to panic. Look in the logs for details"),
                        None,
                    )
                })
            }
        };
        let mut answer = if takes_gzip { compress(answer).await } else { answer };
        let headers = answer.headers_mut();
        headers.insert(AUDIT_ID, audit_id);
        headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-cache, private"));
        server.metrics.observe(&info_kept, known, answer.status().as_u16(), started.elapsed());
        tracing::debug!(
            verb = info_kept.verb,
            path = info_kept.path,
            code = answer.status().as_u16(),
            us = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX),
            "request"
        );
        answer
    }
}

async fn filtered(
    server: &Arc<Inner>,
    mut parts: http::request::Parts,
    info: RequestInfo,
    query: Query,
    user: Option<UserInfo>,
    request_body: Body,
) -> Response<Body> {
    let long_running = info.is_long_running();
    let permit = if long_running { None } else { Some(server.in_flight.try_acquire()) };
    if matches!(permit, Some(Err(_))) {
        return respond::status(&Status::too_many_requests("Too many requests, please try again later.", 1), None);
    }
    let remote = user.is_none();
    let user = match authenticated(server, &mut parts, user).await {
        Ok(u) => u,
        Err(s) => return respond::status(&s, None),
    };
    let upgrade = parts.extensions.remove::<hyper::upgrade::OnUpgrade>();
    let uri = parts.uri.clone();
    let cx = RequestCx::new(parts.method, info, query, parts.headers, user);
    if let Err(s) = authorize(server, &cx).await {
        return respond::status(&s, cx.accept_status());
    }
    let limit = match time_limit(&cx.query, server.config.request_timeout) {
        Err(s) if !long_running => return respond::status(&s, cx.accept_status()),
        limit => limit.unwrap_or(server.config.request_timeout),
    };
    let routed = router::route(server, &cx, &uri, request_body, upgrade);
    let outcome = if long_running {
        routed.await
    } else {
        server.metrics.in_flight.fetch_add(1, Ordering::Relaxed);
        let done = tokio::time::timeout(limit, routed).await;
        server.metrics.in_flight.fetch_sub(1, Ordering::Relaxed);
        done.unwrap_or_else(|_| Err(Status::new(504, "Timeout", "request did not complete within the allotted timeout")))
    };
    let mut answer = outcome.unwrap_or_else(|s| respond::status(&s, cx.accept_status()));
    if remote {
        server.flow_control.tell(&cx.user, &cx.info, answer.headers_mut());
    }
    for w in cx.take_warnings() {
        if let Ok(v) = HeaderValue::from_str(&format!("299 - {}", quoted(&w))) {
            answer.headers_mut().append(header::WARNING, v);
        }
    }
    answer
}

/// How long a request may take: what the client says in `timeout`, if it is less than `most`. Upstream:
/// endpoints/filters/request_deadline.go.
fn time_limit(query: &Query, most: Duration) -> Result<Duration, Status> {
    let given = query.str("timeout");
    if given.is_empty() {
        return Ok(most);
    }
    let nanos = machinery::duration::parse(given)
        .map_err(|e| Status::bad_request(format!("invalid timeout specified in the request URL - {e}")))?;
    let given = Duration::from_nanos(u64::try_from(nanos).unwrap_or(0));
    Ok(if given.is_zero() { most } else { given.min(most) })
}

/// A quoted-string of RFC 7230; what has no place in a header is left out.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars().filter(|c| !c.is_control()).take(4096) {
        if matches!(c, '"' | '\\') {
            out.push('\\');
        }
        out.push(c);
    }
    out.push('"');
    out
}

async fn authenticated(server: &Inner, parts: &mut http::request::Parts, user: Option<UserInfo>) -> Result<UserInfo, Status> {
    let user = match user {
        Some(u) => u,
        None => {
            let peer = parts.extensions.get::<PeerCertificates>().cloned();
            let certificates = peer.as_ref().map(|p| p.0.as_slice());
            server.authenticator.authenticate(&mut parts.headers, certificates).await.map_err(|e| {
                tracing::info!(path = parts.uri.path(), error = %e, "authentication failed");
                Status::unauthorized()
            })?
        }
    };
    match auth::authn::impersonate(&mut parts.headers, &user, &*server.authorizer).await? {
        Some(other) => {
            tracing::info!(user = user.name, as_user = other.name, "impersonation");
            Ok(other)
        }
        None => Ok(user),
    }
}

async fn authorize(server: &Inner, cx: &RequestCx) -> Result<(), Status> {
    let info = &cx.info;
    let attrs = if info.is_resource {
        let selectors = matches!(info.verb.as_str(), "list" | "watch" | "deletecollection") && !info.verb_in_path;
        let selector = |name: &str| if selectors { cx.query.str(name).to_owned() } else { String::new() };
        auth::Attributes {
            user: cx.user.clone(),
            verb: info.verb.clone(),
            namespace: info.namespace.clone(),
            group: info.group.clone(),
            version: info.version.clone(),
            resource: info.resource.clone(),
            subresource: info.subresource.clone(),
            name: info.name.clone(),
            resource_request: true,
            path: info.path.clone(),
            field_selector: selector("fieldSelector"),
            label_selector: selector("labelSelector"),
        }
    } else {
        auth::Attributes::path(&cx.user, &info.verb, &info.path)
    };
    authz::check(&*server.authorizer, &attrs).await
}

/// Compresses an answer whose whole body is at hand and large.
async fn compress(answer: Response<Body>) -> Response<Body> {
    let size = answer.body().size_hint().exact();
    if !size.is_some_and(respond::worth_gzip) || answer.headers().contains_key(header::CONTENT_ENCODING) {
        return answer;
    }
    let (mut parts, whole) = answer.into_parts();
    let bytes: Result<Bytes, BoxError> = whole.collect().await.map(http_body_util::Collected::to_bytes);
    let bytes = match bytes {
        Ok(b) => b,
        Err(e) => return respond::status(&Status::internal(e), None),
    };
    let packed = tokio::task::spawn_blocking({
        let bytes = bytes.clone();
        move || respond::gzip(&bytes)
    })
    .await
    .ok()
    .flatten();
    let out = match packed {
        Some(p) => {
            parts.headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
            parts.headers.append(header::VARY, HeaderValue::from_static("Accept-Encoding"));
            body::full(p)
        }
        None => body::full(bytes),
    };
    Response::from_parts(parts, out)
}
