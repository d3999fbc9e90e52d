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

/// Writes a docker archive with one layer under several names.
pub fn archive(to: &Path, names: &[&str], layer: &[u8], config: Config<'_>) {
    let diff_id = sha256(layer);
    let list = |l: &[&str]| if l.is_empty() { serde_json::Value::Null } else { serde_json::json!(l) };
    let config = serde_json::json!({
        "architecture": if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" },
        "os": "linux",
        "created": "2023-11-14T22:13:20Z",
        "config": {"Entrypoint": list(config.entrypoint), "Cmd": list(config.cmd), "Env": list(config.env), "User": config.user},
        "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{diff_id}")]},
    })
    .to_string();
    let config_name = format!("{}.json", sha256(config.as_bytes()));
    let manifest =
        serde_json::json!([{"Config": config_name, "RepoTags": names, "Layers": [format!("{diff_id}/layer.tar")]}]).to_string();
    let tmp = to.with_extension("part");
    let mut t = tar::Builder::new(std::fs::File::create(&tmp).expect("the archive's file"));
    append(&mut t, &config_name, config.as_bytes());
    append(&mut t, &format!("{diff_id}/layer.tar"), layer);
    append(&mut t, "manifest.json", manifest.as_bytes());
    t.finish().expect("tar");
    std::fs::rename(&tmp, to).expect("the archive appears whole");
}

/// A root filesystem of busybox, static, with every applet linked.
fn busybox_layer() -> Vec<u8> {
    let binary = std::fs::read("/bin/busybox").expect("busybox-static is installed (hack/deps.sh test --install)");
    let applets = run(Command::new("/bin/busybox").arg("--list"), "").ok();
    let mut t = tar::Builder::new(Vec::new());
    for (dir, mode) in [("bin/", 0o755), ("etc/", 0o755), ("tmp/", 0o1777), ("root/", 0o700), ("var/", 0o755)] {
        let mut h = tar::Header::new_gnu();
        h.set_entry_type(tar::EntryType::Directory);
        h.set_mode(mode);
        h.set_size(0);
        h.set_cksum();
        t.append_data(&mut h, dir, &[][..]).expect("tar");
    }
    let mut h = tar::Header::new_gnu();
    h.set_size(binary.len() as u64);
    h.set_mode(0o755);
    h.set_cksum();
    t.append_data(&mut h, "bin/busybox", &*binary).expect("tar");
    for a in applets.lines().filter(|a| *a != "busybox") {
        let mut h = tar::Header::new_gnu();
        h.set_entry_type(tar::EntryType::Symlink);
        h.set_mode(0o777);
        h.set_size(0);
        h.set_cksum();
        t.append_link(&mut h, format!("bin/{a}"), "busybox").expect("tar");
    }
    append(&mut t, "etc/passwd", b"root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n");
    append(&mut t, "etc/group", b"root:x:0:\nnogroup:x:65534:\n");
    t.into_inner().expect("tar")
}

/// busybox: `busybox:latest` and friends.
pub fn busybox() -> PathBuf {
    let to = cache().join("busybox.tar");
    if !to.exists() {
        let names = ["docker.io/library/busybox:latest", "docker.io/library/busybox:1.36"];
        archive(&to, &names, &busybox_layer(), Config { cmd: &["sh"], env: &["PATH=/bin"], ..Config::default() });
    }
    to
}

/// What Kubernetes' tutorials call node-hello: a greeting on port 8080, here by busybox and with the pod's name.
pub fn node_hello() -> PathBuf {
    let to = cache().join("node-hello.tar");
    if !to.exists() {
        let names = ["gcr.io/google-samples/node-hello:1.0"];
        let serve = "mkdir -p /www && echo \"Hello Kubernetes! $HOSTNAME\" >/www/index.html && exec httpd -f -p 8080 -h /www";
        archive(&to, &names, &busybox_layer(), Config { cmd: &["sh", "-c", serve], env: &["PATH=/bin"], ..Config::default() });
    }
    to
}

/// nginx from Debian's package, serving on port 80, under the names of the users' manifests.
pub fn nginx() -> PathBuf {
    let to = cache().join("nginx.tar");
    if to.exists() {
        return to;
    }
    let base = cache().join("nginx-rootfs.tar");
    let conf = "daemon off; user root; worker_processes 1; error_log /dev/stderr notice; pid /run/nginx.pid; \
                events { worker_connections 256; } http { access_log /dev/stdout; default_type text/html; \
                server { listen 80 default_server; root /var/www/html; index index.html; } }";
    let customize = format!(
        "printf '%s' '{conf}' > \"$1/etc/nginx/nginx.conf\"; echo '<h1>Welcome to nginx!</h1>' > \"$1/var/www/html/index.html\""
    );
    run(
        Command::new("mmdebstrap")
            .args(["--variant=extract", "--include=nginx-light,busybox-static,base-files,base-passwd,libc-bin"])
            .arg("--customize-hook=ln -sf busybox \"$1/bin/sh\"; mkdir -p \"$1/var/lib/nginx\" \"$1/var/www/html\" \"$1/run\" \"$1/tmp\" \"$1/dev\"; cp \"$1/usr/share/base-passwd/passwd.master\" \"$1/etc/passwd\"; cp \"$1/usr/share/base-passwd/group.master\" \"$1/etc/group\"")
            .arg(format!("--customize-hook={customize}"))
            .arg("bookworm")
            .arg(&base),
        "",
    )
    .ok();
    let layer = std::fs::read(&base).expect("mmdebstrap wrote its archive");
    let names = ["docker.io/library/nginx:alpine", "docker.io/library/nginx:latest", "docker.io/library/nginx:1.27"];
    archive(
        &to,
        &names,
        &layer,
        Config { cmd: &["/usr/sbin/nginx"], env: &["PATH=/usr/sbin:/usr/bin:/sbin:/bin"], ..Config::default() },
    );
    to
}
