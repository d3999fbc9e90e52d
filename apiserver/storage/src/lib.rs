//! Watch cache and object storage: encoded objects and small parsed heads over the store.
//!
//! A [`Cacher`] owns the objects below one prefix of the store (`/registry/pods/`). Writes go to the store and come back as
//! events; each object is encoded once, with its resourceVersion in place, and those bytes serve every get, list and watch.
//! Upstream: apiserver/pkg/storage/{cacher,etcd3}.

mod cacher;
mod compact;
mod errors;
mod index;
mod list;
mod object;
mod options;
mod ring;
mod transform;
mod watch;
mod write;

pub use cacher::{Cacher, Config, FieldsFn, Limits, RefreshFn};
pub use compact::{COMPACTION_INTERVAL, compact_periodically};
pub use object::Object;
pub use options::{
    List, ListOptions, Preconditions, Scope, SelectorFn, SendInitialEvents, Update, VersionMatch, WatchOptions, parse_version,
};
pub use transform::{Identity, Transformer};
pub use watch::{EventKind, ObjectEvent, WatchEvent, Watcher};

pub use store::Revision;
