//! Rules of the repository, as tests: file lengths, the direction of dependencies, documents that name existing paths, words that
//! mean unfinished work.

use std::path::{Path, PathBuf};
use std::process::Command;

fn root() -> PathBuf {
    e2e::lab::root()
}

/// Files under version control (and new ones not ignored).
fn files() -> Vec<PathBuf> {
    let out = Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard"])
        .current_dir(root())
        .output()
        .expect("git runs");
    let list: Vec<_> =
        String::from_utf8_lossy(&out.stdout).lines().map(PathBuf::from).filter(|f| root().join(f).is_file()).collect();
    assert!(list.len() > 50, "git lists the repository's files");
    list
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_default()
}

fn with_extension<'a>(files: &'a [PathBuf], ext: &'a str) -> impl Iterator<Item = &'a PathBuf> {
    files.iter().filter(move |f| f.extension().is_some_and(|e| e == ext))
}

#[test]
fn files_are_short_and_say_what_they_are() {
    let files = files();
    let mut wrong = Vec::new();
    for f in with_extension(&files, "rs") {
        let text = read(f);
        let lines = text.lines().count();
        if lines > 1500 {
            wrong.push(format!("{}: {lines} lines, 1500 at most", f.display()));
        }
        if !text.trim_start().starts_with("//!") {
            wrong.push(format!("{}: the first lines do not say what the file is (//! …)", f.display()));
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn nothing_is_left_unfinished_in_silence() {
    let files = files();
    let words =
        [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X"), concat!("todo", "!("), concat!("unimplemented", "!(")];
    let mut wrong = Vec::new();
    for f in with_extension(&files, "rs") {
        for (n, line) in read(f).lines().enumerate() {
            if words.iter().any(|w| line.contains(w)) {
                wrong.push(format!("{}:{}: {}", f.display(), n + 1, line.trim()));
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn dependencies_point_one_way() {
    // Layers: what a crate of one layer may depend on is in layers below.
    let components = ["apiserver", "controller-manager", "scheduler", "kubelet", "kube-proxy"];
    let only_apiserver = ["store", "storage", "kinds", "auth", "patch"];
    let files = files();
    let mut wrong = Vec::new();
    for f in files.iter().filter(|f| f.ends_with("Cargo.toml") && f.components().count() > 1) {
        let dir = f.parent().expect("has a parent").display().to_string();
        let text = read(f);
        let normal = text.split("[dev-dependencies]").next().unwrap_or("");
        let depends =
            |name: &str| normal.lines().any(|l| l.starts_with(&format!("{name}.")) || l.starts_with(&format!("{name} =")));
        let is_component = components.contains(&dir.as_str());
        let is_lib = dir.starts_with("lib/");
        for c in components {
            if (is_component || is_lib) && c != dir && depends(c) {
                wrong.push(format!("{dir} depends on the component {c}"));
            }
        }
        for c in only_apiserver {
            if (is_component || is_lib)
                && !dir.starts_with("apiserver")
                && !matches!(dir.as_str(), "lib/patch" | "lib/store")
                && depends(c)
            {
                wrong.push(format!("{dir} depends on {c}, which is the API server's alone"));
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn documents_name_existing_paths() {
    let files = files();
    let mut wrong = Vec::new();
    for f in with_extension(&files, "md") {
        for word in read(f).split('`').skip(1).step_by(2) {
            let path = word.split([' ', ':']).next().unwrap_or("").trim_end_matches('/');
            let looks_like_ours =
                path.contains('/') && !path.contains(['*', '<', '{', '$', '~', '=', '…']) && !path.starts_with(['/', '.', '-']);
            let top = path.split('/').next().unwrap_or("");
            if looks_like_ours && root().join(top).is_dir() && !path.starts_with("target") && !root().join(path).exists() {
                wrong.push(format!("{}: `{word}` does not exist", f.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}
