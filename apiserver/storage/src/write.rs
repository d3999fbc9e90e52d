//! Writing: create, update until it fits, delete with preconditions. Upstream: etcd3/store.go Create, GuaranteedUpdate, Delete.

use crate::cacher::Cacher;
use crate::errors::{Operation, from_store};
use crate::object::Object;
use crate::options::{Preconditions, Update};
use bytes::Bytes;
use machinery::{Status, Value, meta};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

impl Preconditions {
    fn check_object(&self, key: &str, object: &Object) -> Result<(), String> {
        if self.uid.is_none() && self.resource_version.is_none() { Ok(()) } else { self.check(key, &object.value()) }
    }

    fn check(&self, key: &str, object: &Value) -> Result<(), String> {
        let conditions =
            [("UID", &self.uid, meta::uid(object)), ("ResourceVersion", &self.resource_version, meta::resource_version(object))];
        for (what, wanted, found) in conditions {
            if let Some(wanted) = wanted
                && wanted != found
            {
                return Err(format!(
                    "StorageError: invalid object, Code: 4, Key: {key}, ResourceVersion: 0, AdditionalErrorMsg: Precondition \
                     failed: {what} in precondition: {wanted}, {what} in object meta: {found}"
                ));
            }
        }
        Ok(())
    }
}

/// Bytes of an object of which nothing is known: most are smaller, few much larger.
const USUAL: usize = 4096;

/// An object ready for the store.
struct Encoded {
    stored: Bytes,
    at_rest: Bytes,
    head: crate::object::Head,
}

impl Cacher {
    /// `size`: how many bytes it will be, roughly.
    fn encode(&self, key: &str, mut value: Value, size: usize) -> Result<Encoded, Status> {
        meta::remove(&mut value, &["metadata", "resourceVersion"]);
        let mut stored = Vec::with_capacity(size);
        serde_json::to_writer(&mut stored, &value).map_err(Status::internal)?;
        let stored = Bytes::from(stored);
        if crate::object::layout(&stored).is_none() {
            return Err(Status::internal("the object has no metadata"));
        }
        let head = self.head(&value);
        let at_rest = self.config.transformer.seal(key, stored.clone()).map_err(Status::internal)?;
        Ok(Encoded { stored, at_rest, head })
    }

    fn built(&self, key: Arc<str>, revision: store::Revision, encoded: Encoded) -> Result<Arc<Object>, Status> {
        self.object(key, revision, &encoded.stored, encoded.head).ok_or_else(|| Status::internal("the object has no metadata"))
    }

    /// Stores a new object. Its name and namespace are those of the key; `ttl` ends it (events).
    pub async fn create(&self, namespace: &str, name: &str, value: Value, ttl: Option<Duration>) -> Result<Arc<Object>, Status> {
        if !matches!(meta::resource_version(&value), "" | "0") {
            return Err(Status::new(500, "", "resourceVersion should not be set on objects to be created"));
        }
        let key: Arc<str> = self.key(namespace, name).into();
        let encoded = self.encode(&key, value, USUAL)?;
        self.expect_event(&key, &encoded.stored, &encoded.head);
        match self.store.create(&key, encoded.at_rest.clone(), ttl).await {
            Ok(revision) => self.built(key, revision, encoded),
            Err(e) => {
                self.expect_no_event(&key);
                Err(match e {
                    store::Error::Conflict { .. } => Status::already_exists(self.resource(), name),
                    e => from_store(self.resource(), Operation::Create, &e),
                })
            }
        }
    }

    /// Changes an object: `change` gets it as it is (with its resourceVersion) and returns what it is to be, again and again
    /// until nobody else has written in between. An outcome equal to the present object is not written and keeps its
    /// resourceVersion. With `create_missing`, `change` gets `None` where there is no object, and creates it.
    pub async fn guaranteed_update<F, Fut>(
        &self,
        namespace: &str,
        name: &str,
        preconditions: &Preconditions,
        create_missing: bool,
        mut change: F,
    ) -> Result<Arc<Object>, Status>
    where
        F: FnMut(Option<Value>) -> Fut,
        Fut: Future<Output = Result<Update, Status>>,
    {
        let key: Arc<str> = self.key(namespace, name).into();
        let (mut current, mut certain) = self.first_look(&key, Operation::Update).await?;
        loop {
            // What fails on an object that may be old is tried again on the newest.
            let attempt = self.attempt(&key, name, current.as_ref(), preconditions, create_missing, &mut change).await;
            let (encoded, ttl) = match attempt {
                Err(status) if certain => return Err(status),
                Err(status) => {
                    let seen = current.as_ref().map(|o| o.revision());
                    current = self.latest(&key, Operation::Update).await?;
                    certain = true;
                    if current.as_ref().map(|o| o.revision()) == seen {
                        return Err(status);
                    }
                    continue;
                }
                Ok(written) => written,
            };
            if let Some(object) = current.as_ref().filter(|o| o.is_stored_as(&encoded.stored)) {
                if certain {
                    return Ok(object.clone());
                }
                let newest = self.latest(&key, Operation::Update).await?;
                certain = true;
                if newest.as_ref().is_some_and(|n| n.revision() == object.revision()) {
                    return Ok(object.clone());
                }
                current = newest;
                continue;
            }
            self.expect_event(&key, &encoded.stored, &encoded.head);
            let done = match &current {
                Some(object) => self.store.update(&key, object.revision(), encoded.at_rest.clone(), ttl).await,
                None => self.store.create(&key, encoded.at_rest.clone(), ttl).await,
            };
            match done {
                Ok(revision) => return self.built(key, revision, encoded),
                Err(e) => {
                    self.expect_no_event(&key);
                    let store::Error::Conflict { current: found, .. } = e else {
                        return Err(from_store(self.resource(), Operation::Update, &e));
                    };
                    current = found.and_then(|kv| self.decode(&kv));
                    certain = true;
                }
            }
        }
    }

    /// One round of an update: from the object as seen to what is to be stored.
    async fn attempt<F, Fut>(
        &self,
        key: &str,
        name: &str,
        current: Option<&Arc<Object>>,
        preconditions: &Preconditions,
        create_missing: bool,
        change: &mut F,
    ) -> Result<(Encoded, Option<Duration>), Status>
    where
        F: FnMut(Option<Value>) -> Fut,
        Fut: Future<Output = Result<Update, Status>>,
    {
        let value = match current {
            None if !create_missing => return Err(Status::not_found(self.resource(), name)),
            None => None,
            Some(object) => Some(object.value()),
        };
        let empty = Value::Null;
        preconditions.check(key, value.as_ref().unwrap_or(&empty)).map_err(|why| Status::conflict(self.resource(), name, why))?;
        let update = change(value).await?;
        let size = current.map_or(USUAL, |o| o.bytes().len() + o.bytes().len() / 8);
        Ok((self.encode(key, update.value, size)?, update.ttl))
    }

    /// Deletes an object, if the preconditions hold and `validate` agrees, and returns its last state (at the revision of the
    /// deletion, as upstream returns it).
    pub async fn delete<V>(
        &self,
        namespace: &str,
        name: &str,
        preconditions: &Preconditions,
        validate: V,
    ) -> Result<Arc<Object>, Status>
    where
        V: Fn(&Object) -> Result<(), Status>,
    {
        let key = self.key(namespace, name);
        let (mut current, mut certain) = self.first_look(&key, Operation::Delete).await?;
        loop {
            let allowed = match &current {
                None => Err(Status::not_found(self.resource(), name)),
                Some(object) => preconditions
                    .check_object(&key, object)
                    .map_err(|why| Status::conflict(self.resource(), name, why))
                    .and_then(|()| validate(object))
                    .map(|()| object.clone()),
            };
            let object = match allowed {
                Ok(object) => object,
                Err(status) if certain => return Err(status),
                Err(_) => {
                    current = self.latest(&key, Operation::Delete).await?;
                    certain = true;
                    continue;
                }
            };
            match self.store.delete(&key, object.revision()).await {
                Ok(revision) => return Ok(Arc::new(object.at_revision(revision))),
                Err(store::Error::Conflict { current: found, .. }) => {
                    current = found.and_then(|kv| self.decode(&kv));
                    certain = true;
                }
                Err(e) => return Err(from_store(self.resource(), Operation::Delete, &e)),
            }
        }
    }

    /// The object to begin with, and whether it is certainly the newest. A store elsewhere is asked only if the cache turns out
    /// to be behind.
    async fn first_look(&self, key: &str, op: Operation) -> Result<(Option<Arc<Object>>, bool), Status> {
        self.ready().await?;
        if !self.store_is_near()
            && let Some(object) = self.cached(key)
        {
            return Ok((Some(object), false));
        }
        Ok((self.latest(key, op).await?, true))
    }
}
