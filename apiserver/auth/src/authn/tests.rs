//! Tests of `authn`.

use super::*;
use crate::authz::{Attributes, Authorizer, Verdict};
use crate::token::{Audiences, Claims, Issuer, Kubernetes, Ref, jwks, openid_configuration};
use crate::{ObjectGetter, review};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use machinery::{Status, Value, json};
use parking_lot::Mutex;
use pki::{Authority, Identity, SigningKey};
use std::collections::HashMap;
use std::time::Duration;

#[derive(Default)]
struct Objects(Mutex<HashMap<String, Arc<Value>>>);

impl Objects {
    fn with(self, resource: &str, ns: &str, o: Value) -> Self {
        self.0.lock().insert(format!("{resource}/{ns}/{}", machinery::meta::name(&o)), Arc::new(o));
        self
    }
}

#[async_trait]
impl ObjectGetter for Objects {
    async fn get(&self, _: &str, resource: &str, ns: &str, name: &str) -> Result<Option<Arc<Value>>, Status> {
        Ok(self.0.lock().get(&format!("{resource}/{ns}/{name}")).cloned())
    }
}

const ISSUER: &str = "https://kubernetes.default.svc";

fn audiences() -> Vec<String> {
    vec![ISSUER.to_owned()]
}

fn world() -> Arc<Objects> {
    let o = |name: &str, uid: &str| json!({"metadata": {"name": name, "uid": uid}});
    let mut pod = o("p", "pod-uid");
    pod["spec"] = json!({"serviceAccountName": "sa", "nodeName": "n"});
    let objects = Objects::default().with("serviceaccounts", "ns", o("sa", "sa-uid")).with("nodes", "", o("n", "n-uid"));
    Arc::new(objects.with("pods", "ns", pod).with("secrets", "ns", o("s", "s-uid")))
}

fn issuer() -> Issuer {
    Issuer::new(ISSUER, SigningKey::generate().unwrap().0, audiences())
}

fn tokens(i: &Issuer, objects: &Arc<Objects>) -> ServiceAccountTokens {
    ServiceAccountTokens::new(audiences(), vec![i.key.public.clone()], audiences(), objects.clone())
}

fn claims() -> Claims {
    let now = jiff::Timestamp::now().as_second();
    let sa = Ref { name: "sa".into(), uid: "sa-uid".into() };
    Claims {
        aud: Audiences(audiences()),
        exp: Some(now + 3600),
        iat: Some(now),
        iss: ISSUER.into(),
        jti: Some("id".into()),
        kubernetes: Kubernetes { namespace: "ns".into(), serviceaccount: sa, ..Kubernetes::default() },
        nbf: Some(now),
        sub: "system:serviceaccount:ns:sa".into(),
    }
}

#[tokio::test]
async fn token_requests() {
    let (i, objects) = (issuer(), world());
    let authn = tokens(&i, &objects);
    let mut quiet = |_: String| {};
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "pod-uid"});
    let request = json!({"spec": {"boundObjectRef": pod, "expirationSeconds": 3607}});
    let r = i.token_request(&*objects, "ns", "sa", request, &mut quiet).await.unwrap();
    let token = r["status"]["token"].as_str().unwrap();
    let found = authn.authenticate(token, &audiences()).await.unwrap().unwrap();
    assert_eq!(found.user.name, "system:serviceaccount:ns:sa");
    assert_eq!(found.user.groups, ["system:serviceaccounts", "system:serviceaccounts:ns"]);
    assert_eq!(found.user.extra["authentication.kubernetes.io/node-uid"], ["n-uid"]);
    let payload: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(token.split('.').nth(1).unwrap()).unwrap()).unwrap();
    assert_eq!(payload["kubernetes.io"]["pod"], json!({"name": "p", "uid": "pod-uid"}));
    assert_eq!(payload["exp"].as_i64().unwrap() - payload["iat"].as_i64().unwrap(), 365 * 24 * 3600, "extended");
    assert_eq!(payload["kubernetes.io"]["warnafter"].as_i64().unwrap() - payload["iat"].as_i64().unwrap(), 3607);
    let other = json!({"spec": {"audiences": ["vault"]}});
    let other = i.token_request(&*objects, "ns", "sa", other, &mut quiet).await.unwrap();
    let other = other["status"]["token"].as_str().unwrap();
    assert!(authn.authenticate(other, &audiences()).await.is_err(), "another audience");
    assert!(authn.authenticate(other, &["vault".to_owned()]).await.unwrap().is_some());
    objects.0.lock().remove("pods/ns/p");
    let gone = authn.authenticate(token, &audiences()).await.unwrap_err();
    assert_eq!(gone, "service account token has been invalidated");
    let cases = [
        ("too short", json!({"spec": {"expirationSeconds": 599}}), 422),
        ("too long", json!({"spec": {"expirationSeconds": 4294967297_i64}}), 422),
        ("missing pod", json!({"spec": {"boundObjectRef": {"kind": "Pod", "apiVersion": "v1", "name": "x"}}}), 404),
        (
            "recreated",
            json!({"spec": {"boundObjectRef": {"kind": "Secret", "apiVersion": "v1", "name": "s", "uid": "old"}}}),
            409,
        ),
        ("odd kind", json!({"spec": {"boundObjectRef": {"kind": "Job", "apiVersion": "batch/v1", "name": "s"}}}), 400),
        ("other name", json!({"metadata": {"name": "x"}}), 422),
    ];
    for (case, request, code) in cases {
        assert_eq!(i.token_request(&*objects, "ns", "sa", request, &mut quiet).await.unwrap_err().code, code, "{case}");
    }
    let keys = [i.key.public.clone()];
    assert_eq!(openid_configuration(ISSUER, "u", &keys)["id_token_signing_alg_values_supported"], json!(["ES256"]));
    assert_eq!(jwks(&keys)["keys"][0]["kid"], i.key.public.key_id);
}

#[tokio::test]
async fn forged_tokens() {
    let (i, objects) = (issuer(), world());
    let authn = tokens(&i, &objects);
    let good = i.sign(&claims()).unwrap();
    assert!(authn.authenticate(&good, &audiences()).await.unwrap().is_some());
    let with = |f: &dyn Fn(&mut Claims)| {
        let mut c = claims();
        f(&mut c);
        i.sign(&c).unwrap()
    };
    let parts: Vec<&str> = good.split('.').collect();
    let b64 = |v: Value| URL_SAFE_NO_PAD.encode(v.to_string());
    let none = format!("{}.{}.", b64(json!({"alg": "none"})), parts[1]);
    let none_signed = format!("{}.{}.{}", b64(json!({"alg": "none"})), parts[1], parts[2]);
    let hmac = jsonwebtoken::encode(
        &jsonwebtoken::Header::new(jsonwebtoken::Algorithm::HS256),
        &claims(),
        &jsonwebtoken::EncodingKey::from_secret(i.key.public.jwk["x"].as_str().unwrap().as_bytes()),
    )
    .unwrap();
    let root = b64({
        let mut v = serde_json::to_value(claims()).unwrap();
        v["sub"] = "system:serviceaccount:kube-system:root".into();
        v
    });
    let cases = [
        ("alg none", none),
        ("alg none with a signature", none_signed),
        ("HMAC with the public key", hmac),
        ("another key", issuer().sign(&claims()).unwrap()),
        ("changed payload", format!("{}.{root}.{}", parts[0], parts[2])),
        ("truncated signature", good[..good.len() - 4].to_owned()),
        ("empty signature", format!("{}.{}.", parts[0], parts[1])),
        ("wrong audience", with(&|c| c.aud = Audiences(vec!["vault".into()]))),
        ("expired", with(&|c| c.exp = Some(jiff::Timestamp::now().as_second() - 120))),
        ("no expiration", with(&|c| c.exp = None)),
        ("not yet", with(&|c| c.nbf = Some(jiff::Timestamp::now().as_second() + 600))),
        ("issued in the future", with(&|c| c.iat = Some(jiff::Timestamp::now().as_second() + 600))),
        ("two subjects", with(&|c| c.sub = "system:serviceaccount:kube-system:root".into())),
        ("recreated account", with(&|c| c.kubernetes.serviceaccount.uid = "old".into())),
        ("account of another namespace", with(&|c| c.kubernetes.namespace = "other".into())),
        ("bound to a lost secret", with(&|c| c.kubernetes.secret = Some(Ref { name: "lost".into(), uid: "u".into() }))),
        ("bound to a recreated node", with(&|c| c.kubernetes.node = Some(Ref { name: "n".into(), uid: "u".into() }))),
    ];
    for (case, token) in cases {
        assert!(authn.authenticate(&token, &audiences()).await.is_err(), "{case}");
    }
    for (case, token) in [
        ("another issuer", with(&|c| c.iss = "https://elsewhere".into())),
        ("no token", "abc".to_owned()),
        ("two parts", format!("{}.{}", parts[0], parts[1])),
        ("four parts", format!("{good}.x")),
        ("not base64", "a.%%%.c".to_owned()),
        ("empty", String::new()),
    ] {
        assert_eq!(authn.authenticate(&token, &audiences()).await, Ok(None), "{case}");
    }
    let all = Tokens::new(vec![Arc::new(tokens(&i, &objects))]);
    assert!(all.authenticate(&"a".repeat(MAX_TOKEN_BYTES + 1), &audiences()).await.is_err());
}

/// Allows what the test says.
struct Only(&'static str);

#[async_trait]
impl Authorizer for Only {
    async fn authorize(&self, a: &Attributes) -> Verdict {
        let asked = format!("{} {} {}/{}", a.verb, a.resource, a.namespace, a.name);
        if self.0.split(';').any(|s| s == asked) { Verdict::allow("") } else { Verdict::no_opinion("") }
    }
}

fn headers(list: &[(&'static str, &str)]) -> HeaderMap {
    let mut h = HeaderMap::new();
    for (k, v) in list {
        h.append(*k, v.parse().unwrap());
    }
    h
}

#[tokio::test]
async fn requests() {
    let ca = Authority::generate("ca").unwrap();
    let proxy_ca = Authority::generate("proxy").unwrap();
    let cert = |ca: &Authority, id: &Identity| ca.issue(id, Duration::from_secs(600)).unwrap().certificates().unwrap();
    let secret = |v: &str| STANDARD.encode(v);
    let bootstrap = json!({"metadata": {"name": "bootstrap-token-abcdef"}, "type": "bootstrap.kubernetes.io/token", "data": {
        "token-id": secret("abcdef"), "token-secret": secret("0123456789abcdef"), "usage-bootstrap-authentication": secret("true"),
        "auth-extra-groups": secret("system:bootstrappers:workers")}});
    let objects = Arc::new(Objects::default().with("secrets", "kube-system", bootstrap));
    let fixed = StaticTokens::parse("secret,bob,1,\"dev,ops\"\n\nplain,ann,2\n").unwrap();
    let authenticator = Authenticator {
        request_header: Some(RequestHeader::new(proxy_ca.cert_pem(), vec!["front-proxy-client".into()]).unwrap()),
        x509: Some(X509::new(ca.cert_pem()).unwrap()),
        tokens: Arc::new(Tokens::new(vec![Arc::new(fixed), Arc::new(BootstrapTokens(objects))])),
        audiences: audiences(),
        anonymous: true,
    };
    let admin = cert(&ca, &Identity::client("admin", &["system:masters"]));
    let front = cert(&proxy_ca, &Identity::client("front-proxy-client", &[]));
    let other_front = cert(&proxy_ca, &Identity::client("other", &[]));
    let stranger = cert(&Authority::generate("x").unwrap(), &Identity::client("admin", &["system:masters"]));
    let remote = headers(&[("x-remote-user", "eve"), ("x-remote-group", "g"), ("x-remote-extra-a%2fb", "v")]);
    let token = |t: &str| headers(&[("authorization", &format!("Bearer {t}"))]);
    let socket = format!("v5.channel.k8s.io, base64url.bearer.authorization.k8s.io.{}", URL_SAFE_NO_PAD.encode("plain"));
    let cases: Vec<(&str, HeaderMap, Option<&Vec<_>>, Option<&str>)> = vec![
        ("certificate", HeaderMap::new(), Some(&admin), Some("admin [system:masters system:authenticated]")),
        ("unknown authority", HeaderMap::new(), Some(&stranger), None),
        ("front proxy", remote.clone(), Some(&front), Some("eve [g system:authenticated]")),
        ("front proxy of another name", remote.clone(), Some(&other_front), None),
        ("headers from anybody", remote.clone(), None, Some("system:anonymous [system:unauthenticated]")),
        ("headers with a user's certificate", remote, Some(&admin), Some("admin [system:masters system:authenticated]")),
        ("static token", token("secret"), None, Some("bob [dev ops system:authenticated]")),
        ("websocket token", headers(&[("sec-websocket-protocol", &socket)]), None, Some("ann [system:authenticated]")),
        (
            "bootstrap token",
            token("abcdef.0123456789abcdef"),
            None,
            Some("system:bootstrap:abcdef [system:bootstrappers system:bootstrappers:workers system:authenticated]"),
        ),
        ("wrong bootstrap token", token("abcdef.0123456789abcdee"), None, None),
        ("wrong token", token("guess"), None, None),
        ("basic", headers(&[("authorization", "Basic eDp5")]), None, Some("system:anonymous [system:unauthenticated]")),
        ("nothing", HeaderMap::new(), None, Some("system:anonymous [system:unauthenticated]")),
    ];
    for (case, mut h, certs, want) in cases {
        let got = authenticator.authenticate(&mut h, certs.map(Vec::as_slice)).await;
        let got = got.ok().map(|u| format!("{} [{}]", u.name, u.groups.join(" ")));
        assert_eq!(got.as_deref(), want, "{case}");
        assert!(!h.contains_key("x-remote-user"), "{case}");
    }
    let closed = Authenticator { anonymous: false, ..authenticator };
    assert!(closed.authenticate(&mut HeaderMap::new(), None).await.is_err());
}

#[tokio::test]
async fn impersonation() {
    let me = UserInfo::new("me", &[]);
    let allowed = Only(
        "impersonate users /jane;impersonate groups /dev;impersonate serviceaccounts ns/sa;impersonate userextras /v;impersonate users \
         /system:anonymous",
    );
    let cases = [
        ("user", headers(&[("impersonate-user", "jane")]), Ok("jane [system:authenticated]")),
        ("group", headers(&[("impersonate-user", "jane"), ("impersonate-group", "dev")]), Ok("jane [dev system:authenticated]")),
        (
            "service account",
            headers(&[("impersonate-user", "system:serviceaccount:ns:sa")]),
            Ok("system:serviceaccount:ns:sa [system:serviceaccounts system:serviceaccounts:ns system:authenticated]"),
        ),
        ("anonymous", headers(&[("impersonate-user", "system:anonymous")]), Ok("system:anonymous [system:unauthenticated]")),
        ("extra", headers(&[("impersonate-user", "jane"), ("impersonate-extra-scopes", "v")]), Ok("jane [system:authenticated]")),
        (
            "another user",
            headers(&[("impersonate-user", "root")]),
            Err(
                "users \"root\" is forbidden: User \"me\" cannot impersonate resource \"users\" in API group \"\" at the cluster scope",
            ),
        ),
        ("masters", headers(&[("impersonate-user", "jane"), ("impersonate-group", "system:masters")]), Err("")),
        ("no user", headers(&[("impersonate-group", "dev")]), Err("requested [Group \"dev\"] without impersonating a user")),
    ];
    for (case, mut h, want) in cases {
        match (impersonate(&mut h, &me, &allowed).await, want) {
            (Ok(Some(u)), Ok(w)) => assert_eq!(format!("{} [{}]", u.name, u.groups.join(" ")), w, "{case}"),
            (Err(e), Err(w)) => assert!(w.is_empty() || e.message == w, "{case}: {}", e.message),
            (got, _) => panic!("{case}: {got:?}"),
        }
    }
    assert_eq!(impersonate(&mut HeaderMap::new(), &me, &allowed).await, Ok(None));
}

#[tokio::test]
async fn reviews() {
    let (i, objects) = (issuer(), world());
    let all = Tokens::new(vec![Arc::new(tokens(&i, &objects))]);
    let review = |t: &str| json!({"kind": "TokenReview", "spec": {"token": t}});
    let r = review::token_review(&all, &audiences(), review(&i.sign(&claims()).unwrap())).await.unwrap();
    assert_eq!(r["status"]["authenticated"], true);
    assert_eq!(r["status"]["audiences"], json!([ISSUER]));
    let r = review::token_review(&all, &audiences(), review("x")).await.unwrap();
    assert_eq!(r["status"], json!({"user": {}}));
    let can = Only("get pods ns/");
    let ask = json!({"spec": {"resourceAttributes": {"verb": "get", "resource": "pods", "namespace": "ns"}}});
    let r = review::self_subject_access_review(&can, &UserInfo::new("me", &[]), ask.clone()).await.unwrap();
    assert_eq!(r["status"], json!({"allowed": true}));
    let e = review::subject_access_review(&can, ask.clone()).await.unwrap_err();
    assert_eq!(
        e.message,
        "SubjectAccessReview.authorization.k8s.io \"\" is invalid: spec.user: Invalid value: \"\": at least one of user or group must be \
         specified"
    );
    let mut local = ask;
    local["spec"]["user"] = "jane".into();
    assert!(
        review::local_subject_access_review(&can, "ns", local.clone()).await.unwrap()["status"]["allowed"].as_bool().unwrap()
    );
    assert_eq!(review::local_subject_access_review(&can, "other", local).await.unwrap_err().code, 422);
}
