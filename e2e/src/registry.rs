//! A registry on the lab's machine: the images of the users' manifests are pulled from it as from the real ones, which the lab
//! cannot reach. It serves docker archives by the distribution protocol, read-only.

use crate::lab::Lab;
use sha2::Digest;
use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;

/// The address inside the lab.
const ADDRESS: &str = "127.0.0.1:5000";

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

fn serve(content: &Content, mut stream: TcpStream) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    loop {
        let mut request = String::new();
        if reader.read_line(&mut request)? == 0 {
            return Ok(());
        }
        let mut header = String::new();
        while reader.read_line(&mut header)? > 2 {
            header.clear();
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

/// Starts the registry on the lab's machine and tells the lab's containerd to look for these hosts' images there.
pub fn start(lab: &Lab, hosts: &[&str], archives: &[&Path]) {
    let mut content = Content::default();
    for a in archives {
        content.add(a);
    }
    for host in hosts {
        let dir = lab.data().join("certs.d").join(host);
        std::fs::create_dir_all(&dir).expect("a directory for the registry's hosts file");
        let hosts =
            format!("server = \"http://{ADDRESS}\"\n[host.\"http://{ADDRESS}\"]\n  capabilities = [\"pull\", \"resolve\"]\n");
        std::fs::write(dir.join("hosts.toml"), hosts).expect("the registry's hosts file");
    }
    let netns = std::fs::File::open(lab.netns()).expect("the lab has a network namespace");
    let (ready, wait) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        // The thread lives in the lab from here on; a socket belongs to the namespace it was made in.
        nix::sched::setns(&netns, nix::sched::CloneFlags::CLONE_NEWNET).expect("the thread enters the lab");
        let listener = TcpListener::bind(ADDRESS).expect("the registry's port is free");
        let content = Arc::new(content);
        let _ = ready.send(());
        for stream in listener.incoming().flatten() {
            let content = content.clone();
            std::thread::spawn(move || serve(&content, stream));
        }
    });
    wait.recv().expect("the registry listens");
}
