//! A container runtime for the floor alone: another containerd in the namespaces of Skiff's, with the same settings, pod network and
//! images, but a root, a state directory and a socket of its own. Nobody else uses it, and no kubelet sees what is made in it.

use crate::child::Process;
use crate::startup::Cluster;
use cri::v1 as api;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// How long containerd may take to answer.
const PATIENCE: Duration = Duration::from_secs(20);

/// A running containerd.
pub struct Runtime {
    socket: PathBuf,
    _process: Process,
}

/// The name of its socket in the directory of a containerd of ours.
pub const SOCKET: &str = "containerd.sock";

/// Starts a containerd whose configuration puts its socket into `dir`; returns when it answers. `enter` is a prefix such as
/// `nsenter …`.
pub async fn start(dir: &Path, enter: &[String], config: &Path) -> Result<Process, String> {
    let args = ["--config".to_owned(), config.display().to_string(), "--log-level".into(), "warn".into()];
    let mut process = Process::start(dir, "containerd", enter, Path::new("containerd"), args)?;
    let socket = dir.join(SOCKET);
    let endpoint = format!("unix://{}", socket.display());
    let answered = async {
        loop {
            if let Ok(runtime) = cri::Runtime::connect(&endpoint)
                && runtime.runtime.clone().version(api::VersionRequest::default()).await.is_ok()
            {
                return Ok::<_, String>(());
            }
            process.check()?;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, answered).await.map_err(|_| format!("{} does not answer", socket.display()))??;
    Ok(process)
}

fn ctr(socket: &Path, args: &[&str]) -> Result<(), String> {
    let out = Command::new("ctr").arg("-a").arg(socket).args(["-n", "k8s.io"]).args(args).output();
    let out = out.map_err(|e| format!("ctr: {e}"))?;
    if out.status.success() { Ok(()) } else { Err(format!("ctr {args:?}: {}", String::from_utf8_lossy(&out.stderr).trim())) }
}

/// Writes images of Skiff's containerd into an archive; Skiff must be up.
pub fn export(cluster: &Cluster, archive: &Path, images: &[&str]) -> Result<(), String> {
    let archive = archive.display().to_string();
    let mut args = vec!["images", "export", archive.as_str()];
    args.extend(images);
    ctr(&cluster.socket(), &args)
}

/// Skiff's configuration of containerd with other directories.
fn config(theirs: &str, dir: &Path) -> String {
    let mut section = "";
    let mut out = String::new();
    for line in theirs.lines() {
        if line.trim_start().starts_with('[') {
            section = line.trim();
        }
        let ours = match (section, line.split('=').next().map(str::trim)) {
            ("", Some("root")) => Some(("root", "root")),
            ("", Some("state")) => Some(("state", "state")),
            ("[grpc]", Some("address")) => Some(("address", "containerd.sock")),
            ("[ttrpc]", Some("address")) => Some(("address", "containerd.sock.ttrpc")),
            _ => None,
        };
        match ours {
            Some((key, file)) => out += &format!("{key} = {:?}\n", dir.join(file)),
            None => out += &format!("{line}\n"),
        }
    }
    out
}

impl Runtime {
    /// Starts it below `dir` with these images of Skiff's, which must be up.
    pub async fn start(cluster: &Cluster, dir: &Path, images: &[&str]) -> Result<Self, String> {
        let theirs = cluster.data_dir.join("containerd.toml");
        let theirs = std::fs::read_to_string(&theirs).map_err(|e| format!("{}: {e}", theirs.display()))?;
        let path = dir.join("containerd.toml");
        let made = std::fs::create_dir_all(dir).and_then(|()| std::fs::write(&path, config(&theirs, dir)));
        made.map_err(|e| format!("{}: {e}", path.display()))?;
        let process = start(dir, &[], &path).await?;
        let socket = dir.join(SOCKET);
        let archive = dir.join("images.tar");
        export(cluster, &archive, images)?;
        ctr(&socket, &["images", "import", &archive.display().to_string()])?;
        Ok(Self { socket, _process: process })
    }

    pub fn endpoint(&self) -> String {
        format!("unix://{}", self.socket.display())
    }
}

#[cfg(test)]
mod tests {
    use super::config;
    use std::path::Path;

    #[test]
    fn only_directories_differ() {
        let theirs = "version = 2\nroot = \"/a\"\nstate = \"/b\"\n\n[grpc]\n  address = \"/c\"\n[metrics]\n  address = \"\"\n[x.cni]\n  root = \"/d\"\n";
        let ours = config(theirs, Path::new("/f"));
        let want = "version = 2\nroot = \"/f/root\"\nstate = \"/f/state\"\n\n[grpc]\naddress = \"/f/containerd.sock\"\n[metrics]\n  address = \"\"\n[x.cni]\n  root = \"/d\"\n";
        assert_eq!(ours, want);
    }
}
