//! The etcd backend, for several machines and several API servers: etcd 3.4 or newer over gRPC, keys as upstream writes them.

mod lease;
mod watch;

/// Generated from `proto/etcd.proto`.
#[allow(clippy::all)]
mod pb {
    tonic::include_proto!("etcdserverpb");
}

use crate::{Error, KEY_LIMIT, KeyValue, Range, RangeResult, Result, Revision, Store, VALUE_LIMIT, Watch};
use async_trait::async_trait;
use bytes::Bytes;
use futures::future::BoxFuture;
use lease::Leases;
use pb::kv_client::KvClient;
use pb::maintenance_client::MaintenanceClient;
use pb::request_op::Request;
use pb::response_op::Response;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Code, Status};
use watch::Streams;

/// Keys read in one request when all of a prefix are asked for.
const PAGE: i64 = 1000;
/// Attempts of a read while etcd is unreachable or electing a leader.
const READ_ATTEMPTS: u32 = 4;

/// Where etcd is, and how to prove who we are; the flags `--etcd-servers`, `--etcd-cafile`, `--etcd-certfile`, `--etcd-keyfile`.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// `http://127.0.0.1:2379`, `https://…`
    pub servers: Vec<String>,
    pub ca_file: Option<PathBuf>,
    pub cert_file: Option<PathBuf>,
    pub key_file: Option<PathBuf>,
}

/// A store on etcd.
pub struct Etcd {
    kv: KvClient<Channel>,
    maintenance: MaintenanceClient<Channel>,
    leases: Leases,
    streams: Arc<Streams>,
    /// Newest compaction that this process has made or met.
    compacted: AtomicU64,
    progress: bool,
}

fn unavailable(message: String) -> Error {
    Error::Unavailable { message, maybe_written: false }
}

impl Etcd {
    /// Connects, and asks etcd for its version.
    pub fn connect(options: &Options) -> BoxFuture<'_, Result<Self>> {
        Box::pin(Self::open(options))
    }

    async fn open(options: &Options) -> Result<Self> {
        let tls = tls(options)?;
        let endpoints = options.servers.iter().map(|server| endpoint(server, &tls)).collect::<Result<Vec<_>>>()?;
        let channel = match endpoints.as_slice() {
            [] => return Err(unavailable("no etcd server given".into())),
            [one] => one.connect_lazy(),
            _ => Channel::balance_list(endpoints.into_iter()),
        };
        let mut maintenance = MaintenanceClient::new(channel.clone());
        let status = maintenance
            .status(pb::StatusRequest {})
            .await
            .map_err(|e| unavailable(format!("etcd at {} does not answer: {}", options.servers.join(", "), e.message())))?
            .into_inner();
        let version = parse_version(&status.version);
        if version < (3, 4, 0) {
            return Err(Error::Corrupt(format!(
                "etcd at {} has version {}; 3.4 or newer is needed",
                options.servers.join(", "),
                status.version
            )));
        }
        let progress = reports_progress_in_order(version);
        if !progress {
            tracing::warn!(
                version = status.version,
                "this etcd reports watch progress too early: consistent lists are read from etcd, not from the cache"
            );
        }
        let kv = KvClient::new(channel.clone()).max_decoding_message_size(usize::MAX);
        Ok(Self {
            leases: Leases::new(channel.clone()),
            streams: Streams::new(channel, progress),
            kv,
            maintenance,
            compacted: AtomicU64::new(0),
            progress,
        })
    }

    /// A range request, tried again while etcd is unreachable.
    async fn read(&self, request: pb::RangeRequest) -> Result<pb::RangeResponse> {
        let mut attempt = 0;
        loop {
            attempt += 1;
            match self.kv.clone().range(request.clone()).await {
                Ok(response) => return Ok(response.into_inner()),
                Err(e) if e.code() == Code::Unavailable && attempt < READ_ATTEMPTS => {
                    tokio::time::sleep(Duration::from_millis(50) * (1 << attempt)).await;
                }
                Err(e) => return Err(self.error(&e, &request)),
            }
        }
    }

    fn error(&self, e: &Status, request: &pb::RangeRequest) -> Error {
        let requested = u64::try_from(request.revision).unwrap_or(0);
        if e.message().contains("required revision has been compacted") {
            let compacted = self.compacted.fetch_max(requested + 1, Ordering::AcqRel).max(requested + 1);
            return Error::Compacted { requested, compacted };
        }
        if e.message().contains("required revision is a future revision") {
            return Error::Future { requested, current: 0 };
        }
        unavailable(format!("etcd: {}", e.message()))
    }

    /// Writes if the key is at `expected` (0: absent); else answers what is there.
    async fn write(&self, key: &str, expected: Revision, op: Request, size: usize) -> Result<Revision> {
        for (size, limit) in [(key.len(), KEY_LIMIT), (size, VALUE_LIMIT)] {
            if size > limit {
                return Err(Error::TooLarge { key: key.into(), size, limit });
            }
        }
        let key_bytes = Bytes::copy_from_slice(key.as_bytes());
        let compare = pb::Compare {
            result: pb::compare::CompareResult::Equal.into(),
            target: pb::compare::CompareTarget::Mod.into(),
            key: key_bytes.clone(),
            target_union: Some(pb::compare::TargetUnion::ModRevision(signed(expected))),
        };
        let get = Request::RequestRange(pb::RangeRequest { key: key_bytes, ..Default::default() });
        let txn = pb::TxnRequest {
            compare: vec![compare],
            success: vec![pb::RequestOp { request: Some(op) }],
            failure: vec![pb::RequestOp { request: Some(get) }],
        };
        let response = self.kv.clone().txn(txn).await.map_err(|e| write_error(key, size, &e))?.into_inner();
        let revision = revision(response.header.as_ref());
        if response.succeeded {
            return Ok(revision);
        }
        let current = match response.responses.into_iter().next().and_then(|r| r.response) {
            Some(Response::ResponseRange(range)) => range.kvs.into_iter().next().map(key_value).transpose()?,
            _ => None,
        };
        Err(Error::Conflict { current, revision })
    }

    async fn put(&self, key: &str, expected: Revision, value: Bytes, ttl: Option<Duration>) -> Result<Revision> {
        let lease = match ttl {
            Some(ttl) => self.leases.get(ttl).await?,
            None => 0,
        };
        let size = value.len();
        let put = pb::PutRequest { key: Bytes::copy_from_slice(key.as_bytes()), value, lease };
        self.write(key, expected, Request::RequestPut(put), size).await
    }
}

#[async_trait]
impl Store for Etcd {
    async fn get(&self, key: &str) -> Result<(Option<KeyValue>, Revision)> {
        let request = pb::RangeRequest { key: Bytes::copy_from_slice(key.as_bytes()), ..Default::default() };
        let response = self.read(request).await?;
        let kv = response.kvs.into_iter().next().map(key_value).transpose()?;
        Ok((kv, revision(response.header.as_ref())))
    }

    async fn range(&self, prefix: &str, range: Range) -> Result<RangeResult> {
        let mut request = pb::RangeRequest {
            key: range.from.filter(|f| f.as_str() > prefix).unwrap_or_else(|| prefix.to_owned()).into(),
            range_end: prefix_end(prefix),
            limit: if range.limit == 0 { PAGE } else { i64::try_from(range.limit).unwrap_or(i64::MAX) },
            revision: range.revision.map_or(0, signed),
            count_only: range.count_only,
        };
        let mut result = RangeResult::default();
        loop {
            let response = self.read(request.clone()).await?;
            if result.revision == 0 {
                result.revision = revision(response.header.as_ref());
                result.count = u64::try_from(response.count).unwrap_or(0);
            }
            for kv in response.kvs {
                result.kvs.push(key_value(kv)?);
            }
            result.more = response.more;
            let last = result.kvs.last().filter(|_| response.more && range.limit == 0);
            let Some(last) = last else { return Ok(result) };
            // The following pages are read at the revision of the first.
            request.key = format!("{}\0", last.key).into();
            if request.revision == 0 {
                request.revision = signed(result.revision);
            }
        }
    }

    async fn create(&self, key: &str, value: Bytes, ttl: Option<Duration>) -> Result<Revision> {
        self.put(key, 0, value, ttl).await
    }

    async fn update(&self, key: &str, expected: Revision, value: Bytes, ttl: Option<Duration>) -> Result<Revision> {
        self.put(key, expected, value, ttl).await
    }

    async fn delete(&self, key: &str, expected: Revision) -> Result<Revision> {
        let delete = pb::DeleteRangeRequest { key: Bytes::copy_from_slice(key.as_bytes()) };
        self.write(key, expected, Request::RequestDeleteRange(delete), 0).await
    }

    async fn watch(&self, prefix: &str, after: Revision) -> Result<Watch> {
        self.streams.watch(prefix, after).await
    }

    async fn revision(&self) -> Result<Revision> {
        // Any linearizable read tells the revision.
        let request = pb::RangeRequest { key: Bytes::from_static(b"\0"), count_only: true, ..Default::default() };
        Ok(revision(self.read(request).await?.header.as_ref()))
    }

    async fn request_progress(&self) -> Result<()> {
        self.streams.request_progress();
        Ok(())
    }

    fn supports_progress(&self) -> bool {
        self.progress
    }

    async fn compact(&self, revision: Revision) -> Result<()> {
        let request = pb::CompactionRequest { revision: signed(revision) };
        match self.kv.clone().compact(request).await {
            Ok(_) => {
                self.compacted.fetch_max(revision, Ordering::AcqRel);
                Ok(())
            }
            Err(e) => {
                let failed = pb::RangeRequest { revision: signed(revision), ..Default::default() };
                Err(self.error(&e, &failed))
            }
        }
    }

    async fn compacted_revision(&self) -> Result<Revision> {
        Ok(self.compacted.load(Ordering::Acquire))
    }

    async fn size(&self) -> Result<u64> {
        let status = self.maintenance.clone().status(pb::StatusRequest {}).await;
        let status = status.map_err(|e| unavailable(format!("etcd: {}", e.message())))?.into_inner();
        Ok(u64::try_from(status.db_size).unwrap_or(0))
    }
}

fn tls(options: &Options) -> Result<Option<ClientTlsConfig>> {
    let read = |path: &PathBuf| std::fs::read(path).map_err(|e| unavailable(format!("reading {}: {e}", path.display())));
    let mut config = ClientTlsConfig::new();
    if let Some(ca) = &options.ca_file {
        config = config.ca_certificate(Certificate::from_pem(read(ca)?));
    }
    match (&options.cert_file, &options.key_file) {
        (Some(cert), Some(key)) => config = config.identity(Identity::from_pem(read(cert)?, read(key)?)),
        (None, None) => {}
        _ => return Err(unavailable("an etcd client certificate needs both its certificate and its key file".into())),
    }
    let wanted = options.ca_file.is_some() || options.cert_file.is_some();
    Ok((wanted || options.servers.iter().any(|s| s.starts_with("https://"))).then_some(config))
}

fn endpoint(server: &str, tls: &Option<ClientTlsConfig>) -> Result<Endpoint> {
    let bad = |e: tonic::transport::Error| unavailable(format!("etcd server {server}: {e}"));
    let mut endpoint = Endpoint::from_shared(server.to_owned())
        .map_err(bad)?
        .connect_timeout(Duration::from_secs(5))
        .http2_keep_alive_interval(Duration::from_secs(30))
        .keep_alive_timeout(Duration::from_secs(10))
        .keep_alive_while_idle(true)
        .tcp_nodelay(true);
    if let Some(tls) = tls.as_ref().filter(|_| server.starts_with("https://")) {
        endpoint = endpoint.tls_config(tls.clone()).map_err(bad)?;
    }
    Ok(endpoint)
}

/// `3.4.23` as numbers; what can't be read is 0.
fn parse_version(text: &str) -> (u32, u32, u32) {
    let digits = |part: &str| part.chars().take_while(char::is_ascii_digit).collect::<String>();
    let mut parts = text.split('.').map(|p| digits(p).parse().unwrap_or(0));
    let mut next = || parts.next().unwrap_or(0);
    (next(), next(), next())
}

/// Upstream's feature checker has the same versions.
fn reports_progress_in_order(version: (u32, u32, u32)) -> bool {
    match version {
        (3, 4, patch) => patch >= 25,
        (3, 5, patch) => patch >= 8,
        other => other > (3, 5, 0),
    }
}

fn write_error(key: &str, size: usize, e: &Status) -> Error {
    if e.message().contains("request is too large") || e.message().contains("larger than max") {
        return Error::TooLarge { key: key.into(), size, limit: VALUE_LIMIT };
    }
    // etcd refuses these before it does anything.
    let refused = matches!(e.code(), Code::ResourceExhausted | Code::InvalidArgument | Code::FailedPrecondition | Code::NotFound);
    Error::Unavailable { message: format!("etcd: {}", e.message()), maybe_written: !refused }
}

/// etcd's revisions are signed, ours are not; none is beyond 2^63.
fn signed(revision: Revision) -> i64 {
    i64::try_from(revision).unwrap_or(i64::MAX)
}

fn unsigned(n: i64) -> u64 {
    u64::try_from(n).unwrap_or(0)
}

fn revision(header: Option<&pb::ResponseHeader>) -> Revision {
    header.map_or(0, |h| unsigned(h.revision))
}

fn key_name(key: &[u8]) -> Result<Arc<str>> {
    std::str::from_utf8(key).map(Arc::from).map_err(|_| Error::Corrupt(format!("etcd holds a key that is no text: {key:?}")))
}

fn key_value(kv: pb::KeyValue) -> Result<KeyValue> {
    Ok(KeyValue {
        key: key_name(&kv.key)?,
        value: kv.value,
        create_revision: unsigned(kv.create_revision),
        mod_revision: unsigned(kv.mod_revision),
        version: unsigned(kv.version),
    })
}

/// The first key behind all that begin with `prefix`.
fn prefix_end(prefix: &str) -> Bytes {
    let mut end = prefix.as_bytes().to_vec();
    while let Some(last) = end.last_mut() {
        if *last < u8::MAX {
            *last += 1;
            return end.into();
        }
        end.pop();
    }
    // All keys.
    Bytes::from_static(b"\0")
}
