//! A registry on the lab's machine: the images of the users' manifests are pulled from it as from the real ones, which the lab
//! cannot reach. It serves docker archives by the distribution protocol, read-only.

use crate::lab::Lab;
use sha2::Digest;
use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;

/// Addresses inside the lab: of what anybody may have, and of what a login is needed for.
const ADDRESS: &str = "127.0.0.1:5000";
const PRIVATE: &str = "127.0.0.1:5001";

#[derive(Default)]
struct Content {
    /// `library/busybox` and a tag to the digest of a manifest.
    tags: HashMap<(String, String), String>,
    /// Digest to media type and bytes.
    blobs: HashMap<String, (&'static str, Vec<u8>)>,
}

impl Content {
    fn put(&mut self, media: &'static str, bytes: Vec<u8>) -> serde_json::Value {
        let hex: String = sha2::Sha256::digest(&bytes).iter().map(|b| format!("{b:02x}")).collect();
        let digest = format!("sha256:{hex}");
        let descriptor = serde_json::json!({"mediaType": media, "digest": digest, "size": bytes.len()});
        self.blobs.insert(digest, (media, bytes));
        descriptor
    }

    fn add(&mut self, archive: &Path) {
        let mut files = HashMap::new();
        let mut tar = tar::Archive::new(std::fs::File::open(archive).expect("the archive exists"));
        for entry in tar.entries().expect("a tar file") {
            let mut entry = entry.expect("a tar file");
            let name = entry.path().expect("a path").display().to_string();
            let mut data = Vec::new();
            entry.read_to_end(&mut data).expect("a whole tar file");
            files.insert(name, data);
        }
        let list: serde_json::Value = serde_json::from_slice(&files["manifest.json"]).expect("a docker archive");
        for image in list.as_array().expect("a list of images") {
            let file = |v: &serde_json::Value| files[v.as_str().expect("a name")].clone();
            let config = self.put("application/vnd.oci.image.config.v1+json", file(&image["Config"]));
            let layers: Vec<_> = image["Layers"].as_array().into_iter().flatten().map(file).collect();
            let layers: Vec<_> = layers.into_iter().map(|l| self.put("application/vnd.oci.image.layer.v1.tar", l)).collect();
            let media = "application/vnd.oci.image.manifest.v1+json";
            let manifest = serde_json::json!({"schemaVersion": 2, "mediaType": media, "config": config, "layers": layers});
            let manifest = self.put(media, manifest.to_string().into_bytes());
            for name in image["RepoTags"].as_array().into_iter().flatten().filter_map(|n| n.as_str()) {
                let (repository, tag) = name.rsplit_once(':').expect("a tag");
                let (_host, path) = repository.split_once('/').expect("a host");
                let digest = manifest["digest"].as_str().expect("a digest").to_owned();
                self.tags.insert((path.into(), tag.into()), digest);
            }
        }
    }

    fn answer(&self, path: &str) -> Option<(&'static str, &str, &[u8])> {
        let rest = path.split('?').next()?.strip_prefix("/v2/")?;
        if rest.is_empty() {
            return Some(("application/json", "", b"{}"));
        }
        let (name, reference) = rest.split_once("/manifests/").or_else(|| rest.split_once("/blobs/"))?;
        let digest = self.tags.get(&(name.to_owned(), reference.to_owned())).map_or(reference, String::as_str);
        let (digest, (media, bytes)) = self.blobs.get_key_value(digest)?;
        Some((media, digest, bytes))
    }
}

/// A user's name and password.
pub type Login = (&'static str, &'static str);

fn serve(content: &Content, login: Option<Login>, mut stream: TcpStream) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    loop {
        let mut request = String::new();
        if reader.read_line(&mut request)? == 0 {
            return Ok(());
        }
        let mut header = String::new();
        let mut authorization = String::new();
        while reader.read_line(&mut header)? > 2 {
            if let Some((name, value)) = header.split_once(':')
                && name.eq_ignore_ascii_case("authorization")
            {
                authorization = value.trim().to_owned();
            }
            header.clear();
        }
        let wanted = login.map(|(user, password)| format!("Basic {}", base64(format!("{user}:{password}").as_bytes())));
        if wanted.is_some_and(|w| w != authorization) {
            let body = "{\"errors\":[{\"code\":\"UNAUTHORIZED\",\"message\":\"authentication required\"}]}";
            let asks = "WWW-Authenticate: Basic realm=\"private\"";
            let length = body.len();
            let body = if request.starts_with("HEAD") { "" } else { body };
            write!(
                stream,
                "HTTP/1.1 401 Unauthorized\r\n{asks}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
            )?;
            continue;
        }
        let mut words = request.split(' ');
        let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let (status, (media, digest, bytes)) = match content.answer(path) {
            Some(a) => ("200 OK", a),
            None => ("404 Not Found", ("application/json", "", &b"{\"errors\":[{\"code\":\"MANIFEST_UNKNOWN\"}]}"[..])),
        };
        let digest = if digest.is_empty() { String::new() } else { format!("Docker-Content-Digest: {digest}\r\n") };
        let length = bytes.len();
        write!(stream, "HTTP/1.1 {status}\r\nContent-Type: {media}\r\nContent-Length: {length}\r\n{digest}\r\n")?;
        if method != "HEAD" {
            stream.write_all(bytes)?;
        }
    }
}

/// As `Authorization` has it.
fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let letter = |bits: u32, n: u32| char::from(LETTERS[(bits >> (18 - 6 * n)) as usize & 63]);
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let bits = chunk.iter().enumerate().fold(0, |b, (i, byte)| b | u32::from(*byte) << (16 - 8 * i));
        text.extend((0..4).map(|n| if n as usize <= chunk.len() { letter(bits, n) } else { '=' }));
    }
    text
}

/// Starts the registry on the lab's machine and tells the lab's containerd to look for these hosts' images there.
pub fn start(lab: &Lab, hosts: &[&str], archives: &[&Path]) {
    run(lab, ADDRESS, hosts, None, archives);
}

/// A registry that asks for a login.
pub fn start_private(lab: &Lab, host: &str, login: Login, archives: &[&Path]) {
    run(lab, PRIVATE, &[host], Some(login), archives);
}

fn run(lab: &Lab, address: &'static str, hosts: &[&str], login: Option<Login>, archives: &[&Path]) {
    let mut content = Content::default();
    for a in archives {
        content.add(a);
    }
    for host in hosts {
        let dir = lab.data().join("certs.d").join(host);
        std::fs::create_dir_all(&dir).expect("a directory for the registry's hosts file");
        let hosts =
            format!("server = \"http://{address}\"\n[host.\"http://{address}\"]\n  capabilities = [\"pull\", \"resolve\"]\n");
        std::fs::write(dir.join("hosts.toml"), hosts).expect("the registry's hosts file");
    }
    let netns = std::fs::File::open(lab.netns()).expect("the lab has a network namespace");
    let (ready, wait) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        // The thread lives in the lab from here on; a socket belongs to the namespace it was made in.
        nix::sched::setns(&netns, nix::sched::CloneFlags::CLONE_NEWNET).expect("the thread enters the lab");
        let listener = TcpListener::bind(address).expect("the registry's port is free");
        let content = Arc::new(content);
        let _ = ready.send(());
        for stream in listener.incoming().flatten() {
            let content = content.clone();
            std::thread::spawn(move || serve(&content, login, stream));
        }
    });
    wait.recv().expect("the registry listens");
}
