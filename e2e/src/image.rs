//! Test images, made from the distribution's packages: docker archives that `skiff image load` takes.

use crate::command::run;
use crate::lab::root;
use sha2::Digest;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What an image runs by default.
#[derive(Default, Clone, Copy)]
pub struct Config<'a> {
    pub entrypoint: &'a [&'a str],
    pub cmd: &'a [&'a str],
    pub env: &'a [&'a str],
    pub user: &'a str,
}

fn cache() -> PathBuf {
    let dir = root().join("target/images");
    std::fs::create_dir_all(&dir).expect("target is writable");
    dir
}

fn sha256(data: &[u8]) -> String {
    sha2::Sha256::digest(data).iter().map(|b| format!("{b:02x}")).collect()
}

fn append(t: &mut tar::Builder<impl Write>, path: &str, data: &[u8]) {
    let mut h = tar::Header::new_gnu();
    h.set_size(data.len() as u64);
    h.set_mode(0o644);
    h.set_cksum();
    t.append_data(&mut h, path, data).expect("tar");
}

/// Writes a docker archive of layers under several names.
pub fn archive(to: &Path, names: &[&str], layers: &[&[u8]], config: Config<'_>) {
    let digests: Vec<String> = layers.iter().map(|l| sha256(l)).collect();
    let diff_ids: Vec<String> = digests.iter().map(|d| format!("sha256:{d}")).collect();
    let paths: Vec<String> = digests.iter().map(|d| format!("{d}/layer.tar")).collect();
    let list = |l: &[&str]| if l.is_empty() { serde_json::Value::Null } else { serde_json::json!(l) };
    let config = serde_json::json!({
        "architecture": if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" },
        "os": "linux",
        "created": "2023-11-14T22:13:20Z",
        "config": {"Entrypoint": list(config.entrypoint), "Cmd": list(config.cmd), "Env": list(config.env), "User": config.user},
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
    })
    .to_string();
    let config_name = format!("{}.json", sha256(config.as_bytes()));
    let manifest = serde_json::json!([{"Config": config_name, "RepoTags": names, "Layers": paths}]).to_string();
    let tmp = to.with_extension("part");
    let mut t = tar::Builder::new(std::fs::File::create(&tmp).expect("the archive's file"));
    append(&mut t, &config_name, config.as_bytes());
    for (path, layer) in paths.iter().zip(layers) {
        append(&mut t, path, layer);
    }
    append(&mut t, "manifest.json", manifest.as_bytes());
    t.finish().expect("tar");
    std::fs::rename(&tmp, to).expect("the archive appears whole");
}

/// A layer of these files and empty directories (names that end in `/`).
fn layer_of(entries: &[(&str, &str)]) -> Vec<u8> {
    let mut t = tar::Builder::new(Vec::new());
    for (path, text) in entries {
        if path.ends_with('/') {
            directory(&mut t, path, 0o755);
        } else {
            append(&mut t, path, text.as_bytes());
        }
    }
    t.into_inner().expect("tar")
}

fn directory(t: &mut tar::Builder<impl Write>, path: &str, mode: u32) {
    let mut h = tar::Header::new_gnu();
    h.set_entry_type(tar::EntryType::Directory);
    h.set_mode(mode);
    h.set_size(0);
    h.set_cksum();
    t.append_data(&mut h, path, &[][..]).expect("tar");
}

fn link(t: &mut tar::Builder<impl Write>, path: &str, target: &str) {
    let mut h = tar::Header::new_gnu();
    h.set_entry_type(tar::EntryType::Symlink);
    h.set_mode(0o777);
    h.set_size(0);
    h.set_cksum();
    t.append_link(&mut h, path, target).expect("tar");
}

/// Links of every applet of busybox.
fn applets(t: &mut tar::Builder<impl Write>) {
    let names = run(Command::new("/bin/busybox").arg("--list"), "").ok();
    for name in names.lines().filter(|name| *name != "busybox") {
        link(t, &format!("bin/{name}"), "busybox");
    }
}

const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n";
const GROUP: &str = "root:x:0:\nnogroup:x:65534:\n";

/// A root filesystem of busybox, static, with every applet linked.
fn busybox_layer() -> Vec<u8> {
    let binary = std::fs::read("/bin/busybox").expect("busybox-static is installed (hack/deps.sh test --install)");
    let mut t = tar::Builder::new(Vec::new());
    for (dir, mode) in [("bin/", 0o755), ("etc/", 0o755), ("tmp/", 0o1777), ("root/", 0o700), ("var/", 0o755)] {
        directory(&mut t, dir, mode);
    }
    let mut h = tar::Header::new_gnu();
    h.set_size(binary.len() as u64);
    h.set_mode(0o755);
    h.set_cksum();
    t.append_data(&mut h, "bin/busybox", &*binary).expect("tar");
    applets(&mut t);
    append(&mut t, "etc/passwd", PASSWD.as_bytes());
    append(&mut t, "etc/group", GROUP.as_bytes());
    t.into_inner().expect("tar")
}

/// busybox: `busybox:latest` and friends.
pub fn busybox() -> PathBuf {
    let to = cache().join("busybox.tar");
    if !to.exists() {
        let names = ["docker.io/library/busybox:latest", "docker.io/library/busybox:1.36"];
        archive(&to, &names, &[&busybox_layer()], Config { cmd: &["sh"], env: &["PATH=/bin"], ..Config::default() });
    }
    to
}

/// What Kubernetes' tutorials call node-hello: a greeting on port 8080, here by busybox and with the pod's name.
pub fn node_hello() -> PathBuf {
    let to = cache().join("node-hello.tar");
    if !to.exists() {
        let names = ["gcr.io/google-samples/node-hello:1.0"];
        let serve = "mkdir -p /www && echo \"Hello Kubernetes! $HOSTNAME\" >/www/index.html && exec httpd -f -p 8080 -h /www";
        archive(&to, &names, &[&busybox_layer()], Config { cmd: &["sh", "-c", serve], env: &["PATH=/bin"], ..Config::default() });
    }
    to
}

/// The configuration of the nginx image: port 80, logs to the container's streams.
const NGINX_CONF: &str = "daemon off; user root; worker_processes 1; error_log /dev/stderr notice; pid /run/nginx.pid; \
     events { worker_connections 256; } http { access_log /dev/stdout; default_type text/html; \
     server { listen 80 default_server; root /var/www/html; index index.html; } }\n";

/// nginx from Debian's package, serving on port 80, under the names of the users' manifests. Its packages are unpacked, not
/// installed, so what their scripts would make is a layer of its own.
pub fn nginx() -> PathBuf {
    let packages = "--include=nginx-light,busybox-static,base-files,libc-bin";
    let files = [
        ("etc/passwd", PASSWD),
        ("etc/group", GROUP),
        ("etc/nginx/nginx.conf", NGINX_CONF),
        ("var/www/html/index.html", "<h1>Welcome to nginx!</h1>\n"),
        ("var/lib/nginx/", ""),
        ("var/log/nginx/", ""),
        ("run/", ""),
        ("tmp/", ""),
    ];
    let recipe = sha256(format!("{packages}{files:?}").as_bytes());
    let to = cache().join(format!("nginx-{}.tar", &recipe[..12]));
    if to.exists() {
        return to;
    }
    let base = cache().join("nginx-rootfs.tar");
    run(Command::new("mmdebstrap").args(["--variant=extract", packages, "bookworm"]).arg(&base), "").ok();
    let rootfs = std::fs::read(&base).expect("mmdebstrap wrote its archive");
    let mut shell = tar::Builder::new(Vec::new());
    applets(&mut shell);
    let shell = shell.into_inner().expect("tar");
    let names = ["docker.io/library/nginx:alpine", "docker.io/library/nginx:latest", "docker.io/library/nginx:1.27"];
    let config = Config { cmd: &["/usr/sbin/nginx"], env: &["PATH=/usr/sbin:/usr/bin:/sbin:/bin"], ..Config::default() };
    archive(&to, &names, &[&rootfs, &layer_of(&files), &shell], config);
    to
}
