//! Ingress and IngressClass.

use crate::at::{At, set_default, value_at};
use crate::core::service::ingress_addresses;
use crate::print::{self, AGE, NAME, cells, col};
use crate::rules::Rules;
use crate::strategy::Column;
use crate::{check, names};
use machinery::field::{Error, ErrorList, Path};
use machinery::validation::{domain_prefixed_path, parse_ip_sloppy, path_segment_name};
use machinery::{Value, json, meta};

static COLUMNS: [Column; 6] = [
    NAME,
    col("Class", "The name of the IngressClass resource that should be used for additional configuration"),
    col("Hosts", "Hosts that incoming requests are matched against before the ingress rule"),
    col("Address", "Address is a list containing ingress points for the load-balancer"),
    col("Ports", "Ports of TLS configurations that open"),
    AGE,
];

pub static INGRESS: Rules = Rules {
    create: |obj, _| meta::set(obj, &["status"], json!({"loadBalancer": {}})),
    validate: |root, old, e| {
        spec(root.get("spec"), old, e);
        let (annotation, class) =
            (root.at(&["metadata", "annotations"]).key("kubernetes.io/ingress.class"), root.at(&["spec", "ingressClassName"]));
        if old.is_none() && annotation.present() && class.present() && annotation.str() != class.str() {
            let path = Path::new("annotations").child("kubernetes.io/ingress.class");
            e.push(Error::invalid(&path, annotation.str(), "must match `ingressClassName` when both are specified"));
        }
    },
    validate_status: |root, _, e| {
        for i in root.at(&["status", "loadBalancer", "ingress"]).items() {
            if !i.get("ip").is_empty() {
                i.get("ip").legacy_ip(e);
            }
            host_name(i.get("hostname"), e);
        }
    },
    warnings: |root, _| {
        let annotation = root.at(&["metadata", "annotations"]).key("kubernetes.io/ingress.class");
        if annotation.present() {
            return vec![
                "annotation \"kubernetes.io/ingress.class\" is deprecated, please use 'spec.ingressClassName' instead".into(),
            ];
        }
        Vec::new()
    },
    columns: &COLUMNS,
    cells: |obj, now| {
        let tls = !meta::list_at(obj, &["spec", "tls"]).is_empty();
        cells([
            print::name(obj),
            print::text_or_none(obj, &["spec", "ingressClassName"]),
            hosts(obj).into(),
            ingress_addresses(obj).join(",").into(),
            if tls { "80, 443" } else { "80" }.into(),
            print::age(obj, now),
        ])
    },
    ..Rules::WITH_STATUS
};

fn hosts(obj: &Value) -> String {
    let rules = meta::list_at(obj, &["spec", "rules"]);
    let mut list = Vec::new();
    let mut more = false;
    for r in rules {
        more |= list.len() == 3;
        let host = meta::str_at(r, &["host"]);
        if !more && !host.is_empty() {
            list.push(host);
        }
    }
    let text = list.join(",");
    match (list.is_empty(), more) {
        (true, _) => "*".into(),
        (_, true) => format!("{text} + {} more...", rules.len() - 3),
        _ => text,
    }
}

fn host_name(h: At, e: &mut ErrorList) {
    if h.is_empty() {
        return;
    }
    h.check(e, check::dns1123_subdomain);
    if parse_ip_sloppy(h.str()).is_some() {
        h.invalid(e, "must be a DNS name, not an IP address");
    }
}

fn maybe_wildcard(h: At, e: &mut ErrorList) {
    if h.str().contains('*') {
        h.check(e, machinery::validation::wildcard_dns1123_subdomain)
    } else {
        h.check(e, check::dns1123_subdomain)
    }
}

fn spec(s: At, old: Option<&Value>, e: &mut ErrorList) {
    let (rules, backend_at) = (s.get("rules"), s.get("defaultBackend"));
    if rules.is_empty() && !backend_at.present() {
        s.invalid_value(e, rules.v.clone(), "either `defaultBackend` or `rules` must be specified");
    }
    if backend_at.present() {
        backend(backend_at, e);
    }
    for r in rules.items() {
        let host = r.get("host");
        if !host.is_empty() {
            if parse_ip_sloppy(host.str()).is_some() {
                host.invalid(e, "must be a DNS name, not an IP address");
            }
            maybe_wildcard(host, e);
        }
        if let Some(http) = r.get("http").some() {
            http.get("paths").need(e, "");
            http.get("paths").items().for_each(|p| http_path(p, e));
        }
    }
    for t in s.get("tls").items() {
        t.get("hosts").items().for_each(|h| maybe_wildcard(h, e));
        if old.is_none_or(|o| !crate::at::same(value_at(o, &["spec", "tls"]), s.get("tls").v)) {
            t.get("secretName").check_if_set(e, names::subdomain);
        }
    }
    if s.has("ingressClassName") {
        s.get("ingressClassName").check(e, names::subdomain);
    }
}

fn http_path(p: At, e: &mut ErrorList) {
    let (kind, path) = (p.get("pathType"), p.get("path"));
    if !kind.present() {
        return kind.required(e, "pathType must be specified");
    }
    const ABSOLUTE: &str = "must be an absolute path";
    match kind.str() {
        "Exact" | "Prefix" => {
            if !path.str().starts_with('/') {
                path.invalid_str(e, ABSOLUTE);
            }
            for part in ["//", "/./", "/../", "%2f", "%2F"] {
                if path.str().contains(part) {
                    path.invalid(e, format!("must not contain '{part}'"));
                }
            }
            for end in ["/..", "/."] {
                if path.str().ends_with(end) {
                    path.invalid(e, format!("cannot end with '{end}'"));
                }
            }
        }
        "ImplementationSpecific" => {
            if !path.is_empty() && !path.str().starts_with('/') {
                path.invalid(e, ABSOLUTE);
            }
        }
        _ => kind.not_supported(e, &["Exact", "Prefix", "ImplementationSpecific"]),
    }
    backend(p.get("backend"), e);
}

fn backend(b: At, e: &mut ErrorList) {
    let (resource, service) = (b.get("resource"), b.get("service"));
    match (resource.present(), service.present()) {
        (true, true) => b.invalid_value(e, "", "cannot set both resource and service backends"),
        (true, false) => reference(resource, e),
        (false, false) => b.invalid_value(e, "", "resource or service backend is required"),
        (false, true) => {
            service.get("name").need_check(e, check::dns1123_label);
            let (name, number) = (service.at(&["port", "name"]), service.at(&["port", "number"]));
            match (!name.is_empty(), number.int() != 0) {
                (true, true) => b.invalid_value(e, "", "cannot set both port name & port number"),
                (true, false) => name.check(e, check::port_name),
                (false, true) => number.port_num(e),
                (false, false) => b.required(e, "port name or number is required"),
            }
        }
    }
}

/// A typed reference: group, kind, name.
fn reference(r: At, e: &mut ErrorList) {
    if r.has("apiGroup") {
        r.get("apiGroup").check(e, check::dns1123_subdomain);
    }
    for f in ["kind", "name"] {
        if r.get(f).need(e, "") {
            r.get(f).messages(e, path_segment_name(r.get(f).str(), false));
        }
    }
}

static CLASS_COLUMNS: [Column; 4] = [
    NAME,
    col("Controller", "Controller that is responsible for handling this class"),
    col("Parameters", "A reference to a resource with additional parameters"),
    AGE,
];

pub static INGRESS_CLASS: Rules = Rules {
    generation: true,
    default: |obj| {
        if meta::at(obj, &["spec", "parameters"]).is_some_and(Value::is_object) {
            set_default(obj, &["spec", "parameters", "scope"], "Cluster");
        }
    },
    validate: |root, old, e| {
        let s = root.get("spec");
        let controller = s.get("controller");
        if let Some(old) = old {
            controller.immutable(e, value_at(old, &["spec", "controller"]));
        }
        if controller.len() > 250 {
            controller.too_long(e, 250);
        }
        e.extend(domain_prefixed_path(&controller.path(), controller.str()));
        let p = s.get("parameters");
        if !p.present() {
            return;
        }
        reference(p, e);
        let (scope, namespace) = (p.get("scope"), p.get("namespace"));
        match scope.str() {
            _ if !scope.present() => scope.required(e, ""),
            "Namespace" if !namespace.present() => namespace.required(e, "`parameters.scope` is set to 'Namespace'"),
            "Namespace" => namespace.check(e, check::dns1123_label),
            "Cluster" if namespace.present() => namespace.forbidden(e, "`parameters.scope` is set to 'Cluster'"),
            "Cluster" => {}
            _ => scope.not_supported(e, &["Cluster", "Namespace"]),
        }
    },
    columns: &CLASS_COLUMNS,
    cells: |obj, now| {
        let default =
            meta::annotations(obj).get("ingressclass.kubernetes.io/is-default-class").and_then(Value::as_str) == Some("true");
        let name = meta::name(obj);
        let parameters = meta::at(obj, &["spec", "parameters"]).map_or_else(
            || print::NONE.to_owned(),
            |p| {
                let group = meta::at(p, &["apiGroup"]).and_then(Value::as_str).map_or(String::new(), |g| format!(".{g}"));
                format!("{}{group}/{}", meta::str_at(p, &["kind"]), meta::str_at(p, &["name"]))
            },
        );
        cells([
            if default { format!("{name} (default)") } else { name.to_owned() }.into(),
            print::text(obj, &["spec", "controller"]),
            parameters.into(),
            print::age(obj, now),
        ])
    },
    ..Rules::BASE
};
