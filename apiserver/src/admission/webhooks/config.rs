//! Webhook configurations as dispatch needs them, kept current by the watch caches.

use crate::admission::matching::{Rule, strings};
use crate::admission::policy::Conditions;
use crate::webhook::{ClientConfig, Error};
use arc_swap::ArcSwap;
use machinery::labels::Selector;
use machinery::{Value, meta};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// One webhook of a configuration.
pub struct Hook {
    pub name: String,
    pub configuration: String,
    /// Identity over reinvocations: configuration, name, and number among equals.
    pub id: String,
    pub rules: Vec<Rule>,
    pub namespaces: Result<Selector, String>,
    pub objects: Result<Selector, String>,
    /// `matchPolicy: Exact`.
    pub exact: bool,
    /// `failurePolicy: Ignore`.
    pub fail_open: bool,
    /// `sideEffects` is `None` or `NoneOnDryRun`.
    pub dry_run: bool,
    pub timeout: Duration,
    /// `reinvocationPolicy: IfNeeded`.
    pub reinvoke: bool,
    /// `admissionReviewVersions`.
    pub versions: Vec<String>,
    pub client: Result<ClientConfig, Error>,
    /// `matchConditions`.
    pub conditions: Option<Conditions>,
}

impl Hook {
    fn parse(configuration: &str, index: usize, v: &Value) -> Self {
        let text = |f: &str| meta::str_at(v, &[f]);
        // Stored objects have the defaults; an absent selector selects everything all the same.
        let selector = |f: &str| match v.get(f).filter(|s| !s.is_null()) {
            Some(s) => Selector::from_label_selector(Some(s)).map_err(|e| e.0),
            None => Ok(Selector::everything()),
        };
        Self {
            name: text("name").to_owned(),
            configuration: configuration.to_owned(),
            id: format!("{configuration}/{}/{index}", text("name")),
            rules: meta::list_at(v, &["rules"]).iter().map(Rule::parse).collect(),
            namespaces: selector("namespaceSelector"),
            objects: selector("objectSelector"),
            exact: text("matchPolicy") == "Exact",
            fail_open: text("failurePolicy") == "Ignore",
            dry_run: matches!(text("sideEffects"), "None" | "NoneOnDryRun"),
            timeout: Duration::from_secs(u64::try_from(meta::i64_at(v, &["timeoutSeconds"]).unwrap_or(10)).unwrap_or(10)),
            reinvoke: text("reinvocationPolicy") == "IfNeeded",
            versions: strings(v, "admissionReviewVersions"),
            client: ClientConfig::from_value(v.get("clientConfig").unwrap_or(&Value::Null)),
            conditions: Conditions::compile(meta::list_at(v, &["matchConditions"])),
        }
    }
}

type Hooks = Arc<Vec<Arc<Hook>>>;

/// The hooks of one kind of configuration by configuration, and in the order they are called: by configuration's name.
#[derive(Default)]
struct List {
    by_configuration: Mutex<BTreeMap<String, Vec<Arc<Hook>>>>,
    in_order: ArcSwap<Vec<Arc<Hook>>>,
}

impl List {
    fn apply(&self, name: &str, configuration: Option<&Value>) {
        let mut all = self.by_configuration.lock();
        match configuration {
            Some(c) => {
                let hooks = meta::list_at(c, &["webhooks"]).iter().enumerate();
                all.insert(name.to_owned(), hooks.map(|(i, h)| Arc::new(Hook::parse(name, i, h))).collect());
            }
            None => {
                all.remove(name);
            }
        }
        self.in_order.store(Arc::new(all.values().flatten().cloned().collect()));
    }
}

/// All webhooks. The server feeds it from the watch caches of the two kinds.
#[derive(Default)]
pub struct Source {
    mutating: List,
    validating: List,
}

impl Source {
    /// The resources of group `admissionregistration.k8s.io` that `apply` wants to hear of.
    pub const RESOURCES: [&'static str; 2] = ["mutatingwebhookconfigurations", "validatingwebhookconfigurations"];

    /// A configuration as it is now, or `None` when it was deleted.
    pub fn apply(&self, resource: &str, name: &str, configuration: Option<&Value>) {
        let list = if resource.starts_with("mutating") { &self.mutating } else { &self.validating };
        list.apply(name, configuration);
    }

    pub fn mutating(&self) -> Hooks {
        self.mutating.in_order.load_full()
    }
    pub fn validating(&self) -> Hooks {
        self.validating.in_order.load_full()
    }
    pub fn is_empty(&self) -> bool {
        self.mutating.in_order.load().is_empty() && self.validating.in_order.load().is_empty()
    }
}
