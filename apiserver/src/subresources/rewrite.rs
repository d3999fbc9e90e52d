//! What upstream's reverse proxy changes in an answer so that a page served through `…/proxy` works in a browser: links to the same
//! host in HTML and in `Location` lead through the proxy again, and CORS headers of the backend stay behind. Upstream:
//! apimachinery/pkg/util/proxy/transport.go.

use crate::http::body::{self, Body};
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HeaderName, LOCATION};
use http::response::Parts;
use http::{HeaderValue, Response};
use http_body_util::BodyExt as _;
use machinery::Status;
use std::io::Read as _;

/// Pages are held in memory while their links are changed; larger ones are refused.
const MAX_PAGE: usize = 32 << 20;

/// Where the page came from, and where its links have to lead.
pub struct Links {
    /// Path of the request up to and with `/proxy`.
    pub prefix: String,
    /// Names of the host whose links are its own: the backend's address, and the name the client called us by.
    pub hosts: [String; 2],
}

/// How a page is encoded.
enum Encoding {
    Identity,
    Gzip,
    Deflate,
}

impl Encoding {
    fn decode(&self, page: Vec<u8>) -> Result<Vec<u8>, Status> {
        let mut out = Vec::new();
        let limit = MAX_PAGE as u64 + 1;
        let read = match self {
            Self::Identity => return Ok(page),
            Self::Gzip => flate2::read::MultiGzDecoder::new(&*page).take(limit).read_to_end(&mut out),
            Self::Deflate => flate2::read::DeflateDecoder::new(&*page).take(limit).read_to_end(&mut out),
        };
        read.map_err(|e| unreachable(e.to_string()))?;
        if out.len() > MAX_PAGE { Err(unreachable("the page is too large".into())) } else { Ok(out) }
    }
}

const CORS: [HeaderName; 5] = [
    http::header::ACCESS_CONTROL_ALLOW_CREDENTIALS,
    http::header::ACCESS_CONTROL_ALLOW_HEADERS,
    http::header::ACCESS_CONTROL_ALLOW_METHODS,
    http::header::ACCESS_CONTROL_ALLOW_ORIGIN,
    http::header::ACCESS_CONTROL_EXPOSE_HEADERS,
];

impl Links {
    /// The answer as the client gets it.
    pub async fn rewrite(self, answer: Response<Body>) -> Result<Response<Body>, Status> {
        let (mut parts, content) = answer.into_parts();
        let Some(encoding) = self.head(&mut parts) else { return Ok(Response::from_parts(parts, content)) };
        let page = encoding.decode(read(content).await?)?;
        Ok(Response::from_parts(parts, body::full(self.page(&page))))
    }

    /// Changes the head of an answer; answers the encoding of a page whose links have to be changed.
    fn head(&self, parts: &mut Parts) -> Option<Encoding> {
        for h in &CORS {
            parts.headers.remove(h);
        }
        if let Some(to) = parts.headers.get(LOCATION) {
            if let Some(new) = to.to_str().ok().and_then(|l| self.link(l)).and_then(|l| HeaderValue::from_str(&l).ok()) {
                parts.headers.insert(LOCATION, new);
            }
            return None;
        }
        let text = |h: HeaderName| parts.headers.get(h).and_then(|v| v.to_str().ok()).unwrap_or("");
        text(CONTENT_TYPE).split(';').next().filter(|t| t.trim() == "text/html")?;
        let encoding = match text(CONTENT_ENCODING) {
            "" => Encoding::Identity,
            "gzip" => Encoding::Gzip,
            "deflate" => Encoding::Deflate,
            _ => return None,
        };
        // Sent on as it reads, in no encoding.
        parts.headers.remove(CONTENT_ENCODING);
        parts.headers.remove(CONTENT_LENGTH);
        Some(encoding)
    }

    /// A link as it leads through the proxy; `None` if it stays as it is.
    fn link(&self, link: &str) -> Option<String> {
        let (host, path) = match link.find("//") {
            Some(i) if i == 0 || link[..i].ends_with(':') => {
                let rest = &link[i + 2..];
                let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
                (&rest[..end], &rest[end..])
            }
            _ => ("", link),
        };
        let ours = host.is_empty() || self.hosts.iter().any(|h| h == host);
        if !ours || !path.starts_with('/') {
            return None;
        }
        if path.starts_with(&self.prefix) {
            return (!host.is_empty() && host != self.hosts[1]).then(|| path.to_owned());
        }
        let before = if host == self.hosts[1] { &link[..link.len() - path.len()] } else { "" };
        Some(format!("{before}{}{path}", self.prefix))
    }

    /// A page with its links changed; everything else stays byte for byte.
    fn page(&self, html: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(html.len() + 256);
        let mut at = 0;
        while let Some(open) = find(html, at, b"<") {
            out.extend_from_slice(&html[at..open]);
            at = if html[open..].starts_with(b"<!--") {
                let end = find(html, open + 4, b"-->").map_or(html.len(), |e| e + 3);
                out.extend_from_slice(&html[open..end]);
                end
            } else if html.get(open + 1).is_some_and(u8::is_ascii_alphabetic) {
                self.tag(html, open, &mut out)
            } else {
                out.push(b'<');
                open + 1
            };
        }
        out.extend_from_slice(&html[at..]);
        out
    }

    /// Copies the start tag at `open`, and what follows it unparsed in elements such as `script`; answers where it ended.
    fn tag(&self, html: &[u8], open: usize, out: &mut Vec<u8>) -> usize {
        let name_end = span(html, open + 1, |b| !is_space(b) && b != b'/' && b != b'>');
        let name = String::from_utf8_lossy(&html[open + 1..name_end]).to_ascii_lowercase();
        let wanted = attributes(&name);
        out.extend_from_slice(&html[open..name_end]);
        let mut at = name_end;
        while at < html.len() && html[at] != b'>' {
            let key = span(html, at, |b| is_space(b) || b == b'/');
            let key_end = span(html, key, |b| !is_space(b) && !matches!(b, b'=' | b'>' | b'/'));
            let equals = span(html, key_end, is_space);
            if key_end == key || html.get(equals) != Some(&b'=') {
                let end = key_end.max(at + usize::from(key_end == at));
                out.extend_from_slice(&html[at..end]);
                at = end;
                continue;
            }
            let value = span(html, equals + 1, is_space);
            let (from, to, end) = match html.get(value) {
                Some(q @ (b'"' | b'\'')) => {
                    let to = span(html, value + 1, |b| b != *q);
                    (value + 1, to, (to + 1).min(html.len()))
                }
                _ => {
                    let to = span(html, value, |b| !is_space(b) && b != b'>');
                    (value, to, to)
                }
            };
            let key = String::from_utf8_lossy(&html[key..key_end]).to_ascii_lowercase();
            let link = std::str::from_utf8(&html[from..to]).ok().filter(|_| wanted.contains(&key.as_str()));
            out.extend_from_slice(&html[at..from]);
            match link.and_then(|l| self.link(l)) {
                Some(new) => out.extend_from_slice(new.as_bytes()),
                None => out.extend_from_slice(&html[from..to]),
            }
            out.extend_from_slice(&html[to..end]);
            at = end;
        }
        if matches!(name.as_str(), "script" | "style" | "textarea" | "title" | "iframe" | "noembed" | "noframes" | "xmp") {
            let close = format!("</{name}");
            let end = html[at..].windows(close.len()).position(|w| w.eq_ignore_ascii_case(close.as_bytes()));
            let end = end.map_or(html.len(), |e| at + e);
            out.extend_from_slice(&html[at..end]);
            return end;
        }
        at
    }
}

fn unreachable(e: String) -> Status {
    Status::service_unavailable(format!("error trying to reach service: {e}"))
}

async fn read(mut content: Body) -> Result<Vec<u8>, Status> {
    let mut page = Vec::new();
    while let Some(frame) = content.frame().await {
        if let Ok(data) = frame.map_err(|e| unreachable(e.to_string()))?.into_data() {
            page.extend_from_slice(&data);
        }
        if page.len() > MAX_PAGE {
            return Err(unreachable("the page is too large".into()));
        }
    }
    Ok(page)
}

/// Attributes of an element that are links.
fn attributes(element: &str) -> &'static [&'static str] {
    match element {
        "a" | "area" | "base" | "link" => &["href"],
        "applet" => &["codebase"],
        "audio" | "embed" | "script" | "source" => &["src"],
        "blockquote" | "del" | "ins" | "q" => &["cite"],
        "body" => &["background"],
        "button" => &["formaction"],
        "command" => &["icon"],
        "form" => &["action"],
        "frame" | "iframe" => &["longdesc", "src"],
        "head" => &["profile"],
        "html" => &["manifest"],
        "img" => &["longdesc", "src", "usemap"],
        "input" => &["src", "usemap", "formaction"],
        "object" => &["classid", "codebase", "data", "usemap"],
        "video" => &["poster", "src"],
        _ => &[],
    }
}

fn is_space(b: u8) -> bool {
    b.is_ascii_whitespace()
}

/// Where the run of bytes from `at` on that `of` accepts ends.
fn span(html: &[u8], at: usize, of: impl Fn(u8) -> bool) -> usize {
    let from = at.min(html.len());
    from + html[from..].iter().take_while(|b| of(**b)).count()
}

fn find(html: &[u8], at: usize, what: &[u8]) -> Option<usize> {
    let from = at.min(html.len());
    html[from..].windows(what.len()).position(|w| w == what).map(|i| from + i)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn links() -> Links {
        Links { prefix: "/api/v1/pods/p/proxy".into(), hosts: ["10.0.0.1:80".into(), "api:6443".into()] }
    }

    #[test]
    fn single() {
        for (name, link, want) in [
            ("path", "/a/", Some("/api/v1/pods/p/proxy/a/")),
            ("relative", "a", None),
            ("other host", "http://x/a", None),
            ("other host, no scheme", "//x/a", None),
            ("backend", "http://10.0.0.1:80/a?b=//c", Some("/api/v1/pods/p/proxy/a?b=//c")),
            ("backend without a path", "http://10.0.0.1:80", None),
            ("the client's name of us", "https://api:6443/a", Some("https://api:6443/api/v1/pods/p/proxy/a")),
            ("prefixed already", "/api/v1/pods/p/proxy/a", None),
            ("not a path", "mailto:x//y", None),
        ] {
            assert_eq!(links().link(link).as_deref(), want, "{name}");
        }
    }

    #[test]
    fn pages() {
        let p = "/api/v1/pods/p/proxy";
        for (name, page, want) in [
            ("link", "<a href=\"/x\">t</a>", format!("<a href=\"{p}/x\">t</a>")),
            (
                "several attributes, quotes",
                "<IMG alt='/n' SRC = '/x' usemap=/m>",
                format!("<IMG alt='/n' SRC = '{p}/x' usemap={p}/m>"),
            ),
            ("self-closing", "<link href=/x />", format!("<link href={p}/x />")),
            ("comment", "<!-- <a href='/x'> --><p>", "<!-- <a href='/x'> --><p>".into()),
            ("script", "<script src=/x>a<b; '<a href=/y>'</script>", format!("<script src={p}/x>a<b; '<a href=/y>'</script>")),
            ("no element", "1 < 2 <3", "1 < 2 <3".into()),
            ("cut off", "<a href=\"/x", format!("<a href=\"{p}/x")),
            ("cut off before the value", "<a href", "<a href".into()),
            ("stray signs", "<a =/ / href=/x>", format!("<a =/ / href={p}/x>")),
        ] {
            assert_eq!(String::from_utf8_lossy(&links().page(page.as_bytes())), want, "{name}");
        }
    }
}
