//! Security contexts of pods and containers: ids, seccomp, AppArmor, sysctls, Windows options.

use super::volumes::local_descending;
use crate::at::At;
use machinery::Value;
use machinery::field::ErrorList;
use std::collections::HashSet;

const MAX_ID: i64 = i32::MAX as i64;

fn ids(sc: At, e: &mut ErrorList, fields: &'static [&'static str]) {
    for f in fields {
        if sc.has(f) {
            sc.get(f).in_range(e, 0, MAX_ID);
        }
    }
}

fn seccomp(at: At, e: &mut ErrorList) {
    if !at.present() {
        return;
    }
    let (kind, profile) = (at.get("type"), at.get("localhostProfile"));
    if kind.need(e, "type is required when seccompProfile is set") {
        kind.one_of(e, &["Localhost", "RuntimeDefault", "Unconfined"]);
    }
    if kind.str() == "Localhost" {
        if profile.present() {
            local_descending(profile, e);
        } else {
            profile.required(e, "must be set when seccomp type is Localhost");
        }
    } else if profile.present() {
        profile.invalid_value(e, at.v.clone(), "can only be set when seccomp type is Localhost");
    }
}

/// Where the annotation that seccomp once was is still there, it says what the field says.
pub fn seccomp_annotations(annotations: At, spec: At, e: &mut ErrorList) {
    let compare = |key: &str, at: At, e: &mut ErrorList| {
        let Some(text) = annotations.v.get(key).and_then(Value::as_str) else { return };
        let (kind, profile) = (at.get("type"), at.get("localhostProfile"));
        let matches = match kind.str() {
            "Unconfined" => text == "unconfined",
            "RuntimeDefault" => text == "runtime/default" || text == "docker/default",
            "Localhost" => match text.strip_prefix("localhost/") {
                Some(p) if profile.present() && p == profile.str() => true,
                Some(_) => return profile.forbidden(e, "seccomp profile in annotation and field must match"),
                None => false,
            },
            _ => true,
        };
        if !matches {
            kind.forbidden(e, "seccomp type in annotation and field must match");
        }
    };
    compare("seccomp.security.alpha.kubernetes.io/pod", spec.at(&["securityContext", "seccompProfile"]), e);
    for c in all_containers(spec) {
        let key = format!("container.seccomp.security.alpha.kubernetes.io/{}", c.get("name").str());
        compare(&key, c.at(&["securityContext", "seccompProfile"]), e);
    }
}

pub fn app_armor(at: At, e: &mut ErrorList) {
    if !at.present() {
        return;
    }
    const NEED: &str = "must be set when AppArmor type is Localhost";
    let (kind, profile) = (at.get("type"), at.get("localhostProfile"));
    match kind.str() {
        "Localhost" => {
            let text = profile.str();
            if !profile.present() {
                profile.required(e, NEED);
            } else if text.trim() != text {
                profile.invalid(e, "must not be padded with whitespace");
            } else if text.is_empty() {
                profile.required(e, NEED);
            }
            if text.len() > 4095 {
                profile.too_long(e, 4095);
            }
        }
        "RuntimeDefault" | "Unconfined" => {
            if profile.present() {
                profile.invalid(e, "can only be set when AppArmor type is Localhost");
            }
        }
        "" => kind.required(e, "type is required when appArmorProfile is set"),
        _ => kind.not_supported(e, &["Localhost", "RuntimeDefault", "Unconfined"]),
    }
}

/// `securityContext` of a container.
pub fn container(sc: At, e: &mut ErrorList, host_users: bool) {
    if !sc.present() {
        return;
    }
    ids(sc, e, &["runAsUser", "runAsGroup"]);
    let mount = sc.get("procMount");
    if mount.present() {
        mount.one_of(e, &["Default", "Unmasked"]);
        if host_users && mount.str() == "Unmasked" {
            mount.invalid(e, "`hostUsers` must be false to use `Unmasked`");
        }
    }
    seccomp(sc.get("seccompProfile"), e);
    if sc.get("allowPrivilegeEscalation").v == &Value::Bool(false) {
        if sc.get("privileged").bool() {
            sc.invalid(e, "cannot set `allowPrivilegeEscalation` to false and `privileged` to true");
        }
        if sc.at(&["capabilities", "add"]).items().any(|c| c.str() == "CAP_SYS_ADMIN") {
            sc.invalid(e, "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN");
        }
    }
    windows_options(sc.get("windowsOptions"), e);
    app_armor(sc.get("appArmorProfile"), e);
}

fn windows_options(w: At, e: &mut ErrorList) {
    if !w.present() {
        return;
    }
    for f in ["gmsaCredentialSpecName", "gmsaCredentialSpec"] {
        if w.has(f) && w.get(f).is_empty() {
            w.get(f).invalid(e, "gmsaCredentialSpec cannot be an empty string");
        }
    }
    let spec = w.get("gmsaCredentialSpec");
    if spec.len() > 64 * 1024 {
        spec.too_long(e, 64 * 1024);
    }
    if let Some(user) = w.get("runAsUserName").some() {
        let text = user.str();
        if text.is_empty() {
            user.invalid(e, "runAsUserName cannot be an empty string");
        } else if text.contains(|c: char| c.is_ascii_control()) {
            user.invalid(e, "runAsUserName cannot contain control characters");
        } else if text.split('\\').count() > 2 {
            user.invalid(e, "runAsUserName cannot contain more than one backslash");
        }
    }
}

fn is_sysctl(name: &str) -> bool {
    let end = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit();
    name.len() <= 253
        && name.split(['.', '/']).all(|s| {
            let b = s.as_bytes();
            b.first().is_some_and(|c| end(*c))
                && b.last().is_some_and(|c| end(*c))
                && b.iter().all(|c| end(*c) || b"-_".contains(c))
        })
}

/// The namespace that a sysctl belongs to.
fn sysctl_namespace(name: &str) -> &'static str {
    let name = name.replace('/', ".");
    if ["kernel.shm", "kernel.msg", "fs.mqueue."].iter().any(|p| name.starts_with(p)) || name == "kernel.sem" {
        "ipc"
    } else if name.starts_with("net.") {
        "net"
    } else {
        ""
    }
}

fn sysctls(at: At, e: &mut ErrorList, spec: At, check_host: bool) {
    let mut seen = HashSet::new();
    for s in at.items() {
        let name = s.get("name");
        if name.need(e, "") {
            if !is_sysctl(name.str()) {
                const F: &str = "[a-z0-9]([-_a-z0-9]*[a-z0-9])?";
                name.invalid(e, format!("must have at most 253 characters and match regex ^({F}[\\./])*{F}$"));
            } else if seen.contains(name.str()) {
                name.duplicate(e);
            }
        }
        if check_host {
            match sysctl_namespace(name.str()) {
                "net" if spec.get("hostNetwork").bool() => name.invalid(e, "may not be specified when 'hostNetwork' is true"),
                "ipc" if spec.get("hostIPC").bool() => name.invalid(e, "may not be specified when 'hostIPC' is true"),
                _ => {}
            }
        }
        seen.insert(name.str());
    }
}

/// `securityContext` of a pod spec.
pub fn pod(spec: At, e: &mut ErrorList, creating: bool) {
    let sc = spec.get("securityContext");
    ids(sc, e, &["fsGroup", "runAsUser", "runAsGroup"]);
    for g in sc.get("supplementalGroups").items() {
        g.in_range(e, 0, MAX_ID);
    }
    let share = spec.get("shareProcessNamespace");
    if share.bool() && spec.get("hostPID").bool() {
        sc.get("shareProcessNamespace").with(share.v).invalid(e, "ShareProcessNamespace and HostPID cannot both be enabled");
    }
    sysctls(sc.get("sysctls"), e, spec, creating);
    for (f, values) in [
        ("fsGroupChangePolicy", ["OnRootMismatch", "Always"]),
        ("supplementalGroupsPolicy", ["Merge", "Strict"]),
        ("seLinuxChangePolicy", ["Recursive", "MountOption"]),
    ] {
        if sc.has(f) {
            sc.get(f).one_of(e, &values);
        }
    }
    seccomp(sc.get("seccompProfile"), e);
    windows_options(sc.get("windowsOptions"), e);
    app_armor(sc.get("appArmorProfile"), e);
}

/// Every container of a spec, at its path.
pub fn all_containers(spec: At) -> impl Iterator<Item = At> {
    ["initContainers", "containers", "ephemeralContainers"].into_iter().flat_map(move |l| spec.get(l).items())
}

/// `spec.os` and what it forbids.
pub fn operating_system(spec: At, e: &mut ErrorList) {
    let os = spec.get("os");
    if !os.present() {
        return;
    }
    let name = os.get("name");
    if !name.need(e, "") {
        return;
    }
    if !os.with(name.v).one_of(e, &["linux", "windows"]) {
        return;
    }
    let forbid = |at: At, e: &mut ErrorList, detail: &str| {
        if at.present() && !(at.v.is_array() && at.is_empty()) && at.v != &Value::Bool(false) {
            at.forbidden(e, detail);
        }
    };
    let sc = spec.get("securityContext");
    if name.str() == "linux" {
        const NO: &str = "windows options cannot be set for a linux pod";
        forbid(sc.get("windowsOptions"), e, NO);
        for c in all_containers(spec) {
            forbid(c.at(&["securityContext", "windowsOptions"]), e, NO);
        }
        return;
    }
    const NO: &str = "cannot be set for a windows pod";
    for f in ["appArmorProfile", "seLinuxOptions"] {
        forbid(sc.get(f), e, NO);
    }
    if spec.has("hostUsers") {
        spec.get("hostUsers").forbidden(e, NO);
    }
    for f in ["hostPID", "hostIPC"] {
        forbid(spec.get(f), e, NO);
    }
    for f in ["seccompProfile", "fsGroup", "fsGroupChangePolicy", "sysctls"] {
        forbid(sc.get(f), e, NO);
    }
    if spec.has("shareProcessNamespace") {
        spec.get("shareProcessNamespace").forbidden(e, NO);
    }
    for f in ["runAsUser", "runAsGroup", "supplementalGroups", "supplementalGroupsPolicy", "seLinuxChangePolicy"] {
        forbid(sc.get(f), e, NO);
    }
    for c in all_containers(spec) {
        let sc = c.get("securityContext");
        for f in [
            "appArmorProfile",
            "seLinuxOptions",
            "seccompProfile",
            "capabilities",
            "readOnlyRootFilesystem",
            "privileged",
            "allowPrivilegeEscalation",
            "procMount",
            "runAsUser",
            "runAsGroup",
        ] {
            if sc.has(f) {
                sc.get(f).forbidden(e, NO);
            }
        }
    }
}

/// What `hostUsers: false` excludes.
pub fn host_users(spec: At, e: &mut ErrorList, creating: bool) {
    const NO: &str = "when `hostUsers` is false";
    if spec.get("hostUsers").v != &Value::Bool(false) {
        return;
    }
    for (field, path) in [("hostNetwork", "hostNetwork"), ("hostPID", "HostPID"), ("hostIPC", "HostIPC")] {
        if spec.get(field).bool() {
            spec.get(path).forbidden(e, NO);
        }
    }
    for c in all_containers(spec).filter(|c| creating && !c.get("volumeDevices").is_empty()) {
        c.get("volumeDevices").forbidden(e, NO);
    }
}
