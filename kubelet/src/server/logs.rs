//! `/containerLogs`: `kubectl logs`.

use super::{Answer, Body, Query, Service, text};
use crate::logs::read;
use crate::pod::spec;
use cri::v1::{ContainerState, ContainerStatus};
use futures::StreamExt;
use http::{Response, StatusCode};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use jiff::{SignedDuration, Timestamp};
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
    let mut found = view.record.containers.iter().filter(|s| spec::container_name(s) == container);
    let chosen: Option<&ContainerStatus> = if query.truth("previous") {
        // The newest that is over, besides the one that is current.
        found.next();
        let Some(s) = found.find(|s| s.state() == ContainerState::ContainerExited) else {
            let m = format!("previous terminated container {container:?} in pod {pod:?} not found");
            return text(StatusCode::BAD_REQUEST, m);
        };
        Some(s)
    } else {
        found.find(|s| matches!(s.state(), ContainerState::ContainerRunning | ContainerState::ContainerExited))
    };
    let Some(s) = chosen else {
        let statuses = view.status.container_statuses.iter().chain(&view.status.init_container_statuses);
        let status = statuses.chain(&view.status.ephemeral_container_statuses).flatten().find(|s| s.name == container);
        let reason = status.and_then(|s| s.state.as_ref()).and_then(|s| s.waiting.as_ref()).and_then(|w| w.reason.clone());
        let why = match reason.as_deref() {
            Some(r @ ("ErrImagePull" | "ImagePullBackOff")) => {
                let what = if r == "ErrImagePull" { "image can't be pulled" } else { "trying and failing to pull image" };
                format!("container {container:?} in pod {pod:?} is waiting to start: {what}")
            }
            Some(r) => format!("container {container:?} in pod {pod:?} is waiting to start: {r}"),
            None => format!("container {container:?} in pod {pod:?} is not available"),
        };
        return text(StatusCode::BAD_REQUEST, why);
    };
    let (id, path) = (s.id.clone(), s.log_path.clone().into());
    let over = s.state() == ContainerState::ContainerExited;
    let ended = move || {
        let record = handle.view().record;
        over || record.containers.iter().find(|c| c.id == id).is_none_or(|c| c.state() == ContainerState::ContainerExited)
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
