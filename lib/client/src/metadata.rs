//! Following the metadata of a collection of any kind: list and watch of PartialObjectMetadata, for the garbage collector.

use crate::api::{JSON, failure, read_all, with_query};
use crate::retry::Backoff;
use crate::watch::WatchEvent;
use crate::{Client, Error, ListOptions, Result};
use bytes::Bytes;
use http::Method;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Deserialize;
use std::collections::HashSet;
use std::time::Duration;

const ONE: &str = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json";
const LIST: &str = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json";

/// An object of any kind without spec and status.
#[derive(Clone, Debug, Deserialize)]
pub struct PartialObject {
    #[serde(default)]
    pub metadata: ObjectMeta,
}

/// What [`Client::follow_metadata`] tells.
#[derive(Debug)]
pub enum MetadataEvent {
    Put(Box<PartialObject>),
    /// The UID of an object that is gone.
    Gone(String),
    /// The first list was told in full.
    Synced,
}

#[derive(Deserialize)]
struct PartialList {
    #[serde(default)]
    metadata: ListMeta,
    #[serde(default)]
    items: Option<Vec<PartialObject>>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct ListMeta {
    resource_version: String,
    #[serde(rename = "continue")]
    continue_token: String,
}

impl Client {
    async fn partial<T: serde::de::DeserializeOwned>(&self, accept: &str, path: &str) -> Result<T> {
        let action = format!("GET {path}");
        let response = self.send_accepting(accept, Method::GET, path, JSON, Bytes::new()).await?;
        let code = response.status();
        let body = read_all(response.into_body(), 256 << 20, &action).await?;
        if !code.is_success() {
            return Err(failure(code, &body, &action));
        }
        crate::decode::decode(&body).map_err(|e| Error::Decode { action, message: e.to_string() })
    }

    /// The metadata of one object.
    pub async fn get_metadata(&self, path: &str) -> Result<PartialObject> {
        self.partial(ONE, path).await
    }

    /// The metadata of a collection.
    pub async fn list_metadata(&self, path: &str) -> Result<Vec<PartialObject>> {
        Ok(self.list_metadata_at(path).await?.0)
    }

    async fn list_metadata_at(&self, path: &str) -> Result<(Vec<PartialObject>, String)> {
        let mut options = ListOptions { limit: 500, ..ListOptions::default() };
        let mut items = Vec::new();
        loop {
            let page: PartialList = self.partial(LIST, &with_query(path.to_owned(), &options.query())).await?;
            items.extend(page.items.unwrap_or_default());
            if page.metadata.continue_token.is_empty() {
                return Ok((items, page.metadata.resource_version));
            }
            options.continue_token = page.metadata.continue_token;
        }
    }

    /// Lists and watches `path` until dropped. The same object may be told more than once.
    pub async fn follow_metadata(self, path: String, mut tell: impl FnMut(MetadataEvent) + Send) {
        let mut backoff = Backoff::new(Duration::from_millis(800), Duration::from_secs(30));
        let mut known = HashSet::new();
        let mut revision = None;
        loop {
            let before = tokio::time::Instant::now();
            let outcome = self.follow_once(&path, &mut known, &mut revision, &mut backoff, &mut tell).await;
            if let Err(e) = &outcome {
                tracing::debug!(path, error = %e, "metadata list or watch failed");
                if e.is_expired() {
                    revision = None;
                }
            }
            if crate::watch::wants_pause(&outcome, before.elapsed()) {
                tokio::time::sleep(backoff.step()).await;
            }
        }
    }

    /// Returns, when the server ends the watch, the number of events it told.
    async fn follow_once(
        &self,
        path: &str,
        known: &mut HashSet<String>,
        revision: &mut Option<String>,
        backoff: &mut Backoff,
        tell: &mut (impl FnMut(MetadataEvent) + Send),
    ) -> Result<usize> {
        let from = match revision.clone() {
            Some(r) => r,
            None => {
                let (items, r) = self.list_metadata_at(path).await?;
                let listed: HashSet<String> = items.iter().filter_map(|i| i.metadata.uid.clone()).collect();
                for gone in known.difference(&listed) {
                    tell(MetadataEvent::Gone(gone.clone()));
                }
                items.into_iter().for_each(|i| tell(MetadataEvent::Put(Box::new(i))));
                *known = listed;
                *revision = Some(r.clone());
                tell(MetadataEvent::Synced);
                r
            }
        };
        let options = ListOptions { resource_version: from, ..ListOptions::default() };
        let timeout = 300 + rand::RngExt::random_range(&mut rand::rng(), 0..300);
        let mut watch = self.watch_accepting::<PartialObject>(ONE, path, &options, timeout).await?;
        let mut told = 0;
        while let Some(event) = watch.next().await {
            backoff.reset();
            told += 1;
            let rv = match event? {
                WatchEvent::Added(o) | WatchEvent::Modified(o) => {
                    known.extend(o.metadata.uid.clone());
                    let rv = o.metadata.resource_version.clone();
                    tell(MetadataEvent::Put(Box::new(o)));
                    rv
                }
                WatchEvent::Deleted(o) => {
                    let uid = o.metadata.uid.unwrap_or_default();
                    known.remove(&uid);
                    tell(MetadataEvent::Gone(uid));
                    o.metadata.resource_version
                }
                WatchEvent::Bookmark { resource_version, .. } => Some(resource_version),
            };
            *revision = rv.or(revision.take());
        }
        Ok(told)
    }
}
