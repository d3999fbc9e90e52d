//! Validating webhooks: all that match are asked at once.

use super::review::ask;
use super::{Shared, matching, versioned};
use crate::admission::{Attributes, Lister};
use futures::future::join_all;
use machinery::{Status, Value};

pub async fn dispatch(shared: &Shared, attrs: &Attributes, obj: &Value, cx: &dyn Lister) -> Result<(), Status> {
    let hooks = shared.source.validating();
    let table = shared.table.load_full();
    let mut calls = Vec::new();
    for hook in hooks.iter() {
        let Some(what) = matching::matches(hook, attrs, obj, &table, cx).await? else { continue };
        let object = versioned::convert(&table, obj, &what.kind).await?;
        let old = versioned::convert(&table, attrs.old(), &what.kind).await?;
        calls.push(async move { (hook, ask(&shared.client, hook, attrs, &what, &object, &old, false).await) });
    }
    let mut first = Ok(());
    for (hook, done) in join_all(calls).await {
        first = first.and(done.map(drop).or_else(|r| r.verdict(hook)));
    }
    first
}
