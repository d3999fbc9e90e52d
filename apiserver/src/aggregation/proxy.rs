//! Requests passed on to the server that answers for their group, under this server's certificate, with the user in headers.
//! Upstream: kube-aggregator/pkg/apiserver/handler_proxy.go, client-go/transport, SetAuthProxyHeaders.

use super::Backend;
use crate::context::RequestCx;
use crate::http::body::{Body, BoxError};
use crate::http::respond;
use crate::server::Inner;
use crate::subresources::tunnel;
use auth::UserInfo;
use http::header::{AUTHORIZATION, CONNECTION, HOST, HeaderName, PROXY_AUTHORIZATION, TE, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, Uri};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use std::sync::Arc;

/// Headers that belong to one hop, or to this server alone.
const NOT_PASSED: [HeaderName; 7] = [CONNECTION, UPGRADE, TE, TRANSFER_ENCODING, PROXY_AUTHORIZATION, AUTHORIZATION, HOST];

fn unavailable() -> Response<Body> {
    respond::text(StatusCode::SERVICE_UNAVAILABLE, "service unavailable\n")
}

/// Who asks, for a server that believes this one.
pub fn user_headers(headers: &mut HeaderMap, user: &UserInfo) {
    let mut add = |name: &str, value: &str| {
        if let (Ok(n), Ok(v)) = (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_bytes(value.as_bytes())) {
            headers.append(n, v);
        }
    };
    add("x-remote-user", &user.name);
    if !user.uid.is_empty() {
        add("x-remote-uid", &user.uid);
    }
    user.groups.iter().for_each(|g| add("x-remote-group", g));
    for (key, values) in &user.extra {
        let name = format!("x-remote-extra-{}", escape(key));
        values.iter().for_each(|v| add(&name, v));
    }
}

/// A key of `extra` as part of a header's name: what can't stand there is percent-encoded, and so is the percent sign.
fn escape(key: &str) -> String {
    let mut out = String::new();
    for b in key.bytes() {
        let plain = b.is_ascii_alphanumeric() || b"!#$&'*+-.^_`|~".contains(&b);
        if plain { out.push(char::from(b)) } else { out.push_str(&format!("%{b:02X}")) }
    }
    out
}

/// Passes a request on, and what is answered back; a switch of protocols becomes a tunnel.
pub async fn serve(
    server: &Arc<Inner>,
    cx: &RequestCx,
    backend: &Backend,
    uri: &Uri,
    body: Body,
    upgrade: Option<OnUpgrade>,
) -> Response<Body> {
    if !backend.available {
        return unavailable();
    }
    let path = uri.path_and_query().map_or("/", |p| p.as_str());
    let to = format!("https://{}{path}", backend.peer.authority());
    let mut request = Request::new(body);
    *request.method_mut() = cx.method.clone();
    match to.parse() {
        Ok(u) => *request.uri_mut() = u,
        Err(_) => return respond::page_not_found(),
    }
    // Nobody but this server says who the user is.
    let claims = |n: &HeaderName| n.as_str().starts_with("x-remote-") || n.as_str().starts_with("impersonate-");
    for (k, v) in cx.headers.iter().filter(|(k, _)| !NOT_PASSED.contains(k) && !claims(k)) {
        request.headers_mut().append(k.clone(), v.clone());
    }
    if let Some(protocol) = cx.headers.get(UPGRADE).filter(|_| upgrade.is_some()) {
        request.headers_mut().insert(UPGRADE, protocol.clone());
        request.headers_mut().insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    }
    user_headers(request.headers_mut(), &cx.user);
    match server.outbound.send(&backend.peer, &backend.trust, request).await {
        Ok(answer) if answer.status() == StatusCode::SWITCHING_PROTOCOLS => match upgrade {
            Some(client) => tunnel::join(server, client, answer),
            None => unavailable(),
        },
        Ok(answer) => plain(answer),
        Err(error) => {
            tracing::warn!(apiservice = backend.name, %error, "passing a request on");
            respond::text(StatusCode::SERVICE_UNAVAILABLE, format!("error trying to reach service: {error}\n"))
        }
    }
}

fn plain(answer: Response<Incoming>) -> Response<Body> {
    let (mut parts, body) = answer.into_parts();
    for h in [CONNECTION, UPGRADE, TRANSFER_ENCODING] {
        parts.headers.remove(h);
    }
    Response::from_parts(parts, body.map_err(|e| -> BoxError { Box::new(e) }).boxed_unsync())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_travel_in_headers() {
        let mut user = UserInfo::new("jane", &["a", "b"]);
        user.extra.insert("example.com/Scope%".into(), vec!["x".into(), "y".into()]);
        let mut headers = HeaderMap::new();
        user_headers(&mut headers, &user);
        let all = |n: &str| headers.get_all(n).iter().map(|v| v.to_str().unwrap().to_owned()).collect::<Vec<_>>();
        assert_eq!(all("x-remote-user"), ["jane"]);
        assert_eq!(all("x-remote-group"), ["a", "b"]);
        assert_eq!(all("x-remote-extra-example.com%2fscope%25"), ["x", "y"]);
        assert!(all("x-remote-uid").is_empty());
    }
}
