//! The checks of the levels baseline and restricted, in upstream's order and words. Upstream: pod-security-admission/policy.

use super::policy::{Level, LevelVersion};
use machinery::Value;
use machinery::meta::{annotations, at, bool_at, i64_at, list_at, str_at};
use std::collections::BTreeSet;

/// What a pod does that its namespace's level forbids.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Violation {
    pub reason: String,
    pub detail: String,
}

type Names<'a> = Vec<&'a str>;

/// All violations by a pod (or a template: anything with `metadata` and `spec`).
pub(super) fn violations(level: &LevelVersion, pod: &Value) -> Vec<Violation> {
    let minor = level.version.unwrap_or(u32::MAX);
    let windows = str_at(pod, &["spec", "os", "name"]) == "windows";
    let user_namespace = minor >= 35 && at(pod, &["spec", "hostUsers"]).and_then(Value::as_bool) == Some(false);
    let restricted = level.level == Level::Restricted;
    if level.level == Level::Privileged {
        return Vec::new();
    }
    let found = [
        app_armor(pod),
        // Where restricted has a stricter check of the same thing, that one is made instead.
        if restricted && minor >= 22 { None } else { capabilities_baseline(pod) },
        host_namespaces(pod),
        if restricted { None } else { host_path(pod) },
        host_ports(pod),
        if minor >= 34 { host_probes(pod) } else { None },
        privileged(pod),
        if user_namespace || (restricted && minor >= 35) { None } else { proc_mount(pod) },
        selinux(pod, minor),
        if restricted && minor >= 19 { None } else { seccomp_baseline(pod, minor) },
        sysctls(pod, minor),
        host_process(pod),
    ];
    let mut all: Vec<Violation> = found.into_iter().flatten().collect();
    if restricted {
        let linux = |from: u32| minor < from || !windows;
        let found = [
            if minor >= 8 && linux(25) { privilege_escalation(pod) } else { None },
            if minor >= 22 && linux(25) { capabilities_restricted(pod) } else { None },
            if minor >= 35 { proc_mount(pod) } else { None },
            restricted_volumes(pod),
            if user_namespace { None } else { run_as_non_root(pod) },
            if minor >= 23 && !user_namespace { run_as_user(pod) } else { None },
            if minor >= 19 && linux(25) { seccomp_restricted(pod) } else { None },
        ];
        all.extend(found.into_iter().flatten());
    }
    all
}

fn containers(pod: &Value) -> impl Iterator<Item = &Value> {
    ["initContainers", "containers", "ephemeralContainers"].into_iter().flat_map(|l| list_at(pod, &["spec", l]))
}

/// Names of the containers for which `bad` holds.
fn which<'a>(pod: &'a Value, bad: impl Fn(&'a Value) -> bool) -> Names<'a> {
    containers(pod).filter(|c| bad(c)).map(|c| str_at(c, &["name"])).collect()
}

fn quoted<S: AsRef<str>>(items: impl IntoIterator<Item = S>) -> String {
    items.into_iter().map(|i| format!("\"{}\"", i.as_ref())).collect::<Vec<_>>().join(", ")
}

fn plural<'a>(one: &'a str, many: &'a str, n: usize) -> &'a str {
    if n == 1 { one } else { many }
}

/// `container "a"`, `containers "a", "b"`.
fn the(names: &Names<'_>) -> String {
    format!("{} {}", plural("container", "containers", names.len()), quoted(names))
}

fn violation(reason: &str, detail: String) -> Option<Violation> {
    Some(Violation { reason: reason.into(), detail })
}

/// `pod and container "a"`: the setters of something bad.
fn setters(pod_sets: bool, names: &Names<'_>) -> String {
    let pod = pod_sets.then(|| "pod".to_owned());
    pod.into_iter().chain((!names.is_empty()).then(|| the(names))).collect::<Vec<_>>().join(" and ")
}

fn context<'a>(v: &'a Value, path: &[&str]) -> Option<&'a Value> {
    at(v, &["securityContext"]).and_then(|c| at(c, path))
}

fn spec(pod: &Value) -> &Value {
    pod.get("spec").unwrap_or(&Value::Null)
}

fn app_armor(pod: &Value) -> Option<Violation> {
    let bad = |v: &Value| {
        let profile = context(v, &["appArmorProfile"]).map(|p| str_at(p, &["type"]));
        profile.filter(|t| !matches!(*t, "RuntimeDefault" | "Localhost")).map(str::to_owned)
    };
    let names = which(pod, |c| bad(c).is_some());
    let mut values: BTreeSet<String> = containers(pod).filter_map(bad).collect();
    values.extend(bad(spec(pod)));
    let mut who = setters(bad(spec(pod)).is_some(), &names);
    let mut values: Vec<String> = values.into_iter().collect();
    let ok = |v: &str| v.is_empty() || v == "runtime/default" || v.starts_with("localhost/");
    let set = annotations(pod).iter().filter_map(|(k, v)| Some((k, v.as_str()?)));
    let wrong = set.filter(|(k, v)| k.starts_with("container.apparmor.security.beta.kubernetes.io/") && !ok(v));
    let wrong: Vec<String> = wrong.map(|(k, v)| format!("{k}={v:?}")).collect();
    if !wrong.is_empty() {
        let more = plural("annotation", "annotations", wrong.len());
        who = if who.is_empty() { more.to_owned() } else { format!("{who} and {more}") };
        values.extend(wrong);
    }
    if who.is_empty() {
        return None;
    }
    let reason = plural("forbidden AppArmor profile", "forbidden AppArmor profiles", values.len());
    violation(reason, format!("{who} must not set AppArmor profile type to {}", quoted(values)))
}

fn added(c: &Value) -> impl Iterator<Item = &str> {
    context(c, &["capabilities", "add"]).and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str)
}

fn capabilities_baseline(pod: &Value) -> Option<Violation> {
    const ALLOWED: [&str; 13] = [
        "AUDIT_WRITE",
        "CHOWN",
        "DAC_OVERRIDE",
        "FOWNER",
        "FSETID",
        "KILL",
        "MKNOD",
        "NET_BIND_SERVICE",
        "SETFCAP",
        "SETGID",
        "SETPCAP",
        "SETUID",
        "SYS_CHROOT",
    ];
    let bad: BTreeSet<&str> = containers(pod).flat_map(added).filter(|c| !ALLOWED.contains(c)).collect();
    let names = which(pod, |c| added(c).any(|c| !ALLOWED.contains(&c)));
    if names.is_empty() {
        return None;
    }
    let detail = format!("{} must not include {} in securityContext.capabilities.add", the(&names), quoted(bad));
    violation("non-default capabilities", detail)
}

fn capabilities_restricted(pod: &Value) -> Option<Violation> {
    let drops_all = |c: &Value| {
        let dropped = context(c, &["capabilities", "drop"]).and_then(Value::as_array);
        dropped.is_some_and(|d| d.iter().any(|x| x == "ALL"))
    };
    let mut details = Vec::new();
    let keeping = which(pod, |c| !drops_all(c));
    if !keeping.is_empty() {
        details.push(format!("{} must set securityContext.capabilities.drop=[\"ALL\"]", the(&keeping)));
    }
    let adding = which(pod, |c| added(c).any(|x| x != "NET_BIND_SERVICE"));
    if !adding.is_empty() {
        let bad: BTreeSet<&str> = containers(pod).flat_map(added).filter(|x| *x != "NET_BIND_SERVICE").collect();
        details.push(format!("{} must not include {} in securityContext.capabilities.add", the(&adding), quoted(bad)));
    }
    if details.is_empty() { None } else { violation("unrestricted capabilities", details.join("; ")) }
}

fn host_namespaces(pod: &Value) -> Option<Violation> {
    let set = ["hostNetwork", "hostPID", "hostIPC"].into_iter().filter(|f| bool_at(pod, &["spec", f]));
    let set: Vec<String> = set.map(|f| format!("{f}=true")).collect();
    if set.is_empty() { None } else { violation("host namespaces", set.join(", ")) }
}

fn host_path(pod: &Value) -> Option<Violation> {
    let volumes = list_at(pod, &["spec", "volumes"]).iter().filter(|v| at(v, &["hostPath"]).is_some());
    let names: Names<'_> = volumes.map(|v| str_at(v, &["name"])).collect();
    if names.is_empty() {
        return None;
    }
    violation("hostPath volumes", format!("{} {}", plural("volume", "volumes", names.len()), quoted(names)))
}

fn host_ports(pod: &Value) -> Option<Violation> {
    fn ports(c: &Value) -> impl Iterator<Item = i64> {
        list_at(c, &["ports"]).iter().filter_map(|p| i64_at(p, &["hostPort"])).filter(|p| *p != 0)
    }
    let names = which(pod, |c| ports(c).next().is_some());
    if names.is_empty() {
        return None;
    }
    let bad: BTreeSet<String> = containers(pod).flat_map(ports).map(|p| p.to_string()).collect();
    let (uses, word) = (plural("uses", "use", names.len()), plural("hostPort", "hostPorts", bad.len()));
    violation("hostPort", format!("{} {uses} {word} {}", the(&names), bad.into_iter().collect::<Vec<_>>().join(", ")))
}

fn host_probes(pod: &Value) -> Option<Violation> {
    fn hosts(c: &Value) -> impl Iterator<Item = &str> {
        const HANDLERS: [&[&str]; 5] =
            [&["livenessProbe"], &["readinessProbe"], &["startupProbe"], &["lifecycle", "postStart"], &["lifecycle", "preStop"]];
        let handlers = HANDLERS.into_iter().filter_map(|p| at(c, p));
        handlers.flat_map(|h| ["httpGet", "tcpSocket"].map(|k| str_at(h, &[k, "host"]))).filter(|h| !h.is_empty())
    }
    let names: BTreeSet<&str> = which(pod, |c| hosts(c).next().is_some()).into_iter().collect();
    if names.is_empty() {
        return None;
    }
    let names: Names<'_> = names.into_iter().collect();
    let bad: BTreeSet<&str> = containers(pod).flat_map(hosts).collect();
    let (uses, word) =
        (plural("uses", "use", names.len()), plural("probe or lifecycle host", "probe or lifecycle hosts", bad.len()));
    violation("probe or lifecycle host", format!("{} {uses} {word} {}", the(&names), quoted(bad)))
}

fn privileged(pod: &Value) -> Option<Violation> {
    let names = which(pod, |c| bool_at(c, &["securityContext", "privileged"]));
    if names.is_empty() {
        None
    } else {
        violation("privileged", format!("{} must not set securityContext.privileged=true", the(&names)))
    }
}

fn proc_mount(pod: &Value) -> Option<Violation> {
    let kind = |c: &'_ Value| str_at(c, &["securityContext", "procMount"]).to_owned();
    let bad = |k: &String| !k.is_empty() && k != "Default";
    let names = which(pod, |c| bad(&kind(c)));
    if names.is_empty() {
        return None;
    }
    let values: BTreeSet<String> = containers(pod).map(kind).filter(bad).collect();
    violation("procMount", format!("{} must not set securityContext.procMount to {}", the(&names), quoted(values)))
}

fn selinux(pod: &Value, minor: u32) -> Option<Violation> {
    let bad_type = |t: &str| {
        !(matches!(t, "" | "container_t" | "container_init_t" | "container_kvm_t") || (minor >= 31 && t == "container_engine_t"))
    };
    let field = |v: &Value, f: &str| str_at(v, &["securityContext", "seLinuxOptions", f]).to_owned();
    let bad = |v: &Value| bad_type(&field(v, "type")) || !field(v, "user").is_empty() || !field(v, "role").is_empty();
    let names = which(pod, bad);
    let who = setters(bad(spec(pod)), &names);
    if who.is_empty() {
        return None;
    }
    let everyone = || std::iter::once(spec(pod)).chain(containers(pod));
    let types: BTreeSet<String> = everyone().map(|v| field(v, "type")).filter(|t| bad_type(t)).collect();
    let mut data = Vec::new();
    if !types.is_empty() {
        data.push(format!("{} {}", plural("type", "types", types.len()), quoted(types)));
    }
    for f in ["user", "role"] {
        if everyone().any(|v| !field(v, f).is_empty()) {
            data.push(format!("{f} may not be set"));
        }
    }
    violation("seLinuxOptions", format!("{who} set forbidden securityContext.seLinuxOptions: {}", data.join("; ")))
}

fn seccomp(v: &Value) -> Option<&str> {
    context(v, &["seccompProfile"]).map(|p| str_at(p, &["type"]))
}

fn seccomp_ok(t: &str) -> bool {
    matches!(t, "Localhost" | "RuntimeDefault")
}

/// Somebody sets a profile that is forbidden.
fn seccomp_explicit(pod: &Value) -> Option<Violation> {
    let bad = |v: &Value| seccomp(v).is_some_and(|t| !seccomp_ok(t));
    let names = which(pod, bad);
    let who = setters(bad(spec(pod)), &names);
    if who.is_empty() {
        return None;
    }
    let everyone = std::iter::once(spec(pod)).chain(containers(pod));
    let values: BTreeSet<&str> = everyone.filter_map(seccomp).filter(|t| !seccomp_ok(t)).collect();
    violation("seccompProfile", format!("{who} must not set securityContext.seccompProfile.type to {}", quoted(values)))
}

fn seccomp_baseline(pod: &Value, minor: u32) -> Option<Violation> {
    if minor >= 19 {
        return seccomp_explicit(pod);
    }
    let ok = |v: &str| v == "runtime/default" || v == "docker/default" || v.starts_with("localhost/");
    let mut keys = vec!["seccomp.security.alpha.kubernetes.io/pod".to_owned()];
    keys.extend(containers(pod).map(|c| format!("container.seccomp.security.alpha.kubernetes.io/{}", str_at(c, &["name"]))));
    let set = keys.iter().filter_map(|k| Some((k, annotations(pod).get(k)?.as_str()?)));
    let bad: BTreeSet<String> = set.filter(|(_, v)| !ok(v)).map(|(k, v)| format!("{k}={v:?}")).collect();
    if bad.is_empty() {
        return None;
    }
    let word = plural("annotation", "annotations", bad.len());
    violation("seccompProfile", format!("forbidden {word} {}", bad.into_iter().collect::<Vec<_>>().join(", ")))
}

fn seccomp_restricted(pod: &Value) -> Option<Violation> {
    if let Some(v) = seccomp_explicit(pod) {
        return Some(v);
    }
    let names = if seccomp(spec(pod)).is_some() { Vec::new() } else { which(pod, |c| seccomp(c).is_none()) };
    if names.is_empty() {
        return None;
    }
    let tail = "must set securityContext.seccompProfile.type to \"RuntimeDefault\" or \"Localhost\"";
    violation("seccompProfile", format!("pod or {} {tail}", the(&names)))
}

fn sysctls(pod: &Value, minor: u32) -> Option<Violation> {
    let ok = |name: &str| match name {
        "kernel.shm_rmid_forced"
        | "net.ipv4.ip_local_port_range"
        | "net.ipv4.tcp_syncookies"
        | "net.ipv4.ping_group_range"
        | "net.ipv4.ip_unprivileged_port_start" => true,
        "net.ipv4.ip_local_reserved_ports" => minor >= 27,
        "net.ipv4.tcp_keepalive_time"
        | "net.ipv4.tcp_fin_timeout"
        | "net.ipv4.tcp_keepalive_intvl"
        | "net.ipv4.tcp_keepalive_probes" => minor >= 29,
        "net.ipv4.tcp_rmem" | "net.ipv4.tcp_wmem" => minor >= 32,
        _ => false,
    };
    let set = list_at(pod, &["spec", "securityContext", "sysctls"]).iter().map(|s| str_at(s, &["name"]));
    let bad: Vec<&str> = set.filter(|s| !ok(s)).collect();
    if bad.is_empty() { None } else { violation("forbidden sysctls", bad.join(", ")) }
}

fn host_process(pod: &Value) -> Option<Violation> {
    let bad = |v: &Value| bool_at(v, &["securityContext", "windowsOptions", "hostProcess"]);
    let who = setters(bad(spec(pod)), &which(pod, bad));
    if who.is_empty() {
        return None;
    }
    violation("hostProcess", format!("{who} must not set securityContext.windowsOptions.hostProcess=true"))
}

fn privilege_escalation(pod: &Value) -> Option<Violation> {
    let names = which(pod, |c| context(c, &["allowPrivilegeEscalation"]).and_then(Value::as_bool) != Some(false));
    if names.is_empty() {
        return None;
    }
    violation(
        "allowPrivilegeEscalation != false",
        format!("{} must set securityContext.allowPrivilegeEscalation=false", the(&names)),
    )
}

fn restricted_volumes(pod: &Value) -> Option<Violation> {
    const ALLOWED: [&str; 9] =
        ["configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "image", "persistentVolumeClaim", "projected", "secret"];
    let kind = |v: &Value| {
        let keys = v.as_object().into_iter().flatten().filter(|(k, s)| *k != "name" && !s.is_null());
        keys.map(|(k, _)| k.clone()).next().unwrap_or_else(|| "unknown".to_owned())
    };
    let bad: Vec<&Value> = list_at(pod, &["spec", "volumes"]).iter().filter(|v| !ALLOWED.contains(&kind(v).as_str())).collect();
    if bad.is_empty() {
        return None;
    }
    let kinds: BTreeSet<String> = bad.iter().map(|v| kind(v)).collect();
    let names: Names<'_> = bad.iter().map(|v| str_at(v, &["name"])).collect();
    let (volume, uses) = (plural("volume", "volumes", names.len()), plural("uses", "use", names.len()));
    let word = plural("restricted volume type", "restricted volume types", kinds.len());
    violation("restricted volume types", format!("{volume} {} {uses} {word} {}", quoted(names), quoted(kinds)))
}

fn run_as_non_root(pod: &Value) -> Option<Violation> {
    let set = |v: &Value| context(v, &["runAsNonRoot"]).and_then(Value::as_bool);
    let pod_value = set(spec(pod));
    let who = setters(pod_value == Some(false), &which(pod, |c| set(c) == Some(false)));
    if !who.is_empty() {
        return violation("runAsNonRoot != true", format!("{who} must not set securityContext.runAsNonRoot=false"));
    }
    let names = if pod_value == Some(true) { Vec::new() } else { which(pod, |c| set(c).is_none()) };
    if names.is_empty() {
        return None;
    }
    violation("runAsNonRoot != true", format!("pod or {} must set securityContext.runAsNonRoot=true", the(&names)))
}

fn run_as_user(pod: &Value) -> Option<Violation> {
    let root = |v: &Value| context(v, &["runAsUser"]).and_then(Value::as_i64) == Some(0);
    let who = setters(root(spec(pod)), &which(pod, root));
    if who.is_empty() { None } else { violation("runAsUser=0", format!("{who} must not set runAsUser=0")) }
}
