//! Lists and watches a collection, and tells a sink: client-go's Reflector. It knows no types, so that there is one loop for all
//! kinds in the program.

use crate::json::ListMeta;
use crate::retry::Backoff;
use crate::watch::{WatchEvent, wants_pause};
use crate::{Client, ListOptions, Result};
use std::time::Duration;

/// What is told of a collection.
pub(crate) trait Sink: Send {
    /// A list begins; what came of another before it came to nothing.
    fn begin(&mut self);
    /// A page of the list.
    fn page(&mut self, json: &[u8]) -> serde_json::Result<ListMeta>;
    /// The pages were all that there is at a revision.
    fn listed(&mut self, revision: &str);
    /// One change; returns the revision that it tells.
    fn event(&mut self, event: WatchEvent<&[u8]>) -> serde_json::Result<Option<String>>;
}

/// Which collection, in which form.
pub(crate) struct Reflector {
    pub client: Client,
    pub path: String,
    pub options: ListOptions,
    /// The `Accept` headers of lists and of watches.
    pub accept: (&'static str, &'static str),
}

impl Reflector {
    /// Until dropped.
    pub async fn run(self, sink: &mut dyn Sink) {
        let mut backoff = Backoff::new(Duration::from_millis(800), Duration::from_secs(30));
        let mut revision = None;
        loop {
            let before = tokio::time::Instant::now();
            let outcome = self.list_then_watch(sink, &mut revision, &mut backoff).await;
            if let Err(e) = &outcome {
                tracing::debug!(path = self.path, error = %e, "list or watch failed");
                if e.is_expired() {
                    revision = None;
                }
            }
            if wants_pause(&outcome, before.elapsed()) {
                tokio::time::sleep(backoff.step()).await;
            }
        }
    }

    /// Returns, when the server ends the watch, the number of events it told.
    async fn list_then_watch(&self, sink: &mut dyn Sink, revision: &mut Option<String>, backoff: &mut Backoff) -> Result<usize> {
        let from = match revision.clone() {
            Some(r) => r,
            None => {
                let r = self.list(sink).await?;
                *revision = Some(r.clone());
                r
            }
        };
        let timeout = 300 + rand::RngExt::random_range(&mut rand::rng(), 0..300);
        let options = ListOptions { resource_version: from, ..self.options.clone() };
        let mut frames = self.client.frames(self.accept.1, &self.path, &options, timeout).await?;
        let mut told = 0;
        while let Some(line) = frames.next().await {
            backoff.reset();
            told += 1;
            let line = line?;
            let at = sink.event(frames.event(&line)?).map_err(|e| frames.malformed(e))?;
            *revision = at.or(revision.take());
        }
        Ok(told)
    }

    async fn list(&self, sink: &mut dyn Sink) -> Result<String> {
        sink.begin();
        let revision = self.client.get_pages(self.accept.0, &self.path, &self.options, |json| sink.page(json)).await?;
        sink.listed(&revision);
        Ok(revision)
    }
}
