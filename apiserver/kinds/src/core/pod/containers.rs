//! Containers of a pod: regular, init and ephemeral.

use super::volumes::{field_ref, local_descending, no_backsteps, resource_field_ref};
use super::{Options, security};
use crate::at::At;
use crate::{check, names, resources};
use machinery::field::{Error, ErrorList};
use std::collections::HashSet;

pub const PULL_POLICIES: [&str; 3] = ["Always", "IfNotPresent", "Never"];
const PROTOCOLS: [&str; 3] = ["TCP", "UDP", "SCTP"];

/// What a container's rules need of its pod.
pub struct Pod<'a> {
    pub volumes: Vec<(&'a str, At<'a>)>,
    pub claims: Vec<&'a str>,
    pub spec: At<'a>,
    pub host_users: bool,
}

impl Pod<'_> {
    fn grace(&self) -> Option<i64> {
        self.spec.get("terminationGracePeriodSeconds").opt_int()
    }
}

/// `spec.containers`.
pub fn containers(at: At, e: &mut ErrorList, pod: &Pod, o: &Options) {
    if at.is_empty() {
        return at.required(e, "");
    }
    let mut seen = HashSet::new();
    for c in at.items() {
        common(c, e, pod, o);
        if !seen.insert(c.get("name").str()) {
            c.get("name").duplicate(e);
        }
        lifecycle_and_probes(c, e, pod);
        restart_policy(c, e);
    }
    host_port_conflicts(at.items(), e);
}

/// `spec.initContainers`.
pub fn init_containers(at: At, e: &mut ErrorList, pod: &Pod, o: &Options) {
    let mut seen: HashSet<&str> = pod.spec.get("containers").items().map(|c| c.get("name").str()).collect();
    for c in at.items() {
        common(c, e, pod, o);
        if c.has("restartPolicy") {
            restart_policy(c, e);
        } else if !c.get("restartPolicyRules").is_empty() {
            c.get("restartPolicy").required(e, "must specify restartPolicy when restart rules are used");
        }
        let name = c.get("name");
        if !name.is_empty() && !seen.insert(name.str()) {
            name.duplicate(e);
        }
        host_port_conflicts(std::iter::once(c), e);
        let sidecar = c.get("restartPolicy").str() == "Always";
        if sidecar {
            lifecycle_and_probes(c, e, pod);
        } else {
            for f in ["lifecycle", "livenessProbe", "readinessProbe", "startupProbe"] {
                if c.has(f) {
                    c.get(f).forbidden(e, "may not be set for init containers without restartPolicy=Always");
                }
            }
            for p in c.get("resizePolicy").items() {
                let policy = p.get("restartPolicy");
                if policy.str() == "RestartContainer" && !o.unchanged(pod.spec, &["initContainers"]) {
                    policy.invalid(e, "must not be set to 'RestartContainer' for non-sidecar initContainers");
                }
            }
        }
    }
}

/// `spec.ephemeralContainers`.
pub fn ephemeral_containers(at: At, e: &mut ErrorList, pod: &Pod, o: &Options) {
    let others: HashSet<&str> =
        ["containers", "initContainers"].iter().flat_map(|l| pod.spec.get(l).items()).map(|c| c.get("name").str()).collect();
    let mut seen = others.clone();
    for c in at.items() {
        common(c, e, pod, o);
        image_whitespace(c, e);
        if !seen.insert(c.get("name").str()) {
            c.get("name").duplicate(e);
        }
        let target = c.get("targetContainerName");
        if !target.is_empty() && !others.contains(target.str()) {
            target.not_found(e);
        }
        for f in [
            "ports",
            "resources",
            "resizePolicy",
            "restartPolicy",
            "restartPolicyRules",
            "livenessProbe",
            "readinessProbe",
            "startupProbe",
            "lifecycle",
        ] {
            let v = c.get(f);
            if v.present() && !(v.v.is_object() && v.is_empty() && f == "resources") {
                v.forbidden(e, "cannot be set for an Ephemeral Container");
            }
        }
        for m in c.get("volumeMounts").items() {
            for f in ["subPath", "subPathExpr"] {
                if !m.get(f).is_empty() {
                    m.get(f).forbidden(e, "cannot be set for an Ephemeral Container");
                }
            }
        }
    }
}

/// Rules of a container in a Pod that templates do not have.
pub fn image_whitespace(c: At, e: &mut ErrorList) {
    let image = c.get("image");
    if image.str().trim().len() != image.len() {
        image.invalid(e, "must not have leading or trailing whitespace");
    }
}

fn common(c: At, e: &mut ErrorList, pod: &Pod, o: &Options) {
    c.get("name").need_check(e, check::dns1123_label);
    c.get("image").need(e, "");
    c.get("terminationMessagePolicy").need_one_of_in_order(e, &["File", "FallbackToLogsOnError"]);
    ports(c.get("ports"), e);
    for v in c.get("env").items() {
        env(v, e);
    }
    env_from(c.get("envFrom"), e);
    volume_mounts(c, e, pod);
    volume_devices(c, e, pod);
    c.get("imagePullPolicy").need_one_of(e, &PULL_POLICIES);
    resources::requirements(c.get("resources"), e, resources::container_resource_name, &pod.claims, o.whole_huge_pages());
    resize_policy(c.get("resizePolicy"), e, pod.spec.get("restartPolicy").str());
    security::container(c.get("securityContext"), e, pod.host_users);
}

fn ports(at: At, e: &mut ErrorList) {
    let mut seen = HashSet::new();
    for p in at.items() {
        let name = p.get("name");
        if !name.is_empty() {
            let reasons = check::port_name(name.str());
            if !reasons.is_empty() {
                name.messages(e, reasons);
            } else if !seen.insert(name.str()) {
                name.duplicate(e);
            }
        }
        let (port, host) = (p.get("containerPort"), p.get("hostPort"));
        if port.int() == 0 {
            port.required(e, "");
        } else {
            port.port_num(e);
        }
        if host.int() != 0 {
            host.port_num(e);
        }
        p.get("protocol").need_one_of(e, &PROTOCOLS);
    }
}

fn host_port_conflicts<'a>(containers: impl Iterator<Item = At<'a>>, e: &mut ErrorList) {
    let mut seen = HashSet::new();
    for p in containers.flat_map(|c| c.get("ports").items().collect::<Vec<_>>()) {
        let port = p.get("hostPort").int();
        if port == 0 {
            continue;
        }
        let text = format!("{}/{}/{port}", p.get("protocol").str(), p.get("hostIP").str());
        if seen.contains(&text) {
            e.push(Error::duplicate(&p.get("hostPort").path(), text));
        } else {
            seen.insert(text);
        }
    }
}

const ENV_FIELDS: [&str; 9] = [
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
];

fn env(v: At, e: &mut ErrorList) {
    v.get("name").need_check(e, check::env_var_name);
    let from = v.get("valueFrom");
    if !from.present() {
        return;
    }
    let mut count = 0;
    let mut source = |name: &'static str| from.get(name).some().inspect(|_| count += 1);
    if let Some(s) = source("fieldRef") {
        // metadata.labels['x'] and metadata.annotations['x'] need no entry in the list.
        field_ref(s, e, &ENV_FIELDS);
    }
    if let Some(s) = source("resourceFieldRef") {
        resource_field_ref(s, e, false);
    }
    for name in ["configMapKeyRef", "secretKeyRef"] {
        if let Some(s) = source(name) {
            s.get("name").check(e, names::subdomain);
            s.get("key").need_check(e, check::config_map_key);
        }
    }
    if let Some(s) = source("fileKeyRef") {
        s.get("key").need_check(e, check::env_var_name);
        s.get("volumeName").need_check(e, check::dns1123_label);
        if s.get("path").need(e, "") {
            no_backsteps(s.get("path"), e);
        }
    }
    if count == 0 {
        from.invalid_value(
            e,
            "",
            "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`",
        );
    } else if !v.get("value").is_empty() {
        from.invalid_value(e, "", "may not be specified when `value` is not empty");
    } else if count > 1 {
        from.invalid_value(e, "", "may not have more than one field specified at a time");
    }
}

fn env_from(at: At, e: &mut ErrorList) {
    for v in at.items() {
        v.get("prefix").check_if_set(e, check::env_var_name);
        let mut count = 0;
        for name in ["configMapRef", "secretRef"] {
            if let Some(s) = v.get(name).some() {
                count += 1;
                if s.get("name").need(e, "") {
                    let name = s.get("name");
                    name.messages(e, machinery::validation::name_is_dns_subdomain(name.str(), true));
                }
            }
        }
        if count == 0 {
            at.invalid_value(e, "", "must specify one of: `configMapRef` or `secretRef`");
        } else if count > 1 {
            at.invalid_value(e, "", "may not have more than one field specified at a time");
        }
    }
}

fn volume_mounts(c: At, e: &mut ErrorList, pod: &Pod) {
    let at = c.get("volumeMounts");
    let mut points = HashSet::new();
    for m in at.items() {
        let (name, path) = (m.get("name"), m.get("mountPath"));
        name.need(e, "");
        if !pod.volumes.iter().any(|(n, _)| *n == name.str()) {
            e.push(Error::not_found(&name.path(), name.str()));
        }
        path.need(e, "");
        if !points.insert(path.str()) {
            path.invalid_str(e, "must be unique");
        }
        for d in c.get("volumeDevices").items() {
            if d.get("name").str() == name.str() {
                name.invalid_str(e, "must not already exist in volumeDevices");
            }
            if d.get("devicePath").str() == path.str() {
                path.invalid_str(e, "must not already exist as a path in volumeDevices");
            }
        }
        // Upstream reports these at the list, not at its element.
        let (sub, expr) = (at.get("subPath").with(m.get("subPath").v), at.get("subPathExpr").with(m.get("subPathExpr").v));
        if !sub.is_empty() {
            local_descending(sub, e);
        }
        if !expr.is_empty() {
            if !sub.is_empty() {
                m.get("subPathExpr").invalid(e, "subPathExpr and subPath are mutually exclusive");
            }
            local_descending(expr, e);
        }
        if let Some(propagation) = m.get("mountPropagation").some() {
            let here = at.get("mountPropagation").with(propagation.v);
            here.one_of(e, &["Bidirectional", "HostToContainer", "None"]);
            if here.str() == "Bidirectional" && !c.at(&["securityContext", "privileged"]).bool() {
                here.forbidden(e, "Bidirectional mount propagation is available only to privileged containers");
            }
        }
        recursive_read_only(m, at.get("recursiveReadOnly").with(m.get("recursiveReadOnly").v), e);
    }
}

fn recursive_read_only(m: At, at: At, e: &mut ErrorList) {
    match at.str() {
        "" if !at.present() => {}
        "Disabled" => {}
        "Enabled" | "IfPossible" => {
            if !m.get("readOnly").bool() {
                at.forbidden(e, "may only be specified when readOnly is true");
            }
            if m.has("mountPropagation") && m.get("mountPropagation").str() != "None" {
                at.forbidden(e, "may only be specified when mountPropagation is None or not specified");
            }
        }
        _ => at.not_supported(e, &["Disabled", "IfPossible", "Enabled"]),
    }
}

fn volume_devices(c: At, e: &mut ErrorList, pod: &Pod) {
    let (mut paths, mut seen) = (HashSet::new(), HashSet::new());
    for d in c.get("volumeDevices").items() {
        let (name, path) = (d.get("name"), d.get("devicePath"));
        name.need(e, "");
        if seen.contains(name.str()) {
            name.invalid(e, "must be unique");
        }
        match pod.volumes.iter().find(|(n, _)| *n == name.str()) {
            Some((_, v)) if !v.has("persistentVolumeClaim") && !v.has("ephemeral") => {
                name.invalid(e, "can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode");
            }
            Some(_) => {}
            None => e.push(Error::not_found(&name.path(), name.str())),
        }
        path.need(e, "");
        if paths.contains(path.str()) {
            path.invalid_str(e, "must be unique");
        }
        if path.str().split('/').any(|p| p == "..") {
            path.invalid(e, "can not contain backsteps ('..')");
        } else {
            paths.insert(path.str());
        }
        for m in c.get("volumeMounts").items() {
            if m.get("name").str() == name.str() {
                name.invalid_str(e, "must not already exist in volumeMounts");
            }
            if m.get("mountPath").str() == path.str() {
                path.invalid_str(e, "must not already exist as a path in volumeMounts");
            }
        }
        if !name.is_empty() {
            seen.insert(name.str());
        }
    }
}

fn resize_policy(at: At, e: &mut ErrorList, pod_restart: &str) {
    let mut seen = HashSet::new();
    for p in at.items() {
        let (resource, policy) = (p.get("resourceName"), p.get("restartPolicy"));
        if !seen.insert(resource.str()) {
            e.push(Error::duplicate(&p.path(), resource.str()));
        }
        at.with(resource.v).need_one_of(e, &["cpu", "memory"]);
        at.with(policy.v).need_one_of(e, &["NotRequired", "RestartContainer"]);
        if pod_restart == "Never" && policy.str() != "NotRequired" {
            at.with(policy.v).invalid_str(e, "must be 'NotRequired' when pod `restartPolicy` is 'Never'");
        }
    }
}

fn restart_policy(c: At, e: &mut ErrorList) {
    let (policy, rules) = (c.get("restartPolicy"), c.get("restartPolicyRules"));
    if policy.present() {
        policy.one_of(e, &["Always", "Never", "OnFailure"]);
    } else if !rules.is_empty() {
        policy.required(e, "must specify restartPolicy when restart rules are used");
    }
    if rules.len() > 20 {
        rules.too_many(e, 20);
    }
    for r in rules.items() {
        r.get("action").one_of(e, &["Restart", "RestartAllContainers"]);
        match r.get("exitCodes").some() {
            None => r.get("exitCodes").required(e, "must be specified"),
            Some(codes) => {
                codes.get("operator").one_of(e, &["In", "NotIn"]);
                if codes.get("values").len() > 255 {
                    codes.get("values").too_many(e, 255);
                }
            }
        }
    }
}

fn lifecycle_and_probes(c: At, e: &mut ErrorList, pod: &Pod) {
    let lifecycle = c.get("lifecycle");
    for name in ["postStart", "preStop"] {
        if let Some(h) = lifecycle.get(name).some() {
            handler(h, e, pod.grace(), &["exec", "httpGet", "tcpSocket", "sleep"]);
        }
    }
    for name in ["livenessProbe", "readinessProbe", "startupProbe"] {
        let Some(p) = c.get(name).some() else { continue };
        handler(p, e, pod.grace(), &["exec", "httpGet", "tcpSocket", "grpc"]);
        for f in ["initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold"] {
            p.get(f).non_negative(e);
        }
        let (grace, success) = (p.get("terminationGracePeriodSeconds"), p.get("successThreshold"));
        if grace.opt_int().is_some_and(|n| n <= 0) {
            grace.invalid(e, "must be greater than 0");
        }
        if name == "readinessProbe" {
            if grace.present() {
                grace.invalid(e, "must not be set for readinessProbes");
            }
        } else if success.int() != 1 {
            success.invalid_value(e, success.int(), "must be 1");
        }
    }
}

/// A probe's or hook's action: exactly one.
fn handler(h: At, e: &mut ErrorList, grace: Option<i64>, kinds: &[&'static str]) {
    let mut found = false;
    for kind in kinds {
        let Some(a) = h.get(kind).some() else { continue };
        if std::mem::replace(&mut found, true) {
            a.forbidden(e, "may not specify more than 1 handler type");
            continue;
        }
        match *kind {
            "exec" => {
                a.get("command").need(e, "");
            }
            "httpGet" => {
                a.get("path").need(e, "");
                a.get("port").port_num_or_name(e);
                a.get("scheme").one_of(e, &["HTTP", "HTTPS"]);
                for header in a.get("httpHeaders").items() {
                    a.get("httpHeaders").with(header.get("name").v).check(e, check::http_header_name);
                }
            }
            "tcpSocket" => a.get("port").port_num_or_name(e),
            "grpc" => a.get("port").port_num(e),
            _ => {
                let seconds = a.get("seconds").int();
                if let Some(grace) = grace.filter(|g| seconds < 0 || seconds > *g) {
                    a.invalid_value(
                        e,
                        seconds,
                        format!("must be non-negative and less than terminationGracePeriodSeconds ({grace})"),
                    );
                }
            }
        }
    }
    if !found {
        h.required(e, "must specify a handler type");
    }
}
