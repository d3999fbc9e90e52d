//! `kubectl --as`: a user acts as another, if it may. Upstream: apiserver/pkg/endpoints/filters/impersonation.

use crate::UserInfo;
use crate::authz::{Attributes, Authorizer, check};
use crate::user::{ANONYMOUS, AUTHENTICATED, UNAUTHENTICATED, split_service_account};
use http::HeaderMap;
use machinery::Status;

const USER: &str = "impersonate-user";
const GROUP: &str = "impersonate-group";
const UID: &str = "impersonate-uid";
const EXTRA: &str = "impersonate-extra-";

/// The user that the request's headers ask to act as, once `user` has been authorized for each part of it; `None` without such
/// headers. The headers are removed.
pub async fn impersonate(
    headers: &mut HeaderMap,
    user: &UserInfo,
    authorizer: &dyn Authorizer,
) -> Result<Option<UserInfo>, Status> {
    let text = |v: &http::HeaderValue| v.to_str().unwrap_or("").to_owned();
    let one = |name: &str| headers.get(name).map(text).unwrap_or_default();
    let (name, uid) = (one(USER), one(UID));
    let groups: Vec<String> = headers.get_all(GROUP).iter().map(text).collect();
    let extra = headers.iter().filter_map(|(k, v)| k.as_str().strip_prefix(EXTRA).map(|key| (unescape(key), text(v))));
    let extra: Vec<(String, String)> = extra.collect();
    if name.is_empty() {
        if groups.is_empty() && uid.is_empty() && extra.is_empty() {
            return Ok(None);
        }
        let parts = parts(&groups, &extra, &uid).join(" ");
        return Err(Status::bad_request(format!("requested [{parts}] without impersonating a user")));
    }
    for a in questions(user, &name, &groups, &extra, &uid) {
        check(authorizer, &a).await?;
    }
    let mut other = UserInfo { name, uid, groups, ..UserInfo::default() };
    if let (true, Some((namespace, account))) = (other.groups.is_empty(), split_service_account(&other.name)) {
        other.groups = UserInfo::service_account(namespace, account, "").groups;
    }
    for (k, v) in extra {
        other.extra.entry(k).or_default().push(v);
    }
    if other.name == ANONYMOUS {
        if !other.in_group(UNAUTHENTICATED) {
            other.groups.push(UNAUTHENTICATED.into());
        }
    } else if !other.in_group(AUTHENTICATED) && !other.in_group(UNAUTHENTICATED) {
        other.groups.push(AUTHENTICATED.into());
    }
    let ours = |k: &&http::HeaderName| [USER, GROUP, UID].contains(&k.as_str()) || k.as_str().starts_with(EXTRA);
    let remove: Vec<_> = headers.keys().filter(ours).cloned().collect();
    for k in remove {
        headers.remove(k);
    }
    Ok(Some(other))
}

/// What `user` must be allowed to `impersonate`.
fn questions(user: &UserInfo, name: &str, groups: &[String], extra: &[(String, String)], uid: &str) -> Vec<Attributes> {
    const AUTHENTICATION: &str = "authentication.k8s.io";
    let ask = |group: &str, resource: &str, namespace: &str, name: &str| {
        let mut a = Attributes::resource(user, "impersonate", group, resource, namespace, name);
        a.version = "v1".into();
        a
    };
    let mut all = vec![match split_service_account(name) {
        Some((namespace, account)) => ask("", "serviceaccounts", namespace, account),
        None => ask("", "users", "", name),
    }];
    all.extend(groups.iter().map(|g| ask("", "groups", "", g)));
    all.extend(extra.iter().map(|(k, v)| ask(AUTHENTICATION, "userextras", "", v).with_subresource(k)));
    if !uid.is_empty() {
        all.push(ask(AUTHENTICATION, "uids", "", uid));
    }
    all
}

fn parts(groups: &[String], extra: &[(String, String)], uid: &str) -> Vec<String> {
    let mut out: Vec<String> = groups.iter().map(|g| format!("Group {g:?}")).collect();
    out.extend(extra.iter().map(|(k, v)| format!("UserExtra {k:?}={v:?}")));
    if !uid.is_empty() {
        out.push(format!("UID {uid:?}"));
    }
    out
}

/// Undoes %-encoding of an extra key; a malformed one is taken as it is.
pub(super) fn unescape(key: &str) -> String {
    let mut out = Vec::with_capacity(key.len());
    let mut bytes = key.bytes();
    let hex = |b: Option<u8>| b.and_then(|b| char::from(b).to_digit(16)).and_then(|d| u8::try_from(d).ok());
    while let Some(b) = bytes.next() {
        if b != b'%' {
            out.push(b);
            continue;
        }
        match (hex(bytes.next()), hex(bytes.next())) {
            (Some(h), Some(l)) => out.push(h << 4 | l),
            _ => return key.to_owned(),
        }
    }
    String::from_utf8(out).unwrap_or_else(|_| key.to_owned())
}
