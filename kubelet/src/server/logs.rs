//! `/containerLogs`: `kubectl logs`.

use super::{Answer, Body, Query, Service, text};
use crate::logs::read;
use crate::pod::spec;
use cri::v1::ContainerState as RuntimeState;
use futures::StreamExt;
use http::{Response, StatusCode};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{ContainerState, ContainerStatus};
use tokio::sync::mpsc;

fn options(query: &Query, now: Timestamp) -> Result<read::Options, String> {
    let number = |name: &str| -> Result<Option<u64>, String> {
        match query.get(name) {
            None | Some("") => Ok(None),
            Some(v) => v.parse().map(Some).map_err(|_| format!("invalid {name}: {v:?}")),
        }
    };
    let since = match (number("sinceSeconds")?, query.get("sinceTime")) {
        (Some(s), _) => now.checked_sub(SignedDuration::from_secs(i64::try_from(s).unwrap_or(i64::MAX))).ok(),
        (None, Some(t)) => Some(t.parse().map_err(|_| format!("invalid sinceTime: {t:?}"))?),
        (None, None) => None,
    };
    Ok(read::Options {
        follow: query.truth("follow"),
        tail: number("tailLines")?,
        since,
        timestamps: query.truth("timestamps"),
        limit: number("limitBytes")?,
        stream: query.get("stream").filter(|s| *s != "All").map(str::to_owned),
    })
}

/// The container ID whose log is meant (upstream validateContainerLogStatus).
fn chosen(status: Option<&ContainerStatus>, pod: &str, container: &str, previous: bool) -> Result<String, String> {
    let unavailable = || format!("container {container:?} in pod {pod:?} is not available");
    let s = status.ok_or_else(unavailable)?;
    let state = s.state.as_ref();
    let ended = |s: Option<&ContainerState>| s?.terminated.as_ref()?.container_id.clone().filter(|i| !i.is_empty());
    let last = ended(s.last_state.as_ref());
    if previous {
        return last.ok_or_else(|| format!("previous terminated container {container:?} in pod {pod:?} not found"));
    }
    if state.is_some_and(|s| s.running.is_some()) {
        return s.container_id.clone().ok_or_else(unavailable);
    }
    if let Some(id) = ended(state).or(last) {
        return Ok(id);
    }
    if state.is_some_and(|s| s.terminated.is_some()) {
        return Err(format!("container {container:?} in pod {pod:?} is terminated"));
    }
    let why = match state.and_then(|s| s.waiting.as_ref()).and_then(|w| w.reason.as_deref()) {
        Some("ErrImagePull") => "image can't be pulled",
        Some("ImagePullBackOff") => "trying and failing to pull image",
        Some(reason) => reason,
        None => return Err(unavailable()),
    };
    Err(format!("container {container:?} in pod {pod:?} is waiting to start: {why}"))
}

pub async fn serve(service: &Service, ns: &str, pod: &str, container: &str, query: &Query) -> Answer {
    let options = match options(query, service.ctx.clock.now()) {
        Ok(o) => o,
        Err(e) => return text(StatusCode::BAD_REQUEST, e),
    };
    let Some(handle) = service.pods.find(ns, pod) else {
        return text(StatusCode::NOT_FOUND, format!("pod {pod:?} does not exist\n"));
    };
    if spec::find_container(&handle.pod(), container).is_none() {
        return text(StatusCode::NOT_FOUND, format!("container {container:?} not found in pod {pod:?}\n"));
    }
    let view = handle.view();
    let statuses = view.status.container_statuses.iter().chain(&view.status.init_container_statuses);
    let status = statuses.chain(&view.status.ephemeral_container_statuses).flatten().find(|s| s.name == container);
    let id = match chosen(status, pod, container, query.truth("previous")) {
        Ok(id) => id,
        Err(why) => return text(StatusCode::BAD_REQUEST, why),
    };
    let Some(s) = view.record.containers.iter().find(|s| id.ends_with(&s.id)) else {
        return text(StatusCode::OK, format!("unable to retrieve container logs for {id}"));
    };
    let (id, path) = (s.id.clone(), s.log_path.clone().into());
    let over = s.state() == RuntimeState::ContainerExited;
    let mut views = handle.views();
    let ended = async move {
        let exited = |c: &cri::v1::ContainerStatus| c.state() == RuntimeState::ContainerExited;
        // Where nobody tells any more, it is over too.
        let _ = views.wait_for(|v| over || v.record.containers.iter().find(|c| c.id == id).is_none_or(exited)).await;
    };
    let (tx, rx) = mpsc::channel(64);
    tokio::spawn(async move {
        if let Err(e) = read::send(path, options, ended, tx.clone()).await {
            let _ = tx.send(Ok(format!("failed to read the container's log: {e}").into())).await;
        }
    });
    let stream = futures::stream::unfold(rx, |mut rx| async { rx.recv().await.map(|item| (item, rx)) });
    let body: Body = BodyExt::boxed(StreamBody::new(stream.map(|b| b.map(Frame::data))));
    let mut answer = Response::new(body);
    answer.headers_mut().insert(http::header::CONTENT_TYPE, http::HeaderValue::from_static("text/plain"));
    answer
}
