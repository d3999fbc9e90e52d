//! One watch request: frames of a streamed answer, decoded as they come.

use crate::api::{JSON, failure, read_all, with_query};
use crate::json::Json;
use crate::transport::Body;
use crate::{Client, Error, ListOptions, Result};
use bytes::{Buf, Bytes, BytesMut};
use futures::future::BoxFuture;
use http::Method;
use http_body_util::BodyExt;
use machinery::Status;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::time::Duration;

/// Largest single frame accepted.
const MAX_FRAME: usize = 16 << 20;

/// One event of a watch.
#[derive(Debug)]
pub enum WatchEvent<K> {
    Added(K),
    Modified(K),
    Deleted(K),
    /// Everything up to this resourceVersion has been sent; `initial_end` marks the end of a streamed list.
    Bookmark {
        resource_version: String,
        initial_end: bool,
    },
}

/// An open watch.
pub struct Watch<K> {
    frames: Frames,
    kind: std::marker::PhantomData<fn() -> K>,
}

/// The lines of an answer.
pub(crate) struct Frames {
    body: Body,
    buffer: BytesMut,
    action: String,
}

#[derive(Deserialize)]
struct Frame<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    #[serde(borrow)]
    object: &'a RawValue,
}

#[derive(Deserialize)]
struct BookmarkObject {
    metadata: BookmarkMeta,
}
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct BookmarkMeta {
    #[serde(default)]
    resource_version: String,
    #[serde(default)]
    annotations: std::collections::BTreeMap<String, String>,
}

/// Whether to wait before the next request: after errors, and after a watch that ended within a second without telling anything
/// (client-go's VeryShortWatchError), since a server in trouble, or one that goes down in this process, would be asked in a loop
/// that never yields. A watch that expired is made up for at once by a list, unless the server calls everything expired.
pub(crate) fn wants_pause(outcome: &Result<usize>, took: Duration) -> bool {
    let at_once = took < Duration::from_secs(1);
    match outcome {
        Ok(told) => *told == 0 && at_once,
        Err(e) => !e.is_expired() || at_once,
    }
}

impl Client {
    /// Watches a collection path from `options.resource_version` on.
    pub async fn watch_path<K: Json>(&self, path: &str, options: &ListOptions, timeout_seconds: u32) -> Result<Watch<K>> {
        let frames = self.frames(JSON, path, options, timeout_seconds).await?;
        Ok(Watch { frames, kind: std::marker::PhantomData })
    }

    pub(crate) fn frames<'a>(
        &'a self,
        accept: &'a str,
        path: &'a str,
        options: &'a ListOptions,
        timeout_seconds: u32,
    ) -> BoxFuture<'a, Result<Frames>> {
        Box::pin(async move {
            let query = options.query();
            let sep = if query.is_empty() { "" } else { "&" };
            let path = with_query(
                path.to_owned(),
                &format!("{query}{sep}watch=true&allowWatchBookmarks=true&timeoutSeconds={timeout_seconds}"),
            );
            let response = self.send_accepting(accept, Method::GET, &path, JSON, Bytes::new()).await?;
            let action = format!("watch {path}");
            let code = response.status();
            if !code.is_success() {
                let body = read_all(response.into_body(), 1 << 20, &action).await?;
                return Err(failure(code, &body, &action));
            }
            Ok(Frames { body: response.into_body(), buffer: BytesMut::new(), action })
        })
    }
}

impl Frames {
    /// The next line; `None` at the end. Cancel safe.
    pub async fn next(&mut self) -> Option<Result<BytesMut>> {
        loop {
            if let Some(end) = self.buffer.iter().position(|b| *b == b'\n') {
                let line = self.buffer.split_to(end);
                self.buffer.advance(1);
                if line.iter().all(u8::is_ascii_whitespace) {
                    continue;
                }
                return Some(Ok(line));
            }
            if self.buffer.len() > MAX_FRAME {
                return Some(Err(self.malformed("frame too long")));
            }
            match self.body.frame().await? {
                Ok(frame) => {
                    if let Some(data) = frame.data_ref() {
                        self.buffer.extend_from_slice(data);
                    }
                }
                Err(source) => return Some(Err(Error::Transport { action: self.action.clone(), source })),
            }
        }
    }

    pub fn malformed(&self, message: impl std::fmt::Display) -> Error {
        Error::Decode { action: self.action.clone(), message: message.to_string() }
    }

    /// What a line says; the object is as it stands in it.
    pub fn event<'a>(&self, line: &'a [u8]) -> Result<WatchEvent<&'a [u8]>> {
        let frame: Frame<'a> = serde_json::from_slice(line).map_err(|e| self.malformed(e))?;
        let object = frame.object.get();
        match frame.kind {
            "ADDED" => Ok(WatchEvent::Added(object.as_bytes())),
            "MODIFIED" => Ok(WatchEvent::Modified(object.as_bytes())),
            "DELETED" => Ok(WatchEvent::Deleted(object.as_bytes())),
            "BOOKMARK" => {
                let b: BookmarkObject = serde_json::from_str(object).map_err(|e| self.malformed(e))?;
                Ok(WatchEvent::Bookmark {
                    resource_version: b.metadata.resource_version,
                    initial_end: b.metadata.annotations.contains_key("k8s.io/initial-events-end"),
                })
            }
            "ERROR" => {
                let v = serde_json::from_str(object).map_err(|e| self.malformed(e))?;
                Err(Status::from_value(&v).map_or_else(|| self.malformed("error frame without a Status"), Error::Api))
            }
            other => Err(self.malformed(format!("unknown event type {other:?}"))),
        }
    }
}

impl<K: Json> Watch<K> {
    /// The next event; `None` when the server ended the watch. Cancel safe.
    pub async fn next(&mut self) -> Option<Result<WatchEvent<K>>> {
        Some(self.frames.next().await?.and_then(|line| {
            let event = self.frames.event(&line)?;
            event.decode().map_err(|e| self.frames.malformed(e))
        }))
    }
}

impl WatchEvent<&[u8]> {
    /// The event with its object read.
    pub(crate) fn decode<K: Json>(self) -> serde_json::Result<WatchEvent<K>> {
        Ok(match self {
            Self::Added(o) => WatchEvent::Added(K::from_json(o)?),
            Self::Modified(o) => WatchEvent::Modified(K::from_json(o)?),
            Self::Deleted(o) => WatchEvent::Deleted(K::from_json(o)?),
            Self::Bookmark { resource_version, initial_end } => WatchEvent::Bookmark { resource_version, initial_end },
        })
    }
}
