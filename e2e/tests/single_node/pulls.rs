//! Images of a registry that asks who pulls: credentials of imagePullSecrets, and what a pod says that has none, wrong ones or the best.

use crate::Test;
use e2e::registry::Login;
use e2e::{Lab, Namespace};

pub const TESTS: &[Test] = e2e::tests![secrets_open_a_private_registry, pods_without_an_image_say_why];

pub const LOGIN: Login = ("me", "se:cret");

const IMAGE: &str = "private.example/library/busybox:1.36";

fn pod(name: &str, secrets: &str) -> String {
    format!(
        "{{apiVersion: v1, kind: Pod, metadata: {{name: {name}}}, spec: {{terminationGracePeriodSeconds: 0, imagePullSecrets: [{secrets}], \
         containers: [{{name: c, image: '{IMAGE}', imagePullPolicy: Always, command: [sleep, '3600']}}]}}}}"
    )
}

fn secrets_open_a_private_registry(lab: &Lab) {
    let ns = Namespace::new(lab, "private");
    let (user, password) = (format!("--docker-username={}", LOGIN.0), format!("--docker-password={}", LOGIN.1));
    let secret = |name: &str, server: &str, password: &str| {
        let server = format!("--docker-server={server}");
        ns.kubectl(&["create", "secret", "docker-registry", name, &server, &user, password]).ok();
    };
    secret("good", "https://private.example/library", &password);
    secret("wrong", "private.example", "--docker-password=guess");
    secret("other", "other.example", &password);
    let old = format!("{{\"private.example\":{{\"username\":\"{}\",\"password\":\"{}\"}}}}", LOGIN.0, LOGIN.1);
    let old = format!("--from-literal=.dockercfg={old}");
    ns.kubectl(&["create", "secret", "generic", "old", "--type=kubernetes.io/dockercfg", &old]).ok();
    for (name, secrets) in [("none", ""), ("stranger", "{name: other}"), ("guess", "{name: wrong}"), ("absent", "{name: absent}")]
    {
        ns.apply(&pod(name, secrets));
    }
    for (name, secrets) in
        [("login", "{name: good}"), ("former", "{name: old}"), ("several", "{name: wrong}, {name: other}, {name: good}")]
    {
        ns.apply(&pod(name, secrets));
        ns.wait("condition=Ready", &format!("pod/{name}"));
    }
    for name in ["none", "stranger", "guess", "absent"] {
        let events = ns.event(name, "ErrImagePull");
        assert!(
            events.contains(&format!("Failed to pull image \"{IMAGE}\": ")) && events.contains("authoriz"),
            "{name}: {events}"
        );
        ns.becomes(&format!("pod {name}"), "{.status.containerStatuses[0].state.waiting.reason}", "ImagePullBackOff");
        let message = ns.get(&format!("pod {name}"), "{.status.containerStatuses[0].state.waiting.message}");
        assert!(message.starts_with(&format!("Back-off pulling image \"{IMAGE}\": ErrImagePull: ")), "{name}: {message}");
    }
}

fn pods_without_an_image_say_why(lab: &Lab) {
    let ns = Namespace::new(lab, "unpulled");
    for (name, image, policy, reason, message) in [
        (
            "never",
            "docker.io/library/nowhere:1",
            "Never",
            "ErrImageNeverPull",
            "Container image \"docker.io/library/nowhere:1\" is not present with pull policy of Never",
        ),
        (
            "invalid",
            "docker.io/UPPER",
            "IfNotPresent",
            "InvalidImageName",
            "Failed to apply default image tag \"docker.io/UPPER\": couldn't parse image name \"docker.io/UPPER\": invalid reference \
             format: repository name (library/UPPER) must be lowercase",
        ),
    ] {
        // `kubectl run` refuses bad names itself.
        ns.apply(&format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}}}\n\
             spec: {{containers: [{{name: {name}, image: '{image}', imagePullPolicy: {policy}}}]}}\n"
        ));
        let pod = format!("pod {name}");
        ns.becomes(&pod, "{.status.containerStatuses[0].state.waiting.reason}", reason);
        assert_eq!(ns.get(&pod, "{.status.containerStatuses[0].state.waiting.message}"), message, "{name}");
        let events = ns.event(name, if name == "never" { reason } else { "InspectFailed" });
        assert!(events.contains(message), "{name}: {events}");
    }
}
