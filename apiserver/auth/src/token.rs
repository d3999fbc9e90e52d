//! Issuing service-account tokens (TokenRequest) and what verifiers elsewhere need to know (OIDC discovery). Upstream:
//! pkg/registry/core/serviceaccount/storage/token.go, pkg/serviceaccount/{claims,openidmetadata}.go.

use crate::ObjectGetter;
use crate::user::service_account_user;
use jsonwebtoken::Header;
use machinery::field::{Error, ErrorList, Path};
use machinery::meta::{list_at, str_at};
use machinery::{GroupResource, Status, Value, json, meta};
use pki::{SigningKey, VerifyingKey};
use serde::{Deserialize, Serialize};

const HOUR: i64 = 3600;
const MIN_SECONDS: i64 = 600;
/// A pod-bound token asked for with this lifetime lasts a year, and is warned of after it, so that old clients that do not
/// reread their token keep working.
const WARN_ONLY_SECONDS: i64 = 3607;
const EXTENDED_SECONDS: i64 = 365 * 24 * HOUR;

/// The claims of a bound token.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Claims {
    pub aud: Audiences,
    pub exp: Option<i64>,
    pub iat: Option<i64>,
    pub iss: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jti: Option<String>,
    #[serde(rename = "kubernetes.io")]
    pub kubernetes: Kubernetes,
    pub nbf: Option<i64>,
    pub sub: String,
}

/// One audience or several; written as a list, as upstream does.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(transparent)]
pub struct Audiences(pub Vec<String>);

impl<'de> Deserialize<'de> for Audiences {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum OneOrMany {
            One(String),
            Many(Vec<String>),
        }
        Ok(match OneOrMany::deserialize(d)? {
            OneOrMany::One(a) => Self(vec![a]),
            OneOrMany::Many(a) => Self(a),
        })
    }
}

/// The claim `kubernetes.io`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Kubernetes {
    pub namespace: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<Ref>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod: Option<Ref>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret: Option<Ref>,
    pub serviceaccount: Ref,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub warnafter: Option<i64>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Ref {
    #[serde(default)]
    pub name: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub uid: String,
}

impl Ref {
    fn to(object: &Value) -> Self {
        Self { name: meta::name(object).to_owned(), uid: meta::uid(object).to_owned() }
    }
}

/// Issues tokens.
pub struct Issuer {
    pub issuer: String,
    pub key: SigningKey,
    /// Audiences of a request that names none: those of the API server.
    pub audiences: Vec<String>,
    /// `--service-account-max-token-expiration` in seconds; 0 is no limit.
    pub max_seconds: i64,
    /// `--service-account-extend-token-expiration`.
    pub extend: bool,
}

impl Issuer {
    pub fn new(issuer: impl Into<String>, key: SigningKey, audiences: Vec<String>) -> Self {
        Self { issuer: issuer.into(), key, audiences, max_seconds: 0, extend: true }
    }

    /// `POST …/serviceaccounts/NAME/token`: the TokenRequest with its status. `warn` takes messages for the Warning header.
    pub async fn token_request(
        &self,
        objects: &dyn ObjectGetter,
        namespace: &str,
        name: &str,
        mut request: Value,
        warn: &mut (dyn FnMut(String) + Send),
    ) -> Result<Value, Status> {
        const GROUP: &str = "authentication.k8s.io";
        for (field, want, what) in [("name", name, "name"), ("namespace", namespace, "namespace")] {
            let given = str_at(&request, &["metadata", field]).to_owned();
            if !given.is_empty() && given != want {
                let path = Path::new("metadata").child(field);
                let e = Error::invalid(&path, given, format!("must match the service account {what} if specified"));
                return Err(Status::invalid(GROUP, "TokenRequest", name, &vec![e]));
            }
        }
        let account = get(objects, "serviceaccounts", namespace, name).await?;
        let given = meta::uid(&request).to_owned();
        if !given.is_empty() && given != meta::uid(&account) {
            let why = format!(
                "the UID in the token request ({given}) does not match the UID of the service account ({})",
                meta::uid(&account)
            );
            return Err(Status::conflict(&GroupResource::new(GROUP, "TokenRequest"), name, why));
        }
        let strings = |v: &[Value]| v.iter().filter_map(Value::as_str).map(str::to_owned).collect::<Vec<_>>();
        let mut audiences = strings(list_at(&request, &["spec", "audiences"]));
        if audiences.is_empty() {
            audiences = self.audiences.clone();
        }
        let now = jiff::Timestamp::now().as_second();
        for (field, value) in
            [("name", name.to_owned()), ("namespace", namespace.to_owned()), ("uid", meta::uid(&account).to_owned())]
        {
            meta::set(&mut request, &["metadata", field], value.into());
        }
        meta::set(&mut request, &["metadata", "creationTimestamp"], rfc3339(now).into());
        meta::set(&mut request, &["spec", "audiences"], audiences.clone().into());
        let mut seconds = meta::i64_at(&request, &["spec", "expirationSeconds"]).unwrap_or(HOUR);
        let errors = validate_seconds(seconds);
        if !errors.is_empty() {
            return Err(Status::invalid(GROUP, "TokenRequest", "", &errors));
        }
        let mut claims = Kubernetes { namespace: namespace.into(), serviceaccount: Ref::to(&account), ..Kubernetes::default() };
        self.bind(objects, namespace, name, &request, &mut claims).await?;
        if self.max_seconds > 0 && seconds > self.max_seconds {
            warn(format!("requested expiration of {seconds} seconds shortened to {} seconds", self.max_seconds));
            seconds = self.max_seconds;
        }
        meta::set(&mut request, &["spec", "expirationSeconds"], seconds.into());
        let mut lifetime = seconds;
        let for_us = audiences.iter().all(|a| self.audiences.contains(a));
        if self.extend && claims.pod.is_some() && seconds == WARN_ONLY_SECONDS && for_us {
            claims.warnafter = Some(now + seconds);
            lifetime = EXTENDED_SECONDS;
        }
        let token = self.sign(&Claims {
            aud: Audiences(audiences),
            exp: Some(now + lifetime),
            iat: Some(now),
            iss: self.issuer.clone(),
            jti: Some(uuid::Uuid::new_v4().to_string()),
            kubernetes: claims,
            nbf: Some(now),
            sub: service_account_user(namespace, name),
        })?;
        meta::set(&mut request, &["status"], json!({"token": token, "expirationTimestamp": rfc3339(now + seconds)}));
        Ok(request)
    }

    /// Fills in what the token is bound to.
    async fn bind(
        &self,
        objects: &dyn ObjectGetter,
        namespace: &str,
        account: &str,
        request: &Value,
        claims: &mut Kubernetes,
    ) -> Result<(), Status> {
        let Some(r) = meta::at(request, &["spec", "boundObjectRef"]) else { return Ok(()) };
        let (version, kind, name) = (str_at(r, &["apiVersion"]), str_at(r, &["kind"]), str_at(r, &["name"]));
        let bound = match (version, kind) {
            ("v1" | "", "Pod") => {
                let pod = get(objects, "pods", namespace, name).await?;
                if str_at(&pod, &["spec", "serviceAccountName"]) != account {
                    return Err(Status::bad_request(format!(
                        "cannot bind token for serviceaccount {account:?} to pod running with different serviceaccount name."
                    )));
                }
                let node = str_at(&pod, &["spec", "nodeName"]);
                if !node.is_empty() {
                    let found = objects.get("", "nodes", "", node).await?;
                    claims.node = Some(found.map_or_else(|| Ref { name: node.into(), uid: String::new() }, |n| Ref::to(&n)));
                }
                claims.pod = Some(Ref::to(&pod));
                pod
            }
            ("v1" | "", "Node") => {
                let node = get(objects, "nodes", "", name).await?;
                claims.node = Some(Ref::to(&node));
                node
            }
            ("v1" | "", "Secret") => {
                let secret = get(objects, "secrets", namespace, name).await?;
                claims.secret = Some(Ref::to(&secret));
                secret
            }
            _ => return Err(Status::bad_request(format!("cannot bind token to object of type {version}, Kind={kind}"))),
        };
        let given = str_at(r, &["uid"]);
        if !given.is_empty() && given != meta::uid(&bound) {
            let why = format!(
                "the UID in the bound object reference ({given}) does not match the UID in record. The object might have been deleted \
                 and then recreated"
            );
            return Err(Status::conflict(&GroupResource::new("", kind), name, why));
        }
        Ok(())
    }

    /// Signs any claims; `token_request` is the usual way.
    pub fn sign(&self, claims: &Claims) -> Result<String, Status> {
        let mut header = Header::new(self.key.public.algorithm);
        header.typ = None;
        header.kid = Some(self.key.public.key_id.clone());
        jsonwebtoken::encode(&header, claims, &self.key.key)
            .map_err(|e| Status::internal(format!("failed to generate token: {e}")))
    }
}

async fn get(objects: &dyn ObjectGetter, resource: &str, namespace: &str, name: &str) -> Result<std::sync::Arc<Value>, Status> {
    let found = objects.get("", resource, namespace, name).await?;
    found.ok_or_else(|| Status::not_found(&GroupResource::new("", resource), name))
}

fn validate_seconds(seconds: i64) -> ErrorList {
    let path = Path::new("spec").child("expirationSeconds");
    if seconds < MIN_SECONDS {
        return vec![Error::invalid(&path, seconds, "may not specify a duration less than 10 minutes")];
    }
    if seconds > 1 << 32 {
        return vec![Error::invalid(&path, seconds, "may not specify a duration larger than 2^32 seconds")];
    }
    ErrorList::new()
}

fn rfc3339(seconds: i64) -> String {
    jiff::Timestamp::from_second(seconds).map(|t| t.to_string()).unwrap_or_default()
}

/// `/.well-known/openid-configuration`. `jwks_uri` is where `jwks` is served (`https://…/openid/v1/jwks`).
pub fn openid_configuration(issuer: &str, jwks_uri: &str, keys: &[VerifyingKey]) -> Value {
    let mut algorithms: Vec<&str> = keys.iter().filter_map(|k| k.jwk["alg"].as_str()).collect();
    algorithms.sort_unstable();
    algorithms.dedup();
    json!({
        "issuer": issuer,
        "jwks_uri": jwks_uri,
        "response_types_supported": ["id_token"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": algorithms,
    })
}

/// `/openid/v1/jwks` (content type `application/jwk-set+json`).
pub fn jwks(keys: &[VerifyingKey]) -> Value {
    json!({"keys": keys.iter().map(|k| &k.jwk).collect::<Vec<_>>()})
}
