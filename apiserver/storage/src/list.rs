//! Reading: one object, or many in chunks, at the revision that the client asked for. Upstream: cacher/{delegator,cacher}.go,
//! etcd3/store.go GetList, storage/continue.go.

use crate::cacher::Cacher;
use crate::errors::{Operation, continue_expired, from_store, too_large_version};
use crate::index::Index;
use crate::object::Object;
use crate::options::{List, ListOptions, VersionMatch, parse_version};
use crate::watch::Selection;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use machinery::{Status, Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use store::{Range, Revision};

/// Objects read from the store at once when the cache can't answer.
const STORE_PAGE: usize = 500;

/// At which revision a list is made.
enum At {
    /// The cache as it is.
    Any,
    /// Everything written before the request.
    Latest,
    NotOlderThan(Revision),
    Exactly(Revision),
}

/// Objects as they were before; `None` stands for one that did not exist.
type Undo = BTreeMap<String, Option<Arc<Object>>>;

/// A decoded `continue` token.
struct Continue {
    /// First key that may follow.
    from: String,
    /// -1: the present state.
    revision: i64,
}

impl Continue {
    fn decode(token: &str, prefix: &str) -> Result<Self, Status> {
        let bad = |why: &str| Status::bad_request(format!("invalid continue token: continue key is not valid{why}"));
        let bytes = URL_SAFE_NO_PAD.decode(token).map_err(|e| bad(&format!(": {e}")))?;
        let token: Value = serde_json::from_slice(&bytes).map_err(|e| bad(&format!(": {e}")))?;
        match token.get("v").and_then(Value::as_str).unwrap_or("") {
            "meta.k8s.io/v1" => {}
            v => return Err(bad(&format!(": server does not recognize this encoded version {v}"))),
        }
        let revision = token.get("rv").and_then(Value::as_i64).unwrap_or(0);
        if revision == 0 {
            return Err(bad(": incorrect encoded start resourceVersion (version meta.k8s.io/v1)"));
        }
        let start = token.get("start").and_then(Value::as_str).unwrap_or("");
        if start.is_empty() {
            return Err(bad(": encoded start key empty (version meta.k8s.io/v1)"));
        }
        // A token must not lead out of the prefix.
        let relative = start.strip_prefix('/').unwrap_or(start);
        if relative.is_empty() || relative.split('/').any(|part| matches!(part, "" | "." | "..")) {
            return Err(bad(&format!(": {start}")));
        }
        Ok(Self { from: format!("{prefix}{relative}"), revision })
    }

    fn encode(from: &str, prefix: &str, revision: i64) -> String {
        let start = from.strip_prefix(prefix).unwrap_or(from);
        URL_SAFE_NO_PAD.encode(json!({"v": "meta.k8s.io/v1", "rv": revision, "start": start}).to_string())
    }
}

impl Cacher {
    /// One object. `resource_version` as for upstream: empty is the latest, `0` any, else not older than.
    pub async fn get(&self, namespace: &str, name: &str, resource_version: &str) -> Result<Arc<Object>, Status> {
        let minimum = parse_version(resource_version)?;
        let key = self.key(namespace, name);
        self.ready().await?;
        let found = if resource_version.is_empty() || !self.can_be_fresh() && self.is_behind(&At::NotOlderThan(minimum)) {
            self.latest(&key, Operation::Get).await?
        } else {
            self.reach(minimum, Operation::Get).await?;
            self.cached(&key)
        };
        found.ok_or_else(|| Status::not_found(self.resource(), name))
    }

    /// The object in the cache, however old.
    /// An object as the cache has it now, without waiting: for admission, which then must have been preceded by a list.
    pub fn peek(&self, namespace: &str, name: &str) -> Option<Arc<Object>> {
        self.cached(&self.key(namespace, name))
    }

    /// The objects of a namespace (of all with `""`) as the cache has them now.
    pub fn peek_all(&self, namespace: &str) -> Vec<Arc<Object>> {
        let state = self.state.lock();
        let scope = if namespace.is_empty() { self.key("", "") } else { format!("{}/", self.key("", namespace)) };
        state.index.prefix(&scope, "").cloned().collect()
    }

    pub(crate) fn cached(&self, key: &str) -> Option<Arc<Object>> {
        self.state.lock().index.get(key).cloned()
    }

    /// The object with every write before the call.
    pub(crate) async fn latest(&self, key: &str, op: Operation) -> Result<Option<Arc<Object>>, Status> {
        self.ready().await?;
        if self.store_is_near() {
            self.fresh(op).await?;
            return Ok(self.cached(key));
        }
        let (kv, _) = self.store.get(key).await.map_err(|e| from_store(self.resource(), op, &e))?;
        Ok(match kv {
            None => None,
            // What the cache has at this revision needs no decoding.
            Some(kv) => match self.cached(key).filter(|o| o.revision() == kv.mod_revision) {
                Some(object) => Some(object),
                None => self.decode(&kv),
            },
        })
    }

    /// A list. Objects come in key order: by namespace, then name.
    pub async fn list(&self, options: ListOptions) -> Result<List, Status> {
        let requested = parse_version(&options.resource_version)?;
        let selection = Selection::new(&self.config.prefix, &options.scope, options.selector.clone());
        let mut from = String::new();
        let mut limit = options.limit;
        let at = if !options.continue_token.is_empty() {
            let token = Continue::decode(&options.continue_token, &selection.prefix)?;
            if requested != 0 {
                return Err(Status::bad_request("specifying resource version is not allowed when using continue"));
            }
            from = token.from;
            u64::try_from(token.revision).map_or(At::Latest, At::Exactly)
        } else {
            match options.version_match {
                Some(VersionMatch::Exact) => At::Exactly(requested),
                Some(VersionMatch::NotOlderThan) => At::NotOlderThan(requested),
                None if options.resource_version.is_empty() => At::Latest,
                None if requested == 0 => At::Any,
                None if limit > 0 => At::Exactly(requested),
                None => At::NotOlderThan(requested),
            }
        };
        if options.resource_version == "0" && options.continue_token.is_empty() {
            limit = 0;
        }
        self.ready().await?;
        if !self.can_be_fresh() && self.is_behind(&at) {
            let current = self.store.revision().await;
            let current = current.map_err(|e| from_store(self.resource(), Operation::List, &e))?;
            let revision = match at {
                At::Exactly(wanted) | At::NotOlderThan(wanted) if wanted > current => {
                    return Err(too_large_version(wanted, current, 1));
                }
                At::Exactly(wanted) => wanted,
                _ => current,
            };
            return self.list_from_store(&selection, &from, limit, revision, !options.continue_token.is_empty()).await;
        }
        match at {
            At::Any => {}
            At::Latest => drop(self.fresh(Operation::List).await?),
            At::NotOlderThan(revision) | At::Exactly(revision) => self.reach(revision, Operation::List).await?,
        }
        let exact = if let At::Exactly(revision) = at { Some(revision) } else { None };
        // What was compacted is gone for everybody, whatever this cache still remembers: pages must end at the same time everywhere.
        let compacted = match exact {
            Some(_) => self.store.compacted_revision().await.map_err(|e| from_store(self.resource(), Operation::List, &e))?,
            None => 0,
        };
        let remembered = exact.is_none_or(|r| r >= compacted).then(|| self.as_of(exact, &selection.prefix, &from)).flatten();
        let Some((index, undo, revision)) = remembered else {
            let continued = !options.continue_token.is_empty();
            return self.list_from_store(&selection, &from, limit, exact.unwrap_or(0), continued).await;
        };
        let mut page = Page::new(&selection, limit);
        for object in merge(&index, &undo, &selection.prefix, &from) {
            if page.is_full() {
                page.more = true;
                break;
            }
            page.offer(object);
        }
        let more = page.more;
        let rest = if more { merge(&index, &undo, &selection.prefix, &from).count() - page.seen } else { 0 };
        Ok(page.finish(revision, rest))
    }

    /// Whether the cache, as it is, may lack what a list is to show.
    fn is_behind(&self, at: &At) -> bool {
        match at {
            At::Any => false,
            At::Latest => true,
            At::NotOlderThan(wanted) | At::Exactly(wanted) => self.state.lock().revision < *wanted,
        }
    }

    /// A snapshot of the cache, and what to put back for the state at `exact`. `None` if the cache does not remember that.
    fn as_of(&self, exact: Option<Revision>, prefix: &str, from: &str) -> Option<(Index, Undo, Revision)> {
        let state = self.state.lock();
        let revision = exact.unwrap_or(state.revision);
        let mut undo = Undo::new();
        if exact.is_some() {
            if revision < state.ring.floor() {
                return None;
            }
            let later = state.ring.after(revision).rev();
            for change in later.filter(|c| c.key().starts_with(prefix) && c.key() >= from) {
                undo.insert(change.key().to_owned(), change.old.clone());
            }
        }
        Some((state.index.clone(), undo, revision))
    }

    /// A list at a revision older than the cache remembers.
    async fn list_from_store(
        &self,
        selection: &Selection,
        from: &str,
        limit: usize,
        revision: Revision,
        continued: bool,
    ) -> Result<List, Status> {
        let mut page = Page::new(selection, limit);
        let mut from = from.to_owned();
        loop {
            let range = Range {
                from: Some(from.clone()),
                limit: if limit == 0 { STORE_PAGE } else { limit.min(STORE_PAGE) },
                revision: Some(revision),
                count_only: false,
            };
            let got = match self.store.range(&selection.prefix, range).await {
                Err(store::Error::Compacted { .. }) if continued => {
                    return Err(continue_expired(Continue::encode(&from, &selection.prefix, -1)));
                }
                got => got.map_err(|e| from_store(self.resource(), Operation::List, &e))?,
            };
            let count = usize::try_from(got.count).unwrap_or(usize::MAX);
            for (i, kv) in got.kvs.iter().enumerate() {
                if page.is_full() {
                    page.more = true;
                    return Ok(page.finish(revision, count.saturating_sub(i)));
                }
                let cached = self.cached(&kv.key).filter(|o| o.revision() == kv.mod_revision);
                if let Some(object) = cached.or_else(|| self.decode(kv)) {
                    page.offer(&object);
                }
            }
            let Some(last) = got.kvs.last().filter(|_| got.more) else { return Ok(page.finish(revision, 0)) };
            if page.is_full() {
                page.more = true;
                return Ok(page.finish(revision, count.saturating_sub(got.kvs.len())));
            }
            from = format!("{}\0", last.key);
        }
    }
}

/// Collects what fits on a page.
struct Page<'a> {
    selection: &'a Selection,
    limit: usize,
    items: Vec<Arc<Object>>,
    last: Option<Arc<Object>>,
    seen: usize,
    more: bool,
}

impl<'a> Page<'a> {
    fn new(selection: &'a Selection, limit: usize) -> Self {
        Self { selection, limit, items: Vec::new(), last: None, seen: 0, more: false }
    }
    fn is_full(&self) -> bool {
        self.limit > 0 && self.items.len() >= self.limit
    }
    fn offer(&mut self, object: &Arc<Object>) {
        self.seen += 1;
        if self.selection.selects(object) {
            self.items.push(object.clone());
        }
        self.last = Some(object.clone());
    }
    /// `rest`: objects below the prefix that follow the page.
    fn finish(self, revision: Revision, rest: usize) -> List {
        let mut list = List { revision, ..List::default() };
        if let (true, Some(last)) = (self.more, &self.last) {
            let next = format!("{}\0", last.key());
            list.continue_token = Continue::encode(&next, &self.selection.prefix, i64::try_from(revision).unwrap_or(-1));
            list.remaining_item_count = self.selection.is_whole().then_some(rest as u64);
        }
        list.items = self.items;
        list
    }
}

/// The index with some objects as they were before.
fn merge<'a>(index: &'a Index, undo: &'a Undo, prefix: &'a str, from: &str) -> impl Iterator<Item = &'a Arc<Object>> {
    let mut now = index.prefix(prefix, from).peekable();
    let mut before = undo.iter().peekable();
    std::iter::from_fn(move || {
        loop {
            let take_undo = match (now.peek(), before.peek()) {
                (_, None) => false,
                (None, Some(_)) => true,
                (Some(n), Some((key, _))) => key.as_str() <= &**n.key(),
            };
            if !take_undo {
                return now.next();
            }
            let (key, old) = before.next()?;
            now.next_if(|n| **n.key() == **key);
            if let Some(old) = old {
                return Some(old);
            }
        }
    })
}
