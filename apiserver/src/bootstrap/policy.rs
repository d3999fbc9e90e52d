//! Default roles and bindings: created, and completed where a new release grants more (pkg/registry/rbac/rest/storage_rbac.go).

use crate::registry::store_new;
use crate::server::Inner;
use auth::rbac::bootstrap::{Action, Policy, reconcile as compare};
use machinery::{Status, meta};
use std::sync::Arc;
use storage::{Preconditions, Update};

const GROUP: &str = "rbac.authorization.k8s.io";

pub async fn reconcile(server: &Arc<Inner>) -> Result<(), Status> {
    for (resource, expected) in Policy::load().objects() {
        let entry = server.entry(GROUP, resource)?;
        let storage = entry.storage.as_ref().ok_or_else(|| Status::internal("roles are not kept"))?;
        let (namespace, name) = (meta::namespace(expected), meta::name(expected));
        let existing = match storage.get(namespace, name, "").await {
            Ok(o) => Some(o.value()),
            Err(s) if s.is_not_found() => None,
            Err(s) => return Err(s),
        };
        match compare(existing.as_ref(), expected) {
            Action::Keep => {}
            Action::Create => {
                store_new(server, GROUP, resource, expected.clone()).await?;
            }
            Action::Update(want) => {
                let update = |_| {
                    let want = want.clone();
                    async move { Ok(Update::from(want)) }
                };
                storage.guaranteed_update(namespace, name, &Preconditions::default(), false, update).await?;
            }
            Action::Recreate(want) => {
                storage.delete(namespace, name, &Preconditions::default(), |_| Ok(())).await?;
                store_new(server, GROUP, resource, want).await?;
            }
        }
    }
    Ok(())
}
