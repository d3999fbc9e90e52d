//! Gathers the descriptions that `kubectl explain` shows from the documentation comments of the k8s-openapi crate's sources
//! (they are not committed), compressed; and a fingerprint of everything that OpenAPI documents are made of.

use flate2::{Compression, write::GzEncoder};
use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

type Error = Box<dyn std::error::Error>;

fn main() -> Result<(), Error> {
    for input in ["build.rs", "data", "src/openapi"] {
        println!("cargo::rerun-if-changed={input}");
    }
    let mut docs = BTreeMap::new();
    walk(&sources()?.join("src/v1_36"), &mut docs)?;
    if docs.is_empty() {
        return Err("the sources of k8s-openapi hold no descriptions".into());
    }
    let mut text = String::new();
    for (name, lines) in &docs {
        text.push_str(&format!("={name}\t{lines}"));
    }
    let out = PathBuf::from(env::var("OUT_DIR")?);
    let mut gz = GzEncoder::new(fs::File::create(out.join("descriptions.gz"))?, Compression::best());
    gz.write_all(text.as_bytes())?;
    gz.finish()?;

    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    for dir in ["data", "src/openapi"] {
        let mut files: Vec<_> = fs::read_dir(dir)?.collect::<Result<_, _>>()?;
        files.sort_by_key(fs::DirEntry::path);
        for f in files.iter().filter(|f| f.path().is_file()) {
            fs::read(f.path())?.hash(&mut hasher);
        }
    }
    println!("cargo::rustc-env=SCHEMA_FINGERPRINT={:016X}", hasher.finish());
    Ok(())
}

/// Where cargo keeps the sources of k8s-openapi. Without network first: they are there after any build of the workspace.
fn sources() -> Result<PathBuf, Error> {
    let mut failure = String::new();
    for offline in [true, false] {
        let mut cmd = Command::new(env::var("CARGO")?);
        cmd.args(["metadata", "--format-version", "1", "--filter-platform", &env::var("TARGET")?]);
        if offline {
            cmd.arg("--offline");
        }
        let output = cmd.output()?;
        if !output.status.success() {
            failure = String::from_utf8_lossy(&output.stderr).into_owned();
            continue;
        }
        let metadata: serde_json::Value = serde_json::from_slice(&output.stdout)?;
        let packages = metadata["packages"].as_array().into_iter().flatten();
        let found = packages.filter(|p| p["name"] == "k8s-openapi").find_map(|p| p["manifest_path"].as_str());
        let manifest = found.ok_or("the workspace does not use k8s-openapi")?;
        return Ok(Path::new(manifest).parent().ok_or("manifest without directory")?.to_owned());
    }
    Err(format!("cargo metadata: {failure}").into())
}

fn walk(dir: &Path, docs: &mut BTreeMap<String, String>) -> Result<(), Error> {
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() {
            walk(&path, docs)?;
        } else if path.extension().is_some_and(|e| e == "rs") {
            read(&fs::read_to_string(&path)?, docs);
        }
    }
    Ok(())
}

/// One file defines one type: `// Generated from definition NAME`, documentation, `pub struct`, fields with documentation,
/// and further down a table of the fields' JSON names.
fn read(text: &str, docs: &mut BTreeMap<String, String>) {
    let Some(name) = text.lines().find_map(|l| l.strip_prefix("// Generated from definition ")) else { return };
    let mut json = BTreeMap::new();
    for line in text.lines().filter(|l| l.contains("=> Field::Key_")) {
        let mut parts = line.trim().splitn(2, " => Field::Key_");
        if let (Some(key), Some(rust)) = (parts.next(), parts.next()) {
            json.insert(rust.trim_end_matches(','), key.trim_matches('"'));
        }
    }
    let mut pending: Vec<&str> = Vec::new();
    let mut out = String::new();
    let mut started = false;
    for line in text.lines() {
        let trimmed = line.trim_start();
        if let Some(doc) = trimmed.strip_prefix("///") {
            pending.push(doc.strip_prefix(' ').unwrap_or(doc));
        } else if !started && (trimmed.starts_with("pub struct ") || trimmed.starts_with("pub enum ")) {
            started = true;
            out.push_str(&escape(&pending));
            pending.clear();
        } else if started && line == "}" {
            break;
        } else if started && let Some(field) = trimmed.strip_prefix("pub ").and_then(|f| f.split(':').next()) {
            let field = field.strip_prefix("r#").unwrap_or(field);
            if !pending.is_empty() {
                let key = json.get(field).copied().unwrap_or(field);
                out.push_str(&format!("{key}\t{}", escape(&pending)));
            }
            pending.clear();
        } else if !trimmed.starts_with('#') {
            pending.clear();
        }
    }
    if started {
        docs.insert(name.to_owned(), out);
    }
}

fn escape(lines: &[&str]) -> String {
    lines.join("\n").replace('\\', "\\\\").replace('\n', "\\n").replace('\t', " ") + "\n"
}
