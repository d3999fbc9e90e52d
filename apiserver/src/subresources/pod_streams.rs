//! `log`, `exec`, `attach` and `portforward` of pods: found here, answered by the kubelet. Upstream: pkg/registry/core/pod/rest.

use super::remote_command::{self, Wanted};
use super::tunnel::{self, Destination, forward};
use super::{kubelet, port_tunnel};
use crate::context::RequestCx;
use crate::http::body::{self, Body};
use crate::http::{respond, websocket};
use crate::resources::Entry;
use crate::server::Inner;
use http::{HeaderMap, Method, Response, StatusCode, header};
use hyper::upgrade::OnUpgrade;
use machinery::field::{Error, Path};
use machinery::{Map, Status, Value, json, meta};
use std::sync::Arc;

/// Percent-encodes a query value or a path segment.
pub fn escape(s: &str) -> String {
    let mut out = String::with_capacity(s.len());
    for b in s.bytes() {
        match b {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => out.push(char::from(b)),
            _ => out.push_str(&format!("%{b:02X}")),
        }
    }
    out
}

fn containers(pod: &Value) -> impl Iterator<Item = &str> {
    ["initContainers", "containers", "ephemeralContainers"]
        .into_iter()
        .flat_map(|f| meta::list_at(pod, &["spec", f]))
        .filter_map(|c| c.get("name")?.as_str())
}

/// The container that a request means.
fn container(pod: &Value, given: &str) -> Result<String, Status> {
    let name = meta::name(pod);
    if !given.is_empty() {
        return if containers(pod).any(|c| c == given) {
            Ok(given.to_owned())
        } else {
            Err(Status::bad_request(format!("container {given} is not valid for pod {name}")))
        };
    }
    match meta::list_at(pod, &["spec", "containers"]) {
        [one] => Ok(meta::str_at(one, &["name"]).to_owned()),
        [] => Err(Status::bad_request(format!("a container name must be specified for pod {name}"))),
        _ => {
            let all: Vec<&str> = containers(pod).collect();
            Err(Status::bad_request(format!(
                "a container name must be specified for pod {name}, choose one of: [{}]",
                all.join(" ")
            )))
        }
    }
}

async fn destination(server: &Arc<Inner>, pod: &Value, path: String) -> Result<Destination, Status> {
    let (host, port) = kubelet::address(server, meta::str_at(pod, &["spec", "nodeName"])).await?;
    Ok(Destination { host, port, tls: Some(server.kubelet.kubelet.clone()), path })
}

pub async fn log(server: &Arc<Inner>, cx: &RequestCx, entry: &Entry) -> Result<Response<Body>, Status> {
    let q = &cx.query;
    let mut errs = Vec::new();
    for f in ["tailLines", "limitBytes", "sinceSeconds"] {
        let least = i64::from(f != "tailLines");
        if let Some(n) = q.int(f)?
            && n < least
        {
            let why = if least == 1 { "must be greater than 0" } else { "must be greater than or equal to 0" };
            errs.push(Error::invalid(&Path::new(f), n, why));
        }
    }
    if q.get("sinceSeconds").is_some() && q.get("sinceTime").is_some() {
        errs.push(Error::forbidden(&Path::new(""), "at most one of `sinceTime` or `sinceSeconds` may be specified"));
    }
    if !errs.is_empty() {
        return Err(Status::invalid("", "PodLogOptions", cx.info.path_name(), &errs));
    }
    let pod = super::current(cx, entry).await?;
    let container = container(&pod, q.str("container"))?;
    if meta::str_at(&pod, &["spec", "nodeName"]).is_empty() {
        return Ok(respond::response(StatusCode::OK, "text/plain", ""));
    }
    let mut params = Vec::new();
    for f in ["follow", "previous", "timestamps"] {
        if q.bool(f) {
            params.push(format!("{f}=true"));
        }
    }
    for f in ["sinceSeconds", "sinceTime", "tailLines", "limitBytes", "stream"] {
        if !q.str(f).is_empty() {
            params.push(format!("{f}={}", escape(q.str(f))));
        }
    }
    let path = format!(
        "/containerLogs/{}/{}/{}?{}",
        escape(meta::namespace(&pod)),
        escape(meta::name(&pod)),
        escape(&container),
        params.join("&")
    );
    let to = destination(server, &pod, path).await?;
    let answer = forward(server, &to, Method::GET, &HeaderMap::new(), body::empty(), None).await?;
    if answer.status().is_success() {
        let mut answer = answer;
        answer.headers_mut().insert(header::CONTENT_TYPE, http::HeaderValue::from_static("text/plain"));
        return Ok(answer);
    }
    Err(kubelet_error(answer).await)
}

/// What a kubelet refused, as a Status: its text is for the user.
pub(super) async fn kubelet_error(answer: Response<Body>) -> Status {
    let code = answer.status().as_u16();
    let bytes = body::read(answer.into_body()).await.unwrap_or_default();
    if let Some(s) = serde_json::from_slice::<Value>(&bytes).ok().as_ref().and_then(Status::from_value) {
        return s;
    }
    let text = String::from_utf8_lossy(&bytes).trim().to_owned();
    match code {
        400 => Status::bad_request(text),
        404 => Status::new(404, "NotFound", format!("the server could not find the requested resource ({text})")),
        c => Status::new(c, "InternalError", text),
    }
}

pub async fn stream(
    server: &Arc<Inner>,
    cx: &RequestCx,
    entry: &Entry,
    request_body: Body,
    upgrade: Option<OnUpgrade>,
) -> Result<Response<Body>, Status> {
    let q = &cx.query;
    let what = cx.info.subresource.as_str();
    if !matches!(cx.method, Method::GET | Method::POST) {
        return Err(respond::generic(405));
    }
    // A WebSocket comes by GET, yet it is no mere reading.
    if cx.method == Method::GET {
        let info = &cx.info;
        let mut attrs =
            auth::Attributes::resource(&cx.user, "create", "", "pods", &info.namespace, &info.name).with_subresource(what);
        attrs.version = info.version.clone();
        attrs.path = info.path.clone();
        auth::authz::check(&*server.authorizer, &attrs).await?;
    }
    let pod = super::current(cx, entry).await?;
    let kind = match what {
        "exec" => "PodExecOptions",
        "attach" => "PodAttachOptions",
        _ => "PodPortForwardOptions",
    };
    super::admit_connect(server, cx, entry, options(cx, kind)).await?;

    let target =
        if what == "portforward" { String::new() } else { format!("/{}", escape(&container(&pod, q.str("container"))?)) };
    if meta::str_at(&pod, &["spec", "nodeName"]).is_empty() {
        return Err(Status::bad_request(format!("pod {} does not have a host assigned", meta::name(&pod))));
    }
    let mut params = Vec::new();
    if what == "portforward" {
        let ports: Vec<&str> = q.all("ports").collect();
        if !ports.is_empty() {
            params.push(format!("port={}", escape(&ports.join(","))));
        }
    } else {
        for (ours, theirs) in [("stdin", "input"), ("stdout", "output"), ("stderr", "error"), ("tty", "tty")] {
            if q.bool(ours) {
                params.push(format!("{theirs}=1"));
            }
        }
        params.extend(q.all("command").filter(|_| what == "exec").map(|c| format!("command={}", escape(c))));
    }
    let root = if what == "portforward" { "portForward" } else { what };
    let path = format!("/{root}/{}/{}{target}?{}", escape(meta::namespace(&pod)), escape(meta::name(&pod)), params.join("&"));
    let to = destination(server, &pod, path).await?;
    if websocket::wanted(&cx.headers) {
        let tunnelled = what == "portforward" && !port_tunnel::offered(&cx.headers).is_empty();
        let translated = what != "portforward" && websocket::offered(&cx.headers).any(|p| p == remote_command::V5);
        if (tunnelled || translated) && !kubelet::takes_web_sockets(server, meta::str_at(&pod, &["spec", "nodeName"])).await? {
            let upgrade = upgrade.ok_or_else(tunnel::not_upgradable)?;
            if tunnelled {
                return port_tunnel::tunnel(server, upgrade, &cx.headers, &to).await;
            }
            let [stdin, stdout, stderr, tty] = ["stdin", "stdout", "stderr", "tty"].map(|f| q.bool(f));
            return remote_command::translate(server, upgrade, &cx.headers, to, Wanted { stdin, stdout, stderr, tty });
        }
    }
    let answer = forward(server, &to, cx.method.clone(), &cx.headers, request_body, upgrade).await?;
    match answer.status() {
        StatusCode::SWITCHING_PROTOCOLS => Ok(answer),
        s if s.is_success() => Ok(answer),
        _ => Err(kubelet_error(answer).await),
    }
}

/// The options object of a connect, for admission.
fn options(cx: &RequestCx, kind: &str) -> Value {
    let mut o = Map::new();
    o.insert("kind".into(), kind.into());
    o.insert("apiVersion".into(), "v1".into());
    for f in ["stdin", "stdout", "stderr", "tty"] {
        if cx.query.bool(f) {
            o.insert(f.into(), true.into());
        }
    }
    if !cx.query.str("container").is_empty() {
        o.insert("container".into(), cx.query.str("container").into());
    }
    let command: Vec<&str> = cx.query.all("command").collect();
    if !command.is_empty() {
        o.insert("command".into(), json!(command));
    }
    o.into()
}
