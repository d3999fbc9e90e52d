//! `/logs/`: the node's /var/log as files, the way Go's file server shows a directory (upstream Kubelet.ServeLogs).
//! Unlike upstream's, a symlink that leads out of there (or of the pods' logs) is not followed: who may write to /var/log by a
//! hostPath volume would else read any file of the node.

use super::{Answer, Body, answer, text};
use crate::context::Context;
use futures::StreamExt;
use http::{Response, StatusCode, header};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use tokio_util::io::ReaderStream;

const ROOT: &str = "/var/log";

/// Answers for the path below `/logs`; `slash` says whether the request's path ended in one.
pub async fn serve(ctx: &Context, path: &[&str], slash: bool) -> Answer {
    let roots = [Path::new(ROOT), Path::new(&ctx.config.kubelet.pod_logs_dir)];
    show(&roots, path, slash).await
}

/// Shows what is at `path` below the first root.
async fn show(roots: &[&Path], path: &[&str], slash: bool) -> Answer {
    let missing = || text(StatusCode::NOT_FOUND, "404 page not found\n");
    let Some(real) = resolve(roots, path) else { return missing() };
    let Ok(kind) = tokio::fs::metadata(&real).await else { return missing() };
    let last = path.last().copied().unwrap_or("logs");
    match (kind.is_dir(), slash) {
        (true, true) => list(&real).await.unwrap_or_else(|_| missing()),
        (true, false) => moved(&format!("{last}/")),
        (false, true) => moved(&format!("../{last}")),
        (false, false) if kind.is_file() => file(&real).await.unwrap_or_else(|_| missing()),
        (false, false) => missing(),
    }
}

fn resolve(roots: &[&Path], path: &[&str]) -> Option<PathBuf> {
    if path.iter().any(|p| matches!(*p, "." | "..") || p.contains(['/', '\0'])) {
        return None;
    }
    let mut wanted = roots.first()?.to_path_buf();
    wanted.extend(path);
    let real = wanted.canonicalize().ok()?;
    roots.iter().filter_map(|r| r.canonicalize().ok()).any(|r| real.starts_with(r)).then_some(real)
}

fn moved(to: &str) -> Answer {
    let mut r = text(StatusCode::MOVED_PERMANENTLY, "");
    if let Ok(v) = header::HeaderValue::from_str(to) {
        r.headers_mut().insert(header::LOCATION, v);
    }
    r
}

async fn list(dir: &Path) -> std::io::Result<Answer> {
    let mut names = Vec::new();
    let mut entries = tokio::fs::read_dir(dir).await?;
    while let Some(e) = entries.next_entry().await? {
        let slash = if e.file_type().await?.is_dir() { "/" } else { "" };
        names.push(format!("{}{slash}", e.file_name().to_string_lossy()));
    }
    names.sort();
    let mut page = String::from("<!doctype html>\n<meta name=\"viewport\" content=\"width=device-width\">\n<pre>\n");
    for n in names {
        let shown =
            n.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&#34;").replace('\'', "&#39;");
        let _ = writeln!(page, "<a href=\"{}\">{shown}</a>", reference(&n));
    }
    page.push_str("</pre>\n");
    Ok(answer(StatusCode::OK, "text/html; charset=utf-8", page))
}

/// A name as a relative reference of a URL.
fn reference(name: &str) -> String {
    let mut out = String::new();
    for b in name.bytes() {
        match b {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' | b'/' => out.push(b as char),
            _ => {
                let _ = write!(out, "%{b:02X}");
            }
        }
    }
    out
}

async fn file(path: &Path) -> std::io::Result<Answer> {
    let file = tokio::fs::File::open(path).await?;
    let body: Body = BodyExt::boxed(StreamBody::new(ReaderStream::new(file).map(|b| b.map(Frame::data))));
    let mut r = Response::new(body);
    r.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static("text/plain; charset=utf-8"));
    Ok(r)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn shows() {
        let dir = tempfile::tempdir().expect("dir");
        let [logs, pods] = ["log", "pods"].map(|n| dir.path().join(n));
        for d in [&logs.join("a"), &pods] {
            std::fs::create_dir_all(d).expect("directory");
        }
        for f in [logs.join("a/x y.log"), logs.join("<b>"), pods.join("0.log"), dir.path().join("secret")] {
            std::fs::write(f, "text").expect("file");
        }
        for (to, link) in [(pods.join("0.log"), "pod"), (dir.path().join("secret"), "out")] {
            std::os::unix::fs::symlink(to, logs.join(link)).expect("link");
        }
        let listing =
            "<a href=\"%3Cb%3E\">&lt;b&gt;</a>\n<a href=\"a/\">a/</a>\n<a href=\"out\">out</a>\n<a href=\"pod\">pod</a>\n";
        let cases: &[(&str, &[&str], bool, u16, &str)] = &[
            ("a directory", &[], true, 200, listing),
            ("a directory without its slash", &["a"], false, 301, "a/"),
            ("a file", &["a", "x y.log"], false, 200, "text"),
            ("a file with a slash", &["a", "x y.log"], true, 301, "../x y.log"),
            ("nothing", &["none"], false, 404, ""),
            ("upwards", &["..", "secret"], false, 404, ""),
            ("a link to a pod's log", &["pod"], false, 200, "text"),
            ("a link that leads out", &["out"], false, 404, ""),
        ];
        for (name, path, slash, code, want) in cases {
            let got = show(&[&logs, &pods], path, *slash).await;
            assert_eq!(got.status(), *code, "{name}");
            let to = got.headers().get(header::LOCATION).and_then(|v| v.to_str().ok()).unwrap_or("").to_owned();
            let body = got.into_body().collect().await.expect("body").to_bytes();
            assert!(String::from_utf8_lossy(&body).contains(want) || to == *want, "{name}: {body:?} {to:?}");
        }
    }
}
