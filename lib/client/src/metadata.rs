//! Following the metadata of a collection of any kind: list and watch of PartialObjectMetadata, for the garbage collector.

use crate::api::{JSON, malformed};
use crate::json::{Json, ListMeta};
use crate::reflector::{Reflector, Sink};
use crate::watch::WatchEvent;
use crate::{Client, ListOptions, Result};
use bytes::Bytes;
use http::Method;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::{Deserialize, Serialize};
use std::collections::HashSet;

const ONE: &str = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json";
const LIST: &str = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json";

/// An object of any kind without spec and status.
#[derive(Clone, Debug, Deserialize, Serialize)]
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

impl Client {
    /// The metadata of one object.
    pub async fn get_metadata(&self, path: &str) -> Result<PartialObject> {
        let body = self.request_accepting(ONE, Method::GET, path, JSON, Bytes::new()).await?;
        PartialObject::from_json(&body).map_err(|e| malformed(&format!("GET {path}"), &e))
    }

    /// The metadata of a collection.
    pub async fn list_metadata(&self, path: &str) -> Result<Vec<PartialObject>> {
        let mut items = Vec::new();
        let page = |json: &[u8]| {
            let page = PartialObject::list_from_json(json)?;
            items.extend(page.items);
            Ok(page.metadata)
        };
        self.get_pages(LIST, path, &ListOptions::default(), page).await?;
        Ok(items)
    }

    /// Lists and watches `path` until dropped. The same object may be told more than once.
    pub async fn follow_metadata(self, path: String, tell: impl FnMut(MetadataEvent) + Send) {
        let mut sink = Told { tell, known: HashSet::new(), pages: Vec::new() };
        let options = ListOptions::default();
        Reflector { client: self, path, options, accept: (LIST, ONE) }.run(&mut sink).await;
    }
}

/// Tells what changed, with what was told before.
struct Told<F> {
    tell: F,
    /// UIDs.
    known: HashSet<String>,
    pages: Vec<PartialObject>,
}

impl<F: FnMut(MetadataEvent) + Send> Sink for Told<F> {
    fn begin(&mut self) {
        self.pages.clear();
    }

    fn page(&mut self, json: &[u8]) -> serde_json::Result<ListMeta> {
        let page = PartialObject::list_from_json(json)?;
        self.pages.extend(page.items);
        Ok(page.metadata)
    }

    fn listed(&mut self, _: &str) {
        let items = std::mem::take(&mut self.pages);
        let listed: HashSet<String> = items.iter().filter_map(|i| i.metadata.uid.clone()).collect();
        for gone in self.known.difference(&listed) {
            (self.tell)(MetadataEvent::Gone(gone.clone()));
        }
        items.into_iter().for_each(|i| (self.tell)(MetadataEvent::Put(Box::new(i))));
        self.known = listed;
        (self.tell)(MetadataEvent::Synced);
    }

    fn event(&mut self, event: WatchEvent<&[u8]>) -> serde_json::Result<Option<String>> {
        Ok(match event.decode::<PartialObject>()? {
            WatchEvent::Added(o) | WatchEvent::Modified(o) => {
                self.known.extend(o.metadata.uid.clone());
                let revision = o.metadata.resource_version.clone();
                (self.tell)(MetadataEvent::Put(Box::new(o)));
                revision
            }
            WatchEvent::Deleted(o) => {
                let uid = o.metadata.uid.unwrap_or_default();
                self.known.remove(&uid);
                (self.tell)(MetadataEvent::Gone(uid));
                o.metadata.resource_version
            }
            WatchEvent::Bookmark { resource_version, .. } => Some(resource_version),
        })
    }
}
