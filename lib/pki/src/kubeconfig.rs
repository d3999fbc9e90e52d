//! Kubeconfig files: writing one, and adding a cluster to (or removing it from) the file a person already has.

use crate::files::{self, Lock, PRIVATE};
use crate::{Error, Pair, Result};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};
use std::path::Path;

/// One cluster, one user and the context that joins them, all of one name, with certificates embedded.
pub struct Kubeconfig {
    pub name: String,
    pub server: String,
    pub ca_pem: String,
    pub user: User,
}

/// How the user shows who it is.
pub enum User {
    Certificate(Pair),
    Token(String),
}

impl Kubeconfig {
    pub fn new(name: &str, server: &str, ca_pem: &str, client: &Pair) -> Self {
        Self { name: name.into(), server: server.into(), ca_pem: ca_pem.into(), user: User::Certificate(client.clone()) }
    }

    fn cluster(&self) -> Value {
        json!({"server": self.server, "certificate-authority-data": STANDARD.encode(&self.ca_pem)})
    }

    fn user(&self) -> Value {
        match &self.user {
            User::Certificate(p) => {
                json!({"client-certificate-data": STANDARD.encode(&p.cert), "client-key-data": STANDARD.encode(&p.key)})
            }
            User::Token(t) => json!({ "token": t }),
        }
    }

    /// A kubeconfig with this alone.
    pub fn to_value(&self) -> Value {
        let mut v = empty();
        self.merge(&mut v);
        v
    }

    fn merge(&self, config: &mut Value) {
        let context = json!({"cluster": self.name, "user": self.name});
        for (list, key, value) in
            [("clusters", "cluster", self.cluster()), ("users", "user", self.user()), ("contexts", "context", context)]
        {
            upsert(config, list, &self.name, key, value);
        }
        config["current-context"] = self.name.as_str().into();
    }

    /// Writes a kubeconfig of its own, replacing what is there.
    pub fn write(&self, path: &Path) -> Result<()> {
        save(path, &self.to_value())
    }

    /// Adds (or renews) the cluster, user and context in the file at `path` and makes the context current; everything else in
    /// the file stays. The file is made if it is not there.
    pub fn merge_into(&self, path: &Path) -> Result<()> {
        if let Some(dir) = path.parent().filter(|d| !d.as_os_str().is_empty()) {
            files::ensure_dir(dir)?;
        }
        let _lock = Lock::take(path)?;
        let mut config = load(path)?.unwrap_or_else(empty);
        self.merge(&mut config);
        save(path, &config)
    }
}

/// Removes the cluster, user and context `name` from the file at `path`; the current context is unset if it was that one. True if
/// anything was removed.
pub fn remove_from(path: &Path, name: &str) -> Result<bool> {
    if !path.exists() {
        return Ok(false);
    }
    let _lock = Lock::take(path)?;
    let Some(mut config) = load(path)? else { return Ok(false) };
    let before = config.clone();
    for list in ["clusters", "users", "contexts"] {
        if let Some(entries) = config.get_mut(list).and_then(Value::as_array_mut) {
            entries.retain(|e| e["name"] != name);
        }
    }
    if config["current-context"] == name {
        config["current-context"] = "".into();
    }
    if config == before {
        return Ok(false);
    }
    save(path, &config)?;
    Ok(true)
}

fn empty() -> Value {
    json!({"apiVersion": "v1", "kind": "Config", "preferences": {}, "clusters": [], "users": [], "contexts": [], "current-context": ""})
}

fn upsert(config: &mut Value, list: &str, name: &str, key: &str, value: Value) {
    let mut entry = Map::new();
    entry.insert("name".into(), name.into());
    entry.insert(key.into(), value);
    if !config[list].is_array() {
        config[list] = json!([]);
    }
    let Value::Array(entries) = &mut config[list] else { return };
    match entries.iter_mut().find(|e| e["name"] == name) {
        Some(old) => *old = entry.into(),
        None => entries.push(entry.into()),
    }
}

/// The file's content; `None` where it is missing or empty. A file that is no kubeconfig is an error, so that it is left alone.
fn load(path: &Path) -> Result<Option<Value>> {
    let Some(text) = files::read_if_present(path)? else { return Ok(None) };
    if text.trim().is_empty() {
        return Ok(None);
    }
    let v: Value = serde_saphyr::from_str(&text).map_err(|e| Error::content(path, format!("not a kubeconfig: {e}")))?;
    match v {
        Value::Null => Ok(None),
        Value::Object(_) if v["kind"].is_null() || v["kind"] == "Config" => Ok(Some(v)),
        _ => Err(Error::content(path, "not a kubeconfig: its kind is not Config")),
    }
}

fn save(path: &Path, config: &Value) -> Result<()> {
    let text = serde_saphyr::to_string(config).map_err(|e| Error::content(path, e))?;
    files::write_atomic(path, text.as_bytes(), PRIVATE)
}
