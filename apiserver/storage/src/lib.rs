//! Watch cache and object storage: encoded objects and small parsed heads over the store.
