//! Content negotiation: which encoding and which shape (object, Table, metadata only) a client asks for.
//! Upstream: apiserver/pkg/endpoints/handlers/negotiation/negotiate.go.

use super::query::Query;
use http::HeaderMap;
use machinery::Status;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Json,
    Yaml,
    Protobuf,
}

impl Format {
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Yaml => "application/yaml",
            Self::Protobuf => "application/vnd.kubernetes.protobuf",
        }
    }
}

/// `as=` of an Accept clause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transform {
    Table,
    PartialObjectMetadata,
    PartialObjectMetadataList,
}

/// The negotiated answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Accept {
    pub format: Format,
    pub pretty: bool,
    pub transform: Option<Transform>,
    /// The transformed shape is that of `meta.k8s.io/v1beta1`.
    pub beta: bool,
}

/// Parameters of one Accept clause.
#[derive(Clone, Debug, Default)]
pub struct Clause {
    pub media: String,
    pub params: Vec<(String, String)>,
    q: f32,
}

impl Clause {
    pub fn param(&self, name: &str) -> &str {
        self.params.iter().find(|(k, _)| k == name).map_or("", |(_, v)| v.as_str())
    }
}

/// Clauses of an Accept header, best first.
pub fn clauses(header: &str) -> Vec<Clause> {
    let mut out: Vec<Clause> = header
        .split(',')
        .map(|c| {
            let mut parts = c.split(';').map(str::trim);
            let media = parts.next().unwrap_or("").to_ascii_lowercase();
            let mut clause = Clause { media, params: Vec::new(), q: 1.0 };
            for p in parts {
                let (k, v) = p.split_once('=').unwrap_or((p, ""));
                if k == "q" {
                    clause.q = v.parse().unwrap_or(1.0);
                } else {
                    clause.params.push((k.to_owned(), v.trim_matches('"').to_owned()));
                }
            }
            clause
        })
        .filter(|c| !c.media.is_empty())
        .collect();
    out.sort_by(|a, b| b.q.total_cmp(&a.q));
    out
}

/// The values of all Accept headers, joined.
pub fn accept_header(headers: &HeaderMap) -> String {
    headers.get_all(http::header::ACCEPT).iter().filter_map(|v| v.to_str().ok()).collect::<Vec<_>>().join(",")
}

/// Negotiates among `formats` (the first is the default). With `transforms`, Table and metadata-only answers are allowed.
pub fn negotiate(headers: &HeaderMap, query: &Query, formats: &[Format], transforms: bool) -> Result<Accept, Status> {
    let pretty = is_pretty(headers, query);
    let header = accept_header(headers);
    if header.is_empty() {
        return Ok(Accept { format: formats[0], pretty, transform: None, beta: false });
    }
    for clause in clauses(&header) {
        let Some(format) = formats.iter().copied().find(|f| matches(&clause.media, f.media_type())) else { continue };
        let transform = match (clause.param("as"), clause.param("g"), clause.param("v")) {
            ("", "", "") => None,
            (_, g, _) if !transforms || g != "meta.k8s.io" => continue,
            (_, _, v) if v != "v1" && v != "v1beta1" => continue,
            // Cells are of any type, which protobuf cannot hold.
            ("Table", _, _) if format != Format::Protobuf => Some(Transform::Table),
            ("PartialObjectMetadata", _, _) => Some(Transform::PartialObjectMetadata),
            ("PartialObjectMetadataList", _, _) => Some(Transform::PartialObjectMetadataList),
            _ => continue,
        };
        if !matches!(clause.param("stream"), "" | "watch") {
            continue;
        }
        let beta = transform.is_some() && clause.param("v") == "v1beta1";
        return Ok(Accept { format, pretty: pretty || clause.param("pretty") == "1", transform, beta });
    }
    Err(not_acceptable(formats))
}

/// 406, naming what there is.
pub fn not_acceptable(formats: &[Format]) -> Status {
    let names: Vec<&str> = formats.iter().map(|f| f.media_type()).collect();
    Status::new(406, "NotAcceptable", format!("only the following media types are accepted: {}", names.join(", ")))
}

fn matches(pattern: &str, media: &str) -> bool {
    if pattern == "*/*" || pattern == "*" || pattern == media {
        return true;
    }
    pattern.strip_suffix("/*").is_some_and(|t| media.split('/').next() == Some(t))
}

fn is_pretty(headers: &HeaderMap, query: &Query) -> bool {
    match query.get("pretty") {
        Some(p) if !p.is_empty() => matches!(p, "1" | "t" | "T" | "true" | "TRUE" | "True"),
        _ => {
            let ua = headers.get(http::header::USER_AGENT).and_then(|v| v.to_str().ok()).unwrap_or("");
            ["curl", "Wget", "Mozilla/5.0"].iter().any(|p| ua.starts_with(p))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table() {
        let all = [Format::Json, Format::Yaml];
        let kubectl =
            "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json";
        for (name, accept, want) in [
            ("none", "", Some((Format::Json, None))),
            ("any", "*/*", Some((Format::Json, None))),
            ("kubectl get", kubectl, Some((Format::Json, Some(Transform::Table)))),
            ("protobuf first", "application/vnd.kubernetes.protobuf,application/json", Some((Format::Json, None))),
            ("quality", "application/json;q=0.5, application/yaml", Some((Format::Yaml, None))),
            (
                "no table in protobuf",
                "application/vnd.kubernetes.protobuf;as=Table;v=v1;g=meta.k8s.io,application/json",
                Some((Format::Json, None)),
            ),
            ("nothing fits", "text/csv", None),
            ("unknown transform", "application/json;as=Foo;v=v1;g=meta.k8s.io", None),
        ] {
            let mut h = HeaderMap::new();
            if !accept.is_empty() {
                h.insert("accept", accept.parse().unwrap());
            }
            let got = negotiate(&h, &Query::default(), &all, true).ok().map(|a| (a.format, a.transform));
            assert_eq!(got, want, "{name}");
        }
    }
}
