//! CertificateSigningRequest: who asked is what the server saw; conditions and certificate have doors of their own.

use crate::at::{At, copy_from, list_mut, value_at};
use crate::check;
use crate::print::{self, AGE, NAME, cells, col};
use crate::strategy::{Column, Context, PrinterRow, Requester, Strategy};
use base64::Engine;
use machinery::field::{Error, ErrorList, Path};
use machinery::{Value, duration, json, meta, time};

pub struct CertificateSigningRequest;

static COLUMNS: [Column; 6] =
    [NAME, AGE, col("SignerName", ""), col("Requestor", ""), col("RequestedDuration", ""), col("Condition", "")];

const USAGES: [&str; 23] = [
    "signing",
    "digital signature",
    "content commitment",
    "key encipherment",
    "key agreement",
    "data encipherment",
    "cert sign",
    "crl sign",
    "encipher only",
    "decipher only",
    "any",
    "server auth",
    "client auth",
    "code signing",
    "email protection",
    "s/mime",
    "ipsec end system",
    "ipsec tunnel",
    "ipsec user",
    "timestamping",
    "ocsp signing",
    "microsoft sgc",
    "netscape sgc",
];

/// Writes who asks into a new request.
fn set_requester(obj: &mut Value, username: &str, r: &Requester) {
    let spec = meta::entry(obj, &["spec"]);
    for (f, v) in [("username", username), ("uid", &r.uid)] {
        if !v.is_empty() {
            spec.insert(f.into(), v.into());
        }
    }
    if !r.groups.is_empty() {
        spec.insert("groups".into(), json!(r.groups));
    }
    if !r.extra.is_empty() {
        spec.insert("extra".into(), json!(r.extra));
    }
}

fn conditions_of<'a>(obj: &'a Value, kind: &str) -> Vec<&'a Value> {
    meta::list_at(obj, &["status", "conditions"]).iter().filter(|c| meta::str_at(c, &["type"]) == kind).collect()
}

/// Times of new conditions are the server's.
fn stamp_conditions(obj: &mut Value, old: &Value, now: i64) {
    let Ok(now) = time::Timestamp::from_second(now) else { return };
    let now = time::format(now);
    for c in list_mut(obj, &["status", "conditions"]).filter(|c| c.is_object()) {
        if meta::str_at(c, &["lastUpdateTime"]).is_empty() {
            meta::set(c, &["lastUpdateTime"], now.as_str().into());
        }
        if meta::str_at(c, &["lastTransitionTime"]).is_empty() {
            let same = |o: &&&Value| meta::str_at(o, &["status"]) == meta::str_at(c, &["status"]);
            let before = conditions_of(old, meta::str_at(c, &["type"]));
            let when = before.iter().find(same).map(|o| meta::str_at(o, &["lastTransitionTime"])).filter(|t| !t.is_empty());
            let when = when.unwrap_or(&now).to_owned();
            meta::set(c, &["lastTransitionTime"], when.into());
        }
    }
}

fn validate(root: At, e: &mut ErrorList) {
    let s = root.get("spec");
    let request = base64::engine::general_purpose::STANDARD.decode(s.get("request").str()).unwrap_or_default();
    let pem = String::from_utf8_lossy(&request);
    if !pem.contains("-----BEGIN CERTIFICATE REQUEST-----") {
        s.get("request").invalid(e, "PEM block type must be CERTIFICATE REQUEST");
    }
    let usages = s.get("usages");
    usages.need(e, "");
    let mut seen = Vec::new();
    for u in usages.items() {
        u.one_of(e, &USAGES);
        if seen.contains(&u.str()) {
            u.duplicate(e);
        }
        seen.push(u.str());
    }
    let signer = s.get("signerName");
    if signer.str() == "kubernetes.io/legacy-unknown" {
        signer.invalid(e, "the legacy signerName is not allowed via this API version");
    } else {
        signer_name(signer, e);
    }
    let seconds = s.get("expirationSeconds");
    if seconds.opt_int().is_some_and(|n| n < 600) {
        seconds.invalid(e, "may not specify a duration less than 600 seconds (10 minutes)");
    }
    let conditions = root.at(&["status", "conditions"]);
    let mut types: Vec<&str> = Vec::new();
    for c in conditions.items() {
        let (kind, status) = (c.get("type"), c.get("status"));
        kind.need(e, "");
        let decided = ["Approved", "Denied", "Failed"].contains(&kind.str());
        status.need_one_of(e, if decided { &["True"] } else { &["True", "False", "Unknown"] });
        let excludes = match kind.str() {
            "Approved" => "Denied",
            "Denied" => "Approved",
            _ => "",
        };
        if types.contains(&excludes) {
            conditions.invalid_value(e, kind.str(), "Approved and Denied conditions are mutually exclusive");
        }
        if types.contains(&kind.str()) {
            kind.duplicate(e);
        }
        types.push(kind.str());
    }
}

/// `domain/path`, both well-formed.
fn signer_name(at: At, e: &mut ErrorList) {
    if !at.need(e, "") {
        return;
    }
    match at.str().split_once('/') {
        Some((domain, path)) if !path.contains('/') => {
            at.messages(e, check::dns1123_subdomain(domain));
            at.messages(e, check::dns1123_subdomain(path));
            if !domain.contains('.') {
                at.invalid(e, "should be a domain with at least two segments separated by dots");
            }
        }
        _ => at.invalid(e, "must be a fully qualified domain and path of the form 'example.com/signer-name'"),
    }
}

fn update(root: At, old: &Value, e: &mut ErrorList, approval: bool, certificate: bool) {
    let path = Path::new("status").child("conditions");
    for kind in ["Approved", "Denied", "Failed"] {
        let (new, before) = (conditions_of(root.v, kind), conditions_of(old, kind));
        if new.len() < before.len() {
            e.push(Error::forbidden(&path, format!("updates may not remove a condition of type {kind:?}")));
        } else if !approval && kind != "Failed" && new.len() > before.len() {
            e.push(Error::forbidden(&path, format!("updates may not add a condition of type {kind:?}")));
        } else if !approval && kind != "Failed" && new != before {
            e.push(Error::forbidden(&path, format!("updates may not modify a condition of type {kind:?}")));
        }
    }
    let at = root.at(&["status", "certificate"]);
    let before = value_at(old, &["status", "certificate"]);
    if !crate::at::same(at.v, before) {
        if !certificate {
            at.forbidden(e, "updates may not set certificate content");
        } else if before.as_str().is_some_and(|s| !s.is_empty()) {
            at.forbidden(e, "updates may not modify existing certificate content");
        }
    }
}

impl Strategy for CertificateSigningRequest {
    fn default(&self, obj: &mut Value) {
        for c in list_mut(obj, &["status", "conditions"]).filter(|c| c.is_object()) {
            crate::at::set_default(c, &["status"], "True");
        }
    }
    fn prepare_for_create(&self, cx: &Context, obj: &mut Value) {
        for f in ["username", "uid", "groups", "extra"] {
            meta::remove(obj, &["spec", f]);
        }
        meta::remove(obj, &["status"]);
        set_requester(obj, &cx.user, &cx.requester);
    }
    fn validate(&self, _: &Context, obj: &Value) -> ErrorList {
        let mut e = ErrorList::new();
        validate(At::root(obj), &mut e);
        e
    }
    fn validate_name(&self, _: &str, _: bool) -> Vec<String> {
        Vec::new()
    }
    fn prepare_for_update(&self, cx: &Context, obj: &mut Value, old: &Value) {
        copy_from(obj, old, &["spec"]);
        if cx.subresource == "approval" {
            stamp_conditions(obj, old, cx.now);
            let conditions = value_at(obj, &["status", "conditions"]).clone();
            copy_from(obj, old, &["status"]);
            if !conditions.is_null() {
                meta::set(obj, &["status", "conditions"], conditions);
            }
        } else {
            copy_from(obj, old, &["status"]);
        }
    }
    fn validate_update(&self, cx: &Context, obj: &Value, old: &Value) -> ErrorList {
        let mut e = self.validate(cx, obj);
        update(At::root(obj), old, &mut e, cx.subresource == "approval", false);
        e
    }
    fn prepare_for_status_update(&self, cx: &Context, obj: &mut Value, old: &Value) {
        copy_from(obj, old, &["spec"]);
        for kind in ["Approved", "Denied"] {
            let before: Vec<Value> = conditions_of(old, kind).into_iter().cloned().collect();
            if conditions_of(obj, kind).len() == before.len() {
                let mine = list_mut(obj, &["status", "conditions"]).filter(|c| meta::str_at(c, &["type"]) == kind);
                for (c, o) in mine.zip(before) {
                    *c = o;
                }
            }
        }
        stamp_conditions(obj, old, cx.now);
    }
    fn validate_status_update(&self, cx: &Context, obj: &Value, old: &Value) -> ErrorList {
        let mut e = self.validate(cx, obj);
        update(At::root(obj), old, &mut e, false, true);
        e
    }
    fn selectable_fields(&self, obj: &Value) -> Vec<(&'static str, String)> {
        vec![("spec.signerName", meta::str_at(obj, &["spec", "signerName"]).into())]
    }
    fn selectable_field_names(&self) -> &'static [&'static str] {
        &["spec.signerName"]
    }
    fn columns(&self) -> &'static [Column] {
        &COLUMNS
    }
    fn row(&self, obj: &Value, now: i64) -> PrinterRow {
        let has = |kind: &str| !conditions_of(obj, kind).is_empty();
        let mut status = if has("Denied") {
            "Denied"
        } else if has("Approved") {
            "Approved"
        } else {
            "Pending"
        }
        .to_owned();
        if has("Failed") {
            status.push_str(",Failed");
        }
        if !meta::str_at(obj, &["status", "certificate"]).is_empty() {
            status.push_str(",Issued");
        }
        let seconds = meta::i64_at(obj, &["spec", "expirationSeconds"]).map_or_else(|| print::NONE.to_owned(), duration::human);
        cells([
            print::name(obj),
            print::age(obj, now),
            print::text_or_none(obj, &["spec", "signerName"]),
            print::text(obj, &["spec", "username"]),
            seconds.into(),
            status.into(),
        ])
    }
}
