//! Watches on etcd: one stream each, all on one connection. A broken stream is opened again behind the last revision delivered,
//! so that the reader of the watch notices nothing unless history was compacted meanwhile.

use super::pb::watch_client::WatchClient;
use super::pb::watch_request::RequestUnion;
use super::pb::{self, WatchCreateRequest, WatchProgressRequest, WatchRequest, WatchResponse};
use super::{key_name, key_value, prefix_end, revision, signed, unavailable, unsigned};
use crate::{Error, Event, Result, Revision, Watch, WatchMessage};
use bytes::Bytes;
use parking_lot::Mutex;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Request, Streaming};

/// Messages between a stream and its reader; a slow reader holds the stream up, and etcd with it.
const BUFFER: usize = 256;
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(3);

/// The watch streams of a store.
pub struct Streams {
    channel: Channel,
    /// Whether answers to progress requests can be believed.
    progress: bool,
    requests: Mutex<Vec<mpsc::Sender<WatchRequest>>>,
}

/// One watch and where it has got to.
struct Position {
    prefix: Box<str>,
    /// Everything up to here has been delivered.
    after: Revision,
    /// Events of a response that comes in fragments.
    fragments: Vec<Event>,
}

impl Streams {
    pub fn new(channel: Channel, progress: bool) -> Arc<Self> {
        Arc::new(Self { channel, progress, requests: Mutex::new(Vec::new()) })
    }

    pub fn request_progress(&self) {
        let request = WatchRequest { request_union: Some(RequestUnion::ProgressRequest(WatchProgressRequest {})) };
        // A full queue holds such a request already.
        self.requests.lock().retain(|r| {
            let _ = r.try_send(request.clone());
            !r.is_closed()
        });
    }

    pub async fn watch(self: &Arc<Self>, prefix: &str, after: Revision) -> Result<Watch> {
        let (tx, rx) = mpsc::channel(BUFFER);
        let mut position = Position { prefix: prefix.into(), after, fragments: Vec::new() };
        let stream = self.open(&mut position).await?;
        tokio::spawn(self.clone().run(position, stream, tx));
        Ok(Watch { rx, queued: None })
    }

    /// Opens a stream and waits until etcd has made the watch.
    async fn open(&self, position: &mut Position) -> Result<Streaming<WatchResponse>> {
        position.fragments.clear();
        let create = WatchCreateRequest {
            key: Bytes::copy_from_slice(position.prefix.as_bytes()),
            range_end: prefix_end(&position.prefix),
            start_revision: signed(position.after + 1),
            progress_notify: true,
            fragment: true,
        };
        let (requests, outgoing) = mpsc::channel(4);
        let first = WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) };
        requests.try_send(first).map_err(|e| unavailable(format!("etcd: watch: {e}")))?;
        let mut request = Request::new(ReceiverStream::new(outgoing));
        // Ends the stream if etcd loses its leader, so that it is opened on another member.
        request.metadata_mut().insert("hasleader", tonic::metadata::MetadataValue::from_static("true"));
        let failed = |e: tonic::Status| unavailable(format!("etcd: watch: {}", e.message()));
        let mut client = WatchClient::new(self.channel.clone()).max_decoding_message_size(usize::MAX);
        let mut stream = client.watch(request).await.map_err(failed)?.into_inner();
        let Some(response) = stream.message().await.map_err(failed)? else {
            return Err(unavailable("etcd: watch: the stream ended".into()));
        };
        check(&response, position.after)?;
        // etcd answers a start that is compacted only after it has called the watch made; ask for the next response there.
        self.requests.lock().push(requests);
        Ok(stream)
    }

    async fn run(self: Arc<Self>, mut position: Position, stream: Streaming<WatchResponse>, tx: mpsc::Sender<WatchMessage>) {
        let mut stream = Some(stream);
        let mut pause = FIRST_PAUSE;
        loop {
            if let Some(open) = stream.take() {
                let ended = tokio::select! {
                    ended = self.follow(&mut position, open, &tx, &mut pause) => ended,
                    () = tx.closed() => return,
                };
                if ended.is_break() {
                    return;
                }
            }
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = tx.closed() => return,
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
            match self.open(&mut position).await {
                Ok(open) => stream = Some(open),
                Err(Error::Unavailable { message, .. }) => tracing::warn!(prefix = &*position.prefix, message, "watch on etcd"),
                Err(e) => {
                    let _ = tx.send(WatchMessage::Closed(Arc::new(e))).await;
                    return;
                }
            }
        }
    }

    /// Delivers what a stream brings. Breaks if the watch is at its end, continues if the stream is to be opened again.
    async fn follow(
        &self,
        position: &mut Position,
        mut stream: Streaming<WatchResponse>,
        tx: &mpsc::Sender<WatchMessage>,
        pause: &mut Duration,
    ) -> ControlFlow<()> {
        loop {
            let response = match stream.message().await {
                Ok(Some(response)) => response,
                Ok(None) => return ControlFlow::Continue(()),
                Err(e) => {
                    tracing::warn!(prefix = &*position.prefix, error = e.message(), "watch on etcd");
                    return ControlFlow::Continue(());
                }
            };
            *pause = FIRST_PAUSE;
            let message = match check(&response, position.after).and_then(|()| self.message(position, response)) {
                Ok(message) => message,
                Err(Error::Unavailable { message, .. }) => {
                    tracing::warn!(prefix = &*position.prefix, message, "watch on etcd");
                    return ControlFlow::Continue(());
                }
                Err(e) => Some(WatchMessage::Closed(Arc::new(e))),
            };
            let Some(message) = message else { continue };
            let last = matches!(message, WatchMessage::Closed(_));
            if tx.send(message).await.is_err() || last {
                return ControlFlow::Break(());
            }
        }
    }

    fn message(&self, position: &mut Position, response: WatchResponse) -> Result<Option<WatchMessage>> {
        let broadcast = response.watch_id == -1;
        let at = revision(response.header.as_ref());
        let had_events = !response.events.is_empty();
        for event in response.events {
            position.fragments.extend(convert(event)?);
        }
        if response.fragment {
            return Ok(None);
        }
        if had_events || !position.fragments.is_empty() {
            let events = std::mem::take(&mut position.fragments);
            position.after = events.last().map_or(position.after, Event::revision);
            return Ok((!events.is_empty()).then_some(WatchMessage::Events(events)));
        }
        if response.created || (broadcast && !self.progress) || at <= position.after {
            return Ok(None);
        }
        position.after = at;
        Ok(Some(WatchMessage::Progress(at)))
    }
}

/// An error if the response ends the watch.
fn check(response: &WatchResponse, after: Revision) -> Result<()> {
    if response.compact_revision > 0 {
        return Err(Error::Compacted { requested: after, compacted: unsigned(response.compact_revision) });
    }
    if response.canceled {
        return Err(unavailable(format!("etcd: watch canceled: {}", response.cancel_reason)));
    }
    Ok(())
}

fn convert(event: pb::Event) -> Result<Option<Event>> {
    let deletes = event.r#type() == pb::event::EventType::Delete;
    let Some(kv) = event.kv else { return Ok(None) };
    Ok(Some(if deletes {
        Event::Delete { key: key_name(&kv.key)?, revision: unsigned(kv.mod_revision) }
    } else {
        Event::Put(key_value(kv)?)
    }))
}
