//! What `/version` says. Clients compare it with their own to warn of skew.

use serde::Serialize;

/// The Kubernetes release whose API this server serves.
pub const GIT_VERSION: &str = "v1.36.3";

/// In upstream's order, and indented: scripts cut lines out of it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Info<'a> {
    major: &'static str,
    minor: &'static str,
    emulation_major: &'static str,
    emulation_minor: &'static str,
    min_compatibility_major: &'static str,
    min_compatibility_minor: &'static str,
    git_version: &'a str,
    git_commit: &'static str,
    git_tree_state: &'static str,
    build_date: &'static str,
    go_version: &'static str,
    compiler: &'static str,
    platform: String,
}

/// The document as it is sent. `reported` is the version to claim in place of [`GIT_VERSION`].
pub fn version(reported: Option<&str>) -> Vec<u8> {
    let info = Info {
        major: "1",
        minor: "36",
        emulation_major: "1",
        emulation_minor: "36",
        min_compatibility_major: "1",
        min_compatibility_minor: "35",
        git_version: reported.unwrap_or(GIT_VERSION),
        git_commit: concat!("skiff-", env!("CARGO_PKG_VERSION")),
        git_tree_state: "clean",
        build_date: "1970-01-01T00:00:00Z",
        go_version: "rust",
        compiler: "rustc",
        platform: format!("{}/{}", std::env::consts::OS, arch()),
    };
    serde_json::to_vec_pretty(&info).unwrap_or_default()
}

fn arch() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}
