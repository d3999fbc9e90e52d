//! Images: pull policies, pull back-off and their events (upstream pkg/kubelet/images).

use crate::context::{Context, container_reference};
use crate::image_name::ImageName;
use crate::pod::backoff::Backoff;
use crate::pod::spec::spec;
use client::EventType;
use cri::v1 as api;
use k8s_openapi::api::core::v1::{Container, ObjectReference, Pod};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::time::Duration;

/// Why a container has no image: the reason of its waiting state, and the message.
#[derive(Debug, PartialEq, Eq)]
pub struct ImageError {
    pub reason: &'static str,
    pub message: String,
    /// When another try makes sense.
    pub retry: Option<Duration>,
}

/// Pull state of the node: back-off per pod and image, and pulls one after the other if so configured.
pub struct Images {
    backoff: Mutex<Backoff>,
    last_error: Mutex<HashMap<String, String>>,
    serial: Option<tokio::sync::Mutex<()>>,
}

impl Images {
    pub fn new(serialize: bool) -> Self {
        Self {
            backoff: Mutex::new(Backoff::new(Duration::from_secs(10), Duration::from_secs(300))),
            last_error: Default::default(),
            serial: serialize.then(|| tokio::sync::Mutex::new(())),
        }
    }
}

/// The image name with `:latest` where it has neither tag nor digest, or why it is no image name.
pub fn with_default_tag(image: &str) -> Result<String, String> {
    let invalid = |why: &str| Err(format!("couldn't parse image name {image:?}: {why}"));
    let ImageName { repository, tag, digest } = ImageName::of(image);
    let mut parts: Vec<&str> = repository.split('/').collect();
    let is_host = |p: &str| p.contains(['.', ':']) || p == "localhost" || p.chars().any(|c| c.is_ascii_uppercase());
    let of_hub = parts.len() < 2 || !is_host(parts[0]) || ["docker.io", "index.docker.io"].contains(&parts[0]);
    if parts.len() > 1 && is_host(parts[0]) {
        parts.remove(0);
    }
    if of_hub && parts.len() == 1 {
        parts.insert(0, "library");
    }
    let remote = parts.join("/");
    if remote.chars().any(|c| c.is_ascii_uppercase()) {
        return invalid(&format!("invalid reference format: repository name ({remote}) must be lowercase"));
    }
    let component = |p: &str| {
        let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
        edge(p.chars().next())
            && edge(p.chars().next_back())
            && p.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "._-".contains(c))
    };
    let good_tag = |t: &str| {
        !t.is_empty()
            && t.len() <= 128
            && !t.starts_with(['.', '-'])
            && t.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c))
    };
    let good_digest = |d: &str| d.split_once(':').is_some_and(|(_, h)| h.len() >= 32 && h.chars().all(|c| c.is_ascii_hexdigit()));
    if !parts.iter().all(|p| component(p)) || !tag.is_none_or(good_tag) || !digest.is_none_or(good_digest) {
        return invalid("invalid reference format");
    }
    Ok(if tag.is_none() && digest.is_none() { format!("{image}:latest") } else { image.to_owned() })
}

/// An image that a pod needs.
struct Wanted<'a> {
    /// Whom its events are about.
    about: ObjectReference,
    name: &'a str,
    policy: Option<&'a str>,
}

/// Makes sure the container's image is there, by its pull policy; returns the runtime's image.
pub async fn ensure(ctx: &Context, pod: &Pod, c: &Container, sandbox: &api::PodSandboxConfig) -> Result<api::Image, ImageError> {
    let (name, policy) = (c.image.as_deref().unwrap_or(""), c.image_pull_policy.as_deref());
    ensure_wanted(ctx, pod, &Wanted { about: container_reference(pod, c), name, policy }, sandbox).await
}

/// The images that the container mounts as volumes, by the volumes' names.
pub async fn volumes(
    ctx: &Context,
    pod: &Pod,
    c: &Container,
    sandbox: &api::PodSandboxConfig,
) -> Result<HashMap<String, api::ImageSpec>, ImageError> {
    let mut found = HashMap::new();
    let mounted = |name: &str| c.volume_mounts.iter().flatten().any(|m| m.name == name);
    for v in spec(pod).volumes.iter().flatten().filter(|v| mounted(&v.name)) {
        let Some(i) = &v.image else { continue };
        let name = i.reference.as_deref().unwrap_or("");
        let wanted = Wanted { about: client::reference_to(pod), name, policy: i.pull_policy.as_deref() };
        let image = ensure_wanted(ctx, pod, &wanted, sandbox).await?;
        let spec = api::ImageSpec { image: image.id, user_specified_image: name.to_owned(), ..Default::default() };
        found.insert(v.name.clone(), spec);
    }
    Ok(found)
}

async fn ensure_wanted(
    ctx: &Context,
    pod: &Pod,
    wanted: &Wanted<'_>,
    sandbox: &api::PodSandboxConfig,
) -> Result<api::Image, ImageError> {
    let Wanted { about, name, policy } = wanted;
    let warn = |reason: &str, m: &str| ctx.event(about, EventType::Warning, reason, m);
    let fail = |reason: &'static str, message: String| ImageError { reason, message, retry: None };
    let image = with_default_tag(name).map_err(|e| {
        let m = format!("Failed to apply default image tag {name:?}: {e}");
        warn("InspectFailed", &m);
        fail("InvalidImageName", m)
    })?;
    let policy = policy.unwrap_or("IfNotPresent");
    if policy != "Always" {
        let found = ctx.runtime.image_status(&image).await.map_err(|e| {
            let m = format!("Failed to inspect image {:?}: {e}", "");
            warn("InspectFailed", &m);
            fail("ImageInspectError", m)
        })?;
        if let Some(found) = found {
            // Any pod may use what is on the node: pull credentials are not checked again.
            let m = format!("Container image {name:?} already present on machine and can be accessed by the pod");
            ctx.event(about, EventType::Normal, "Pulled", m);
            return Ok(found);
        }
        if policy == "Never" {
            let m = format!("Container image {name:?} is not present with pull policy of Never");
            warn("ErrImageNeverPull", &m);
            return Err(fail("ErrImageNeverPull", m));
        }
    }
    pull(ctx, pod, wanted, &image, sandbox).await
}

async fn pull(
    ctx: &Context,
    pod: &Pod,
    wanted: &Wanted<'_>,
    image: &str,
    sandbox: &api::PodSandboxConfig,
) -> Result<api::Image, ImageError> {
    let Wanted { about, name, .. } = wanted;
    let images = &ctx.images;
    let key = format!("{}_{image}", pod.metadata.uid.as_deref().unwrap_or(""));
    let waiting = images.backoff.lock().remaining_since_update(&key, ctx.clock.now());
    if let Some(left) = waiting {
        let mut message = format!("Back-off pulling image {name:?}");
        ctx.event(about, EventType::Normal, "BackOff", message.clone());
        if let Some(e) = images.last_error.lock().get(&key) {
            message = format!("{message}: {e}");
        }
        return Err(ImageError { reason: "ImagePullBackOff", message, retry: Some(left) });
    }
    images.last_error.lock().remove(&key);
    ctx.event(about, EventType::Normal, "Pulling", format!("Pulling image {name:?}"));
    let asked = tokio::time::Instant::now();
    let _turn = match &images.serial {
        Some(lock) => Some(lock.lock().await),
        None => None,
    };
    let began = tokio::time::Instant::now();
    let credentials = crate::credentials::lookup(ctx, pod, image).await;
    let pulled = async {
        let image = with_any(ctx, image, &credentials, sandbox).await?;
        ctx.runtime.image_status(&image).await.map_err(|e| e.to_string())
    }
    .await;
    match pulled {
        Ok(Some(found)) => {
            let text = |d: Duration| go_millis(d);
            let m = format!(
                "Successfully pulled image {name:?} in {} ({} including waiting). Image size: {} bytes.",
                text(began.elapsed()),
                text(asked.elapsed()),
                found.size
            );
            ctx.event(about, EventType::Normal, "Pulled", m);
            Ok(found)
        }
        outcome => {
            let message = match outcome {
                Err(e) => e,
                _ => format!("image {image:?} is gone after its pull"),
            };
            ctx.event(about, EventType::Warning, "Failed", format!("Failed to pull image {name:?}: {message}"));
            let now = ctx.clock.now();
            images.backoff.lock().next(&key, now, now);
            let (reason, message) = failure(name, message);
            images.last_error.lock().insert(key.clone(), format!("{reason}: {message}"));
            let retry = images.backoff.lock().remaining_since_update(&key, now);
            Err(ImageError { reason, message, retry })
        }
    }
}

/// Pulls with one credential after the other until one is good; all errors together if none is.
async fn with_any(
    ctx: &Context,
    image: &str,
    credentials: &[api::AuthConfig],
    sandbox: &api::PodSandboxConfig,
) -> Result<String, String> {
    // What has no code of its own is told without one.
    let words = |e: crate::runtime::RuntimeError| if e.code == cri::Code::Unknown { e.message } else { e.to_string() };
    if credentials.is_empty() {
        return ctx.runtime.pull_image(image, None, sandbox).await.map_err(words);
    }
    let mut errors: Vec<String> = Vec::new();
    for auth in credentials {
        match ctx.runtime.pull_image(image, Some(auth.clone()), sandbox).await {
            Ok(pulled) => return Ok(pulled),
            Err(e) => errors.push(words(e)),
        }
    }
    // As apimachinery's aggregate prints: what is the same is said once.
    let mut seen = std::collections::HashSet::new();
    errors.retain(|e| seen.insert(e.clone()));
    Err(match errors.as_slice() {
        [one] => one.clone(),
        several => format!("[{}]", several.join(", ")),
    })
}

/// Reason and message of a failed pull; runtimes name two reasons at the front of their messages.
fn failure(image: &str, message: String) -> (&'static str, String) {
    for (reason, what) in
        [("RegistryUnavailable", "the registry is unavailable"), ("SignatureValidationFailed", "the signature validation failed")]
    {
        if let Some(rest) = message.strip_prefix(reason) {
            return (reason, format!("image pull failed for {image} because {what}{rest}"));
        }
    }
    ("ErrImagePull", message)
}

/// Milliseconds as Go prints a duration: `1.234s`, `56ms`, `2m3.4s`.
pub fn go_millis(d: Duration) -> String {
    let ms = d.as_millis();
    if ms < 1000 {
        return if ms == 0 { "0s".into() } else { format!("{ms}ms") };
    }
    let (minutes, rest) = (ms / 60_000, ms % 60_000);
    let mut seconds = format!("{}.{:03}", rest / 1000, rest % 1000);
    seconds.truncate(seconds.trim_end_matches('0').trim_end_matches('.').len());
    match (minutes / 60, minutes % 60) {
        (0, 0) => format!("{seconds}s"),
        (0, m) => format!("{m}m{seconds}s"),
        (h, m) => format!("{h}h{m}m{seconds}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        let digest = format!("busybox@sha256:{}", "a".repeat(64));
        for (image, want) in [
            ("busybox", Some("busybox:latest")),
            ("busybox:1", Some("busybox:1")),
            ("localhost:5000/a/b", Some("localhost:5000/a/b:latest")),
            ("registry.k8s.io/pause:3.10", Some("registry.k8s.io/pause:3.10")),
            (digest.as_str(), Some(digest.as_str())),
            ("BusyBox", None),
            ("", None),
            ("a b", None),
            ("busybox:", None),
            ("invalid.com/@!", None),
        ] {
            assert_eq!(with_default_tag(image).ok().as_deref(), want, "{image:?}");
        }
    }

    #[test]
    fn durations() {
        for (ms, want) in [(0, "0s"), (56, "56ms"), (1000, "1s"), (1230, "1.23s"), (61_001, "1m1.001s"), (10_000, "10s")] {
            assert_eq!(go_millis(Duration::from_millis(ms)), want);
        }
    }

    #[tokio::test]
    async fn images_as_volumes() {
        let runtime = std::sync::Arc::new(crate::testing::FakeRuntime::default());
        runtime.images.lock().push("here:1".to_owned());
        let ctx = crate::testing::context(runtime.clone());
        let pod: Pod = serde_json::from_value(serde_json::json!({"metadata": {"name": "p"}, "spec": {
            "volumes": [
                {"name": "here", "image": {"reference": "here:1", "pullPolicy": "IfNotPresent"}},
                {"name": "always", "image": {"reference": "here:1", "pullPolicy": "Always"}},
                {"name": "never", "image": {"reference": "other:1", "pullPolicy": "Never"}},
                {"name": "dir", "emptyDir": {}}],
            "containers": []}}))
        .expect("pod");
        for (name, mounts, want, pulled) in [
            ("none", &["dir"][..], Ok(vec![]), 0),
            ("on the node", &["here", "dir"], Ok(vec!["here"]), 0),
            ("pulled whatever is there", &["always"], Ok(vec!["always"]), 1),
            ("not there", &["here", "never"], Err("ErrImageNeverPull"), 0),
        ] {
            let mounts: Vec<_> = mounts.iter().map(|m| serde_json::json!({"name": m, "mountPath": "/m"})).collect();
            let c: Container =
                serde_json::from_value(serde_json::json!({"name": "c", "volumeMounts": mounts})).expect("container");
            runtime.pulled.lock().clear();
            let found = volumes(&ctx, &pod, &c, &Default::default()).await;
            let found = found.map(|v| v.into_keys().collect::<Vec<_>>()).map_err(|e| e.reason);
            assert_eq!(found, want.map(|l: Vec<&str>| l.into_iter().map(str::to_owned).collect()), "{name}");
            assert_eq!(runtime.pulled.lock().len(), pulled, "{name}: pulls");
        }
    }
}
