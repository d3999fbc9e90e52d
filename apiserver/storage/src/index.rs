//! The objects of a resource in key order, as a copy-on-write sequence of chunks: taking a snapshot costs one reference count,
//! and a write copies what a snapshot still holds (one chunk and the list of chunks), nothing otherwise.

use crate::object::Object;
use crate::ring::Change;
use std::sync::Arc;
use store::Revision;

/// Objects in a chunk, at most; a full one splits in two.
const CHUNK: usize = 128;

type Chunk = Arc<Vec<Arc<Object>>>;

#[derive(Clone, Default)]
pub(crate) struct Index {
    /// No chunk is empty.
    chunks: Arc<Vec<Chunk>>,
    len: usize,
}

impl Index {
    /// From objects in ascending key order.
    pub fn from_sorted(objects: Vec<Arc<Object>>) -> Self {
        let len = objects.len();
        let chunks = objects.chunks(CHUNK / 2).map(|c| Arc::new(c.to_vec())).collect();
        Self { chunks: Arc::new(chunks), len }
    }

    pub fn len(&self) -> usize {
        self.len
    }

    /// The chunk where `key` is or belongs; the last one for keys beyond the end.
    fn chunk_of(&self, key: &str) -> usize {
        let at = self.chunks.partition_point(|c| c.last().is_some_and(|o| &**o.key() < key));
        at.min(self.chunks.len().saturating_sub(1))
    }

    pub fn get(&self, key: &str) -> Option<&Arc<Object>> {
        let chunk = self.chunks.get(self.chunk_of(key))?;
        let at = chunk.binary_search_by(|o| (**o.key()).cmp(key)).ok()?;
        Some(&chunk[at])
    }

    /// Puts `object` in, and returns the one it replaces.
    pub fn insert(&mut self, object: Arc<Object>) -> Option<Arc<Object>> {
        let c = self.chunk_of(object.key());
        let chunks = Arc::make_mut(&mut self.chunks);
        if chunks.is_empty() {
            chunks.push(Arc::new(vec![object]));
            self.len = 1;
            return None;
        }
        let chunk = Arc::make_mut(&mut chunks[c]);
        match chunk.binary_search_by(|o| o.key().cmp(object.key())) {
            Ok(at) => Some(std::mem::replace(&mut chunk[at], object)),
            Err(at) => {
                chunk.insert(at, object);
                self.len += 1;
                if chunk.len() > CHUNK {
                    // Keys often ascend: leave the lower half full then.
                    let upper = chunk.split_off(if at + 1 == chunk.len() { CHUNK - 1 } else { CHUNK / 2 });
                    chunks.insert(c + 1, Arc::new(upper));
                }
                None
            }
        }
    }

    pub fn remove(&mut self, key: &str) -> Option<Arc<Object>> {
        let c = self.chunk_of(key);
        let at = self.chunks.get(c)?.binary_search_by(|o| (**o.key()).cmp(key)).ok()?;
        let chunks = Arc::make_mut(&mut self.chunks);
        let chunk = Arc::make_mut(&mut chunks[c]);
        let gone = chunk.remove(at);
        if chunk.is_empty() {
            chunks.remove(c);
        }
        self.len -= 1;
        Some(gone)
    }

    /// Puts `new` in at `key`, or takes out what is there. `None` if there is nothing to take out.
    pub fn change(&mut self, key: &str, revision: Revision, new: Option<Arc<Object>>) -> Option<Change> {
        let old = match &new {
            Some(object) => self.insert(object.clone()),
            None => self.remove(key),
        };
        (new.is_some() || old.is_some()).then(|| Change::new(revision, old, new))
    }

    /// Objects whose key begins with `prefix`, from `from` on.
    pub fn prefix<'a>(&'a self, prefix: &'a str, from: &str) -> impl Iterator<Item = &'a Arc<Object>> {
        let start = from.max(prefix);
        let c = self.chunk_of(start);
        let at = self.chunks.get(c).map_or(0, |chunk| chunk.partition_point(|o| &**o.key() < start));
        let chunks = self.chunks.get(c..).unwrap_or_default();
        chunks.iter().flat_map(|c| c.iter()).skip(at).take_while(move |o| o.key().starts_with(prefix))
    }
}

#[cfg(test)]
mod tests;
