//! Putting a server together: resources over the store, users, permissions, admission; then what a cluster starts with.

use crate::admission::{Chain, DefaultTolerationSeconds, webhooks};
use crate::aggregation::{self, Aggregation, availability, register};
use crate::bootstrap;
use crate::config::{AuthorizationMode, Config};
use crate::objects::Objects;
use crate::outbound::{Outbound, Resolver};
use crate::resources::{self, Table};
use crate::server::{ApiServer, Inner};
use crate::subresources::kubelet::Connector;
use arc_swap::ArcSwap;
use auth::authn::{BootstrapTokens, RequestHeader, ServiceAccountTokens, StaticTokens, TokenAuthenticator, X509};
use auth::authz::{AlwaysAllow, Privileged, Union};
use auth::node::{NodeAuthorizer, NodeGraph};
use auth::rbac::RbacStore;
use auth::rbac::bootstrap::Policy;
use auth::token::Issuer;
use auth::{Authorizer, Tokens};
use futures::future::BoxFuture;
use machinery::meta;
use pki::{Pair, SigningKey, VerifyingKey};
use std::sync::Arc;
use std::time::Duration;
use storage::{EventKind, WatchEvent, WatchOptions};
use store::Store;
use tokio_util::sync::CancellationToken;

/// Why a server can't start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{what}: {why}")]
    Setup { what: String, why: String },
    #[error("making what a cluster starts with: {0}")]
    Bootstrap(machinery::Status),
}

fn setup<E: std::fmt::Display>(what: impl std::fmt::Display) -> impl FnOnce(E) -> Error {
    move |e| Error::Setup { what: what.to_string(), why: e.to_string() }
}

/// Requests in flight (upstream's 400 that read and 200 that write).
pub(crate) const MAX_IN_FLIGHT: usize = 600;

/// Makes a server over a store; when this returns, it answers requests and is ready.
///
/// Boxed, as every component's `run` is: the compiler makes the code of a future anew in each crate that awaits it, and of all that
/// it awaits in turn.
pub fn build(config: Config, store: Arc<dyn Store>) -> BoxFuture<'static, Result<ApiServer, Error>> {
    Box::pin(start(config, store))
}

async fn start(config: Config, store: Arc<dyn Store>) -> Result<ApiServer, Error> {
    let table = Arc::new(ArcSwap::from_pointee(Table::new(resources::builtin(&config, &store))));
    let objects = Arc::new(Objects::new(table.clone()));

    let key_path = config.file(&config.service_account_signing_key_file, "sa.key");
    let public_path = config.file(&config.service_account_key_file, "sa.pub");
    let signing = SigningKey::ensure(&key_path, &public_path).map_err(setup(key_path.display()))?;
    let token_keys = VerifyingKey::read_all(&public_path).map_err(setup(public_path.display()))?;
    let verify_keys = VerifyingKey::read_all(&public_path).map_err(setup(public_path.display()))?;
    let audiences = config.audiences();
    let issuer = Issuer::new(config.service_account_issuer.clone(), signing, audiences.clone());

    let mut authenticators: Vec<Arc<dyn TokenAuthenticator>> = vec![
        Arc::new(ServiceAccountTokens::new(
            vec![config.service_account_issuer.clone()],
            verify_keys,
            audiences.clone(),
            objects.clone(),
        )),
        Arc::new(BootstrapTokens(objects.clone())),
    ];
    let read = |path: &std::path::Path| std::fs::read_to_string(path).map_err(setup(path.display()));
    if let Some(file) = &config.token_auth_file {
        let known = StaticTokens::parse(&read(file)?).map_err(setup(file.display()))?;
        authenticators.insert(0, Arc::new(known));
    }
    let tokens = Tokens::new(authenticators);
    let ca = config.file(&config.client_ca_file, "ca.crt");
    let x509 = if ca.exists() { Some(X509::new(&read(&ca)?).map_err(setup(ca.display()))?) } else { None };
    let proxy_ca = config.file(&config.requestheader_client_ca_file, "front-proxy-ca.crt");
    let request_header = if proxy_ca.exists() {
        let names = config.requestheader_allowed_names.clone();
        Some(RequestHeader::new(&read(&proxy_ca)?, names).map_err(setup(proxy_ca.display()))?)
    } else {
        None
    };
    let authenticator =
        auth::Authenticator { request_header, x509, tokens: Arc::new(tokens), audiences, anonymous: config.anonymous_auth };

    let rbac = Arc::new(RbacStore::default());
    let graph = Arc::new(NodeGraph::default());
    let mut authorizers: Vec<Arc<dyn Authorizer>> = vec![Arc::new(Privileged)];
    for mode in &config.authorization_mode {
        authorizers.push(match mode {
            AuthorizationMode::Node => Arc::new(NodeAuthorizer::new(graph.clone(), Policy::load().node_rules())),
            AuthorizationMode::Rbac => rbac.clone(),
            AuthorizationMode::AlwaysAllow => Arc::new(AlwaysAllow),
        });
    }
    let own = if config.bind_address.is_unspecified() { config.advertise_address } else { config.bind_address };
    let resolver = Resolver::new(objects.clone(), (own.to_string(), config.secure_port));
    let outbound = Arc::new(Outbound::new(Arc::new(resolver)));
    let client = Arc::new(crate::webhook::Client(outbound.clone()));
    let hooks = webhooks::Shared { source: Arc::default(), client, table: table.clone() };
    let aggregation = Aggregation::new(front_proxy(&config)?);
    let kubelet = Connector::new(&config).map_err(setup("kubelet client"))?;
    let server = Arc::new(Inner {
        admission: admission(&config, hooks.clone()),
        store: store.clone(),
        table,
        authenticator,
        authorizer: Arc::new(Union(authorizers)),
        issuer,
        token_keys,
        objects,
        rbac: rbac.clone(),
        in_flight: tokio::sync::Semaphore::new(MAX_IN_FLIGHT),
        kubelet,
        health: crate::health::Health::default(),
        metrics: crate::metrics::Metrics::default(),
        shutdown: CancellationToken::new(),
        openapi: crate::openapi::OpenApi,
        outbound,
        aggregation,
        flow_control: Arc::default(),
        config,
    });
    bootstrap::run(&server).await.map_err(Error::Bootstrap)?;
    for resource in RbacStore::RESOURCES {
        let rbac = rbac.clone();
        feed(&server, "rbac.authorization.k8s.io", resource, move |ns, name, obj| rbac.apply(resource, ns, name, obj)).await?;
    }
    for (group, resource) in NodeGraph::RESOURCES {
        let graph = graph.clone();
        feed(&server, group, resource, move |ns, name, obj| graph.apply(resource, ns, name, obj)).await?;
    }
    for resource in webhooks::Source::RESOURCES {
        let source = hooks.source.clone();
        feed(&server, "admissionregistration.k8s.io", resource, move |_, name, obj| source.apply(resource, name, obj)).await?;
    }
    aggregate(&server).await?;
    crate::extensions::start(&server).await?;
    for resource in crate::flow_control::FlowControl::RESOURCES {
        let flow_control = server.flow_control.clone();
        let apply = move |_: &str, name: &str, obj: Option<&machinery::Value>| flow_control.apply(resource, name, obj);
        feed(&server, "flowcontrol.apiserver.k8s.io", resource, apply).await?;
    }
    bootstrap::keep_flow_control(server.clone());
    crate::services::repair(&server).await.map_err(Error::Bootstrap)?;
    let deleted = Arc::new(tokio::sync::Notify::new());
    let told = deleted.clone();
    let apply = move |_: &str, _: &str, obj: Option<&machinery::Value>| {
        if obj.is_none() {
            told.notify_one();
        }
    };
    feed(&server, "networking.k8s.io", "ipaddresses", apply).await?;
    crate::services::keep(server.clone(), deleted);
    warm(&server).await?;
    let interval = server.config.etcd_compaction_interval;
    if interval > Duration::ZERO {
        let shutdown = server.shutdown.clone();
        tokio::spawn(async move {
            tokio::select! {
                () = storage::compact_periodically(store, interval) => {}
                () = shutdown.cancelled() => {}
            }
        });
    }
    Ok(ApiServer(server))
}

/// Admission plugins by name, whether they are on or not.
pub fn admission_plugins() -> Vec<&'static str> {
    let standard = Chain::standard(&[], DefaultTolerationSeconds::default());
    standard.names().chain([webhooks::Mutating::NAME, webhooks::Validating::NAME]).collect()
}

fn admission(config: &Config, webhooks: webhooks::Shared) -> Chain {
    let disabled = &config.disable_admission_plugins;
    Chain::standard(disabled, DefaultTolerationSeconds::default())
        .with(disabled, Box::new(webhooks::Mutating(webhooks.clone())))
        .with(disabled, Box::new(webhooks::Validating(webhooks)))
}

/// What the server shows to those whose groups it aggregates.
fn front_proxy(config: &Config) -> Result<Option<Arc<Pair>>, Error> {
    let cert = config.file(&config.proxy_client_cert_file, "front-proxy-client.crt");
    let key = config.file(&config.proxy_client_key_file, "front-proxy-client.key");
    if !cert.exists() {
        return Ok(None);
    }
    Pair::read(&cert, &key).map(|p| Some(Arc::new(p))).map_err(setup(cert.display()))
}

/// Registers what the server serves itself, and follows the APIServices of others and what they depend on.
async fn aggregate(server: &Arc<Inner>) -> Result<(), Error> {
    register::builtin(server).await.map_err(Error::Bootstrap)?;
    let s = server.clone();
    feed(server, aggregation::GROUP, "apiservices", move |_, name, obj| s.aggregation.apply(name, obj)).await?;
    let s = server.clone();
    feed(server, "", "services", move |ns, name, _| s.aggregation.service_changed(ns, name)).await?;
    let s = server.clone();
    let slice = move |ns: &str, _: &str, obj: Option<&machinery::Value>| {
        let service = obj.map(|o| meta::str_at(o, &["metadata", "labels", "kubernetes.io/service-name"]));
        if let Some(name) = service {
            s.aggregation.service_changed(ns, name);
        }
    };
    feed(server, "discovery.k8s.io", "endpointslices", slice).await?;
    // One change after the other, in their order.
    let (tx, mut rx) = tokio::sync::mpsc::unbounded_channel();
    let custom = parking_lot::Mutex::new(register::Custom::default());
    feed(server, "apiextensions.k8s.io", "customresourcedefinitions", move |_, name, obj| {
        let _ = tx.send(custom.lock().apply(name, obj));
    })
    .await?;
    let s = server.clone();
    tokio::spawn(async move {
        loop {
            tokio::select! {
                () = s.shutdown.cancelled() => return,
                next = rx.recv() => match next {
                    Some((make, remove)) => register::custom(&s, make, remove).await,
                    None => return,
                },
            }
        }
    });
    availability::keep(server.clone());
    Ok(())
}

/// Fills the caches that admission reads, so that it never decides on an empty one.
async fn warm(server: &Arc<Inner>) -> Result<(), Error> {
    for (group, resource) in [
        ("", "namespaces"),
        ("", "serviceaccounts"),
        ("", "limitranges"),
        ("", "resourcequotas"),
        ("", "nodes"),
        ("", "persistentvolumes"),
        ("", "persistentvolumeclaims"),
        ("", "services"),
        ("discovery.k8s.io", "endpointslices"),
        ("storage.k8s.io", "storageclasses"),
        ("scheduling.k8s.io", "priorityclasses"),
        ("node.k8s.io", "runtimeclasses"),
        ("networking.k8s.io", "ingressclasses"),
        ("admissionregistration.k8s.io", "validatingadmissionpolicies"),
        ("admissionregistration.k8s.io", "validatingadmissionpolicybindings"),
        ("admissionregistration.k8s.io", "mutatingadmissionpolicies"),
        ("admissionregistration.k8s.io", "mutatingadmissionpolicybindings"),
    ] {
        crate::admission::Lister::fill(&**server, group, resource).await.map_err(Error::Bootstrap)?;
    }
    Ok(())
}

/// Tells `apply` of every object of a resource: those there are before this returns, and changes from then on.
pub(crate) async fn feed(
    server: &Arc<Inner>,
    group: &'static str,
    resource: &'static str,
    apply: impl Fn(&str, &str, Option<&machinery::Value>) + Send + 'static,
) -> Result<(), Error> {
    let entry = server.entry(group, resource).map_err(Error::Bootstrap)?;
    let Some(storage) = entry.storage.clone() else { return Ok(()) };
    let list = storage.list(storage::ListOptions::default()).await.map_err(Error::Bootstrap)?;
    let mut known: std::collections::HashSet<(String, String)> = std::collections::HashSet::new();
    for o in &list.items {
        apply(o.namespace(), o.name(), Some(&o.value()));
        known.insert((o.namespace().to_owned(), o.name().to_owned()));
    }
    let mut version = list.revision.to_string();
    let shutdown = server.shutdown.clone();
    tokio::spawn(async move {
        let work = async move {
            loop {
                let options = WatchOptions { resource_version: version.clone(), ..WatchOptions::default() };
                if let Ok(mut watcher) = storage.watch(options).await {
                    while let Some(event) = watcher.next().await {
                        match event {
                            WatchEvent::Object(e) => {
                                let (ns, name) = (e.object.namespace(), e.object.name());
                                let key = (ns.to_owned(), name.to_owned());
                                if e.kind == EventKind::Deleted {
                                    known.remove(&key);
                                    apply(ns, name, None);
                                } else {
                                    apply(ns, name, Some(&e.object.value()));
                                    known.insert(key);
                                }
                                version = e.object.revision().to_string();
                            }
                            WatchEvent::Bookmark { revision, .. } => version = revision.to_string(),
                            WatchEvent::Error(_) => break,
                        }
                    }
                }
                // Where the watch can't go on, the difference to the present state is told.
                if let Ok(list) = storage.list(storage::ListOptions::default()).await {
                    let now: std::collections::HashSet<(String, String)> =
                        list.items.iter().map(|o| (o.namespace().to_owned(), o.name().to_owned())).collect();
                    known.difference(&now).for_each(|(ns, name)| apply(ns, name, None));
                    list.items.iter().for_each(|o| apply(o.namespace(), o.name(), Some(&o.value())));
                    known = now;
                    version = list.revision.to_string();
                } else {
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
            }
        };
        tokio::select! {
            () = work => {}
            () = shutdown.cancelled() => {}
        }
    });
    Ok(())
}
