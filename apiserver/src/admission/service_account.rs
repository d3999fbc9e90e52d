//! ServiceAccount: every pod runs as one, with its token mounted. Upstream: plugin/pkg/admission/serviceaccount.

use super::{Attributes, Lister, Operation, Plugin, random_suffix};
use async_trait::async_trait;
use machinery::meta::{annotations, at, entry, list_at, set, str_at};
use machinery::{GroupResource, Status, Value, json};
use std::sync::Arc;

const TOKEN_PATH: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
const VOLUME_PREFIX: &str = "kube-api-access-";
const MIRROR: &str = "kubernetes.io/config.mirror";
const ENFORCE_MOUNTABLE: &str = "kubernetes.io/enforce-mountable-secrets";

pub struct ServiceAccount;

#[async_trait]
impl Plugin for ServiceAccount {
    fn name(&self) -> &'static str {
        "ServiceAccount"
    }

    fn handles(&self, a: &Attributes) -> bool {
        a.is("", "pods")
            && match a.operation {
                Operation::Create => a.subresource.is_empty(),
                Operation::Update => a.subresource == "ephemeralcontainers",
                _ => false,
            }
    }

    async fn admit(&self, a: &Attributes, pod: &mut Value, cx: &dyn Lister) -> Result<(), Status> {
        if a.operation != Operation::Create || annotations(pod).contains_key(MIRROR) {
            return self.validate(a, pod, cx).await;
        }
        if str_at(pod, &["spec", "serviceAccountName"]).is_empty() {
            set(pod, &["spec", "serviceAccountName"], "default".into());
        }
        // The deprecated name is kept equal, as upstream's conversion does.
        let name = str_at(pod, &["spec", "serviceAccountName"]).to_owned();
        set(pod, &["spec", "serviceAccount"], name.into());
        let account = find(a, pod, cx).await?;
        let wanted =
            at(pod, &["spec", "automountServiceAccountToken"]).or_else(|| at(&account, &["automountServiceAccountToken"]));
        if wanted.and_then(Value::as_bool).unwrap_or(true) {
            mount_token(pod);
        }
        let secrets = list_at(&account, &["imagePullSecrets"]);
        if list_at(pod, &["spec", "imagePullSecrets"]).is_empty() && !secrets.is_empty() {
            set(pod, &["spec", "imagePullSecrets"], secrets.into());
        }
        self.validate(a, pod, cx).await
    }

    async fn validate(&self, a: &Attributes, pod: &Value, cx: &dyn Lister) -> Result<(), Status> {
        if annotations(pod).contains_key(MIRROR) && a.operation == Operation::Create {
            return mirror(a, pod);
        }
        if str_at(pod, &["spec", "serviceAccountName"]).is_empty() {
            let name = machinery::meta::name(pod);
            return Err(a.forbid(pod, format!("no service account specified for pod {}/{name}", a.namespace)));
        }
        let account = find(a, pod, cx).await?;
        if matches!(str_at(&account, &["metadata", "annotations", ENFORCE_MOUNTABLE]), "true" | "True" | "TRUE" | "1" | "t" | "T")
        {
            limit_secrets(&account, pod, a.operation).map_err(|why| a.forbid(pod, why))?;
        }
        Ok(())
    }
}

async fn find(a: &Attributes, pod: &Value, cx: &dyn Lister) -> Result<Arc<Value>, Status> {
    let name = str_at(pod, &["spec", "serviceAccountName"]);
    let ns = &a.namespace;
    let found = match cx.get("", "serviceaccounts", ns, name) {
        Some(found) => Some(found),
        // The default account of a new namespace is about to be made by its controller.
        None if name == "default" => cx.await_object("", "serviceaccounts", ns, name).await?,
        None => cx.get_live("", "serviceaccounts", ns, name).await?,
    };
    found.ok_or_else(|| {
        let missing = Status::not_found(&GroupResource::new("", "serviceaccount"), name);
        a.forbid(pod, format!("error looking up service account {ns}/{name}: {missing}"))
    })
}

/// A mirror pod is made by a kubelet, which must not gain secrets by it.
fn mirror(a: &Attributes, pod: &Value) -> Result<(), Status> {
    if !str_at(pod, &["spec", "serviceAccountName"]).is_empty() {
        return Err(a.forbid(pod, "a mirror pod may not reference service accounts"));
    }
    if !auth::pod_names::secrets(pod).is_empty() {
        return Err(a.forbid(pod, "a mirror pod may not reference secrets"));
    }
    let sources = list_at(pod, &["spec", "volumes"]).iter().flat_map(|v| list_at(v, &["projected", "sources"]));
    if sources.into_iter().any(|s| at(s, &["serviceAccountToken"]).is_some()) {
        return Err(a.forbid(pod, "a mirror pod may not use ServiceAccountToken volume projections"));
    }
    Ok(())
}

fn mount_token(pod: &mut Value) {
    let existing = list_at(pod, &["spec", "volumes"]).iter().map(|v| str_at(v, &["name"])).find(|n| n.starts_with(VOLUME_PREFIX));
    let has_volume = existing.is_some();
    let volume = existing.map_or_else(|| format!("{VOLUME_PREFIX}{}", random_suffix()), str::to_owned);
    let mut needed = false;
    for list in ["initContainers", "containers"] {
        let Some(Value::Array(containers)) = entry(pod, &["spec"]).get_mut(list) else { continue };
        for c in containers {
            if list_at(c, &["volumeMounts"]).iter().any(|m| str_at(m, &["mountPath"]) == TOKEN_PATH) {
                continue;
            }
            let mut mounts = list_at(c, &["volumeMounts"]).to_vec();
            mounts.push(json!({"name": volume, "readOnly": true, "mountPath": TOKEN_PATH}));
            set(c, &["volumeMounts"], mounts.into());
            needed = true;
        }
    }
    if has_volume || !needed {
        return;
    }
    let mut volumes = list_at(pod, &["spec", "volumes"]).to_vec();
    volumes.push(json!({"name": volume, "projected": {"defaultMode": 420, "sources": [
        {"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}},
        {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
        {"downwardAPI": {"items": [{"path": "namespace", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}}]}},
    ]}}));
    set(pod, &["spec", "volumes"], volumes.into());
}

/// With the annotation, pods use only the secrets that their account lists.
fn limit_secrets(account: &Value, pod: &Value, operation: Operation) -> Result<(), String> {
    let names = |list: &str| -> Vec<&str> { list_at(account, &[list]).iter().map(|s| str_at(s, &["name"])).collect() };
    let mountable = names("secrets");
    let sa = machinery::meta::name(account);
    let tail = |secret: &str| {
        format!(
            "referencing secret.secretName={secret:?} is not allowed because service account {sa} does not reference that secret"
        )
    };
    let (lists, volumes): (&[(&str, &str)], _) = if operation == Operation::Update {
        (&[("ephemeralContainers", "ephemeral container")], &[][..])
    } else {
        (&[("initContainers", "init container"), ("containers", "container")], list_at(pod, &["spec", "volumes"]))
    };
    for v in volumes {
        let secret = str_at(v, &["secret", "secretName"]);
        if !secret.is_empty() && !mountable.contains(&secret) {
            return Err(format!(
                "volume with secret.secretName={secret:?} is not allowed because service account {sa} does not reference that secret"
            ));
        }
    }
    for (list, word) in lists {
        for c in list_at(pod, &["spec", list]) {
            let name = str_at(c, &["name"]);
            for e in list_at(c, &["env"]) {
                let secret = str_at(e, &["valueFrom", "secretKeyRef", "name"]);
                if !secret.is_empty() && !mountable.contains(&secret) {
                    return Err(format!("{word} {name} with envVar {} {}", str_at(e, &["name"]), tail(secret)));
                }
            }
            for e in list_at(c, &["envFrom"]) {
                let secret = str_at(e, &["secretRef", "name"]);
                if !secret.is_empty() && !mountable.contains(&secret) {
                    return Err(format!("{word} {name} with envFrom {}", tail(secret)));
                }
            }
        }
    }
    if operation == Operation::Create {
        let pull = names("imagePullSecrets");
        for (i, s) in list_at(pod, &["spec", "imagePullSecrets"]).iter().enumerate() {
            let name = str_at(s, &["name"]);
            if !pull.contains(&name) {
                return Err(format!(
                    "imagePullSecrets[{i}].name={name:?} is not allowed because service account {sa} does not reference that imagePullSecret"
                ));
            }
        }
    }
    Ok(())
}
