//! A watch that is taken up again where it ended: an API server on a busy machine cuts off watchers that are slow.

use super::connection::{Call, Connection};
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::Method;
use hyper::body::Incoming;
use std::time::Instant;

/// Watches that end more often than this are no accident.
const REOPENINGS: usize = 20;
const VERSION: &[u8] = b"\"resourceVersion\":\"";

/// The events of one path.
pub struct Watch {
    connection: Connection,
    path: String,
    version: String,
    body: Incoming,
    pending: BytesMut,
    arrived: Instant,
    reopened: usize,
}

async fn open(connection: &mut Connection, path: &str, version: &str) -> Result<Incoming, String> {
    let call = Call::new(Method::GET, format!("{path}?watch=true&timeoutSeconds=600&resourceVersion={version}"));
    let answer = connection.send(&call).await?;
    if answer.status().is_success() { Ok(answer.into_body()) } else { Err(format!("watch of {path}: {}", answer.status())) }
}

/// What follows the first `mark`, up to a quote.
fn text_after(line: &[u8], mark: &[u8]) -> Option<String> {
    let at = line.windows(mark.len()).position(|w| w == mark)? + mark.len();
    let len = line[at..].iter().position(|b| *b == b'"')?;
    String::from_utf8(line[at..at + len].to_vec()).ok()
}

impl Watch {
    /// Watches from the present state on.
    pub async fn from_now(mut connection: Connection, path: &str) -> Result<Self, String> {
        let list = connection.call(&Call::new(Method::GET, format!("{path}?limit=1"))).await?;
        let version = text_after(&list, VERSION).ok_or_else(|| format!("{path}: a list without a version"))?;
        Self::from_version(connection, path, version).await
    }

    pub async fn from_version(mut connection: Connection, path: &str, version: String) -> Result<Self, String> {
        let body = open(&mut connection, path, &version).await?;
        let (path, pending) = (path.to_owned(), BytesMut::new());
        Ok(Self { connection, path, version, body, pending, arrived: Instant::now(), reopened: 0 })
    }

    pub fn version(&self) -> &str {
        &self.version
    }

    /// The next event, a line of JSON, and when it arrived.
    pub async fn next(&mut self) -> Result<(Bytes, Instant), String> {
        loop {
            if let Some(end) = self.pending.iter().position(|b| *b == b'\n') {
                let line = self.pending.split_to(end + 1).freeze();
                if line.starts_with(b"{\"type\":\"ERROR\"") {
                    return Err(format!("watch of {}: {}", self.path, String::from_utf8_lossy(&line)));
                }
                if let Some(version) = text_after(&line, VERSION) {
                    self.version = version;
                }
                return Ok((line, self.arrived));
            }
            match self.body.frame().await {
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        self.pending.extend_from_slice(&data);
                        self.arrived = Instant::now();
                    }
                }
                ended => {
                    let why = ended.and_then(Result::err).map_or("it ended".to_owned(), |e| e.to_string());
                    self.reopened += 1;
                    if self.reopened > REOPENINGS {
                        return Err(format!("watch of {}: {why}, and that {REOPENINGS} times", self.path));
                    }
                    self.pending.clear();
                    self.body = open(&mut self.connection, &self.path, &self.version).await?;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_found() {
        for (line, want) in [
            (r#"{"object":{"metadata":{"name":"a","resourceVersion":"42"}}}"#, Some("42")),
            (r#"{"metadata":{"resourceVersion":"7"},"items":[{"metadata":{"resourceVersion":"5"}}]}"#, Some("7")),
            ("{}", None),
        ] {
            assert_eq!(text_after(line.as_bytes(), VERSION).as_deref(), want, "{line}");
        }
    }
}
