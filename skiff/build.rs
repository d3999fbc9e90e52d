//! Compiles the programs of the built-in images (guest/*.rs) to static binaries and packs each into a docker-archive, gzipped:
//! what `skiff up` imports, so that a cluster boots without downloads.

use std::env;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

fn main() {
    println!("cargo:rerun-if-changed=guest");
    println!("cargo:rerun-if-changed=build.rs");
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    let pause = compile(
        "guest/pause.rs",
        &out.join("pause"),
        &["-C", "link-arg=-nostartfiles", "-C", "link-arg=-nostdlib", "-C", "link-arg=-static", "-C", "relocation-model=static"],
        &[],
    );
    archive(&out.join("pause.tar.gz"), &["skiff.dev/pause:1"], "/pause", &pause, "65535:65535");
    let mut hello = Vec::new();
    for version in ["1.0", "2.0"] {
        let bin = compile(
            "guest/hello.rs",
            &out.join(format!("hello-{version}")),
            &["-C", "target-feature=+crt-static"],
            &[("HELLO_VERSION", version)],
        );
        hello.push((version, bin));
    }
    for (version, bin) in &hello {
        archive(
            &out.join(format!("hello-{version}.tar.gz")),
            &[&format!("skiff.dev/hello:{version}")],
            "/hello",
            bin,
            "65532:65532",
        );
    }
}

fn compile(source: &str, to: &Path, args: &[&str], vars: &[(&str, &str)]) -> Vec<u8> {
    let rustc = env::var_os("RUSTC").expect("cargo sets RUSTC");
    let target = env::var("TARGET").expect("cargo sets TARGET");
    let mut c = Command::new(rustc);
    c.args([
        "--edition=2024",
        "--crate-type=bin",
        "-C",
        "panic=abort",
        "-C",
        "opt-level=s",
        "-C",
        "strip=symbols",
        "-C",
        "lto=fat",
    ]);
    c.args(["--target", &target]).args(args).arg("-o").arg(to).arg(source);
    if let Some(linker) = env::var_os("RUSTC_LINKER") {
        c.arg("-C").arg(format!("linker={}", linker.to_string_lossy()));
    }
    let status = c.envs(vars.iter().copied()).status().expect("rustc starts");
    assert!(status.success(), "compiling {source} failed: static linking needs libc.a (Debian: libc6-dev)");
    fs::read(to).expect("rustc wrote its output")
}

fn archive(to: &Path, tags: &[&str], entrypoint: &str, binary: &[u8], user: &str) {
    let mut layer = tar::Builder::new(Vec::new());
    append(&mut layer, entrypoint.trim_start_matches('/'), binary, 0o755);
    let layer = layer.into_inner().expect("tar in memory");
    let diff_id = sha256(&layer);
    let arch = match env::var("CARGO_CFG_TARGET_ARCH").expect("cargo sets the architecture").as_str() {
        "aarch64" => "arm64",
        _ => "amd64",
    };
    let config = format!(
        r#"{{"architecture":"{arch}","os":"linux","created":"2023-11-14T22:13:20Z","config":{{"Entrypoint":["{entrypoint}"],"User":"{user}","WorkingDir":"/"}},"rootfs":{{"type":"layers","diff_ids":["sha256:{diff_id}"]}},"history":[{{"created":"2023-11-14T22:13:20Z","created_by":"skiff"}}]}}"#
    );
    let config_name = format!("{}.json", sha256(config.as_bytes()));
    let tags = tags.iter().map(|t| format!("\"{t}\"")).collect::<Vec<_>>().join(",");
    let manifest = format!(r#"[{{"Config":"{config_name}","RepoTags":[{tags}],"Layers":["{diff_id}/layer.tar"]}}]"#);
    let file = fs::File::create(to).expect("OUT_DIR is writable");
    let mut t = tar::Builder::new(flate2::write::GzEncoder::new(file, flate2::Compression::best()));
    append(&mut t, &config_name, config.as_bytes(), 0o644);
    append(&mut t, &format!("{diff_id}/layer.tar"), &layer, 0o644);
    append(&mut t, "manifest.json", manifest.as_bytes(), 0o644);
    t.into_inner().and_then(|mut gz| gz.flush().map(|()| gz)).and_then(|gz| gz.finish()).expect("OUT_DIR is writable");
}

fn append<W: Write>(t: &mut tar::Builder<W>, path: &str, data: &[u8], mode: u32) {
    let mut h = tar::Header::new_gnu();
    h.set_size(data.len() as u64);
    h.set_mode(mode);
    h.set_mtime(1_700_000_000);
    h.set_cksum();
    t.append_data(&mut h, path, data).expect("tar in memory");
}

fn sha256(data: &[u8]) -> String {
    use sha2::Digest;
    sha2::Sha256::digest(data).iter().map(|b| format!("{b:02x}")).collect()
}
