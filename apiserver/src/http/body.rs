//! Request bodies: read under a limit, decoded from JSON or YAML with a bound on nesting. Every byte here is hostile.

use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt, Empty, Full, combinators::UnsyncBoxBody};
use machinery::{Status, Value};
use serde_saphyr::DuplicateKeyPolicy;

pub type BoxError = Box<dyn std::error::Error + Send + Sync>;
/// The body of requests and responses alike.
pub type Body = UnsyncBoxBody<Bytes, BoxError>;

/// Upstream's MaxRequestBodyBytes: the largest request the server reads.
pub const MAX_BODY: usize = 3 * 1024 * 1024;
/// A body that is too large is read this far for the sake of a clean answer.
const MAX_DRAINED: usize = 16 * MAX_BODY;
/// Deeper objects are refused. Upstream's JSON decoder stops at 10,000; ours recurses, so it stops where no API type goes.
const MAX_DEPTH: usize = 120;

pub fn empty() -> Body {
    Empty::new().map_err(|e| match e {}).boxed_unsync()
}

pub fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|e| match e {}).boxed_unsync()
}

/// Reads the whole body, at most [`MAX_BODY`] bytes of it.
pub async fn read(mut body: Body) -> Result<Bytes, Status> {
    let mut first: Option<Bytes> = None;
    let mut rest = BytesMut::new();
    let mut len = 0usize;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|e| Status::bad_request(format!("error reading the request body: {e}")))?;
        let Ok(data) = frame.into_data() else { continue };
        len += data.len();
        if len > MAX_DRAINED {
            return Err(too_large());
        }
        if len > MAX_BODY {
            // Read to the end and forgotten: a client that is still sending would see a reset instead of the answer.
            first = None;
            rest = BytesMut::new();
            continue;
        }
        match first.take() {
            None if rest.is_empty() => first = Some(data),
            None => rest.extend_from_slice(&data),
            Some(f) => {
                rest.extend_from_slice(&f);
                rest.extend_from_slice(&data);
            }
        }
    }
    if len > MAX_BODY {
        return Err(too_large());
    }
    Ok(first.unwrap_or_else(|| rest.freeze()))
}

fn too_large() -> Status {
    Status::new(413, "RequestEntityTooLarge", format!("Request entity too large: limit is {MAX_BODY}"))
}

/// Media type of a request body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyFormat {
    Json,
    Yaml,
    Protobuf,
}

impl BodyFormat {
    /// The format that a `Content-Type` names; JSON where there is none.
    pub fn from_content_type(content_type: &str) -> Result<Self, Status> {
        let media = content_type.split(';').next().unwrap_or("").trim().to_ascii_lowercase();
        match media.as_str() {
            "" | "application/json" => Ok(Self::Json),
            "application/yaml" => Ok(Self::Yaml),
            "application/vnd.kubernetes.protobuf" => Ok(Self::Protobuf),
            _ => Err(unsupported_media_type(&["application/json", "application/yaml", "application/vnd.kubernetes.protobuf"])),
        }
    }
}

/// 415, naming what is accepted.
pub fn unsupported_media_type(accepted: &[&str]) -> Status {
    Status::new(
        415,
        "UnsupportedMediaType",
        format!("the body of the request was in an unknown format - accepted media types include: {}", accepted.join(", ")),
    )
}

/// Refuses a JSON text that nests too deep for recursive parsers.
pub fn check_depth(bytes: &[u8]) -> Result<(), String> {
    if json_depth(bytes) > MAX_DEPTH { Err("exceeded max depth".into()) } else { Ok(()) }
}

/// Parses a JSON text of bounded depth.
pub fn parse_json(bytes: &[u8]) -> Result<Value, String> {
    check_depth(bytes)?;
    serde_json::from_slice(bytes).map_err(|e| if e.is_eof() { "unexpected end of JSON input".into() } else { e.to_string() })
}

/// Parses a YAML text (a single document).
pub fn parse_yaml(bytes: &[u8]) -> Result<Value, String> {
    read_yaml(bytes, DuplicateKeyPolicy::Error).map_err(|e| format!("error converting YAML to JSON: {e}"))
}

/// [`parse_yaml`], where the last of equal keys counts; tells of the first one that is there twice, in the words of Go's parser.
pub fn parse_yaml_noting(bytes: &[u8]) -> Result<(Value, Option<String>), String> {
    let fail = |e: serde_saphyr::Error| format!("error converting YAML to JSON: {e}");
    match read_yaml(bytes, DuplicateKeyPolicy::Error) {
        Ok(v) => Ok((v, None)),
        Err(e) => match e.without_snippet() {
            serde_saphyr::Error::DuplicateMappingKey { key, location } => {
                let key = machinery::quote::quote(key.as_deref().unwrap_or_default());
                let told = format!("yaml: unmarshal errors:\n  line {}: key {key} already set in map", location.line());
                Ok((read_yaml(bytes, DuplicateKeyPolicy::LastWins).map_err(fail)?, Some(told)))
            }
            _ => Err(fail(e)),
        },
    }
}

fn read_yaml(bytes: &[u8], duplicate_keys: DuplicateKeyPolicy) -> Result<Value, serde_saphyr::Error> {
    let options = serde_saphyr::options! { legacy_octal_numbers: true, duplicate_keys: duplicate_keys };
    serde_saphyr::from_slice_with_options(bytes, options)
}

/// How deep arrays and objects nest, strings aside.
fn json_depth(bytes: &[u8]) -> usize {
    let (mut depth, mut max, mut in_string, mut escaped) = (0usize, 0usize, false, false);
    for b in bytes {
        match (in_string, escaped, b) {
            (true, true, _) => escaped = false,
            (true, false, b'\\') => escaped = true,
            (true, false, b'"') => in_string = false,
            (true, ..) => {}
            (false, _, b'"') => in_string = true,
            (false, _, b'{' | b'[') => {
                depth += 1;
                max = max.max(depth);
            }
            (false, _, b'}' | b']') => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    max
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn depth_counts_brackets_outside_of_strings() {
        for (name, text, want) in [("flat", "{}", 1), ("nested", r#"{"a":[{}]}"#, 3), ("string", r#"{"a":"[[[\"{"}"#, 1)] {
            assert_eq!(json_depth(text.as_bytes()), want, "{name}");
        }
        let deep = "[".repeat(100_000);
        assert!(parse_json(deep.as_bytes()).is_err());
    }
}
