//! The images inside the binary, and how archives get into containerd.

use crate::containerd::Tools;
use crate::layout::Layout;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};

/// The sandbox image.
pub const PAUSE: &str = "skiff.dev/pause:1";

/// Name and docker-archive of each built-in image.
pub const BUILT_IN: &[(&str, &[u8])] = &[
    (PAUSE, include_bytes!(concat!(env!("OUT_DIR"), "/pause.tar.gz"))),
    ("skiff.dev/hello:1.0", include_bytes!(concat!(env!("OUT_DIR"), "/hello-1.0.tar.gz"))),
    ("skiff.dev/hello:2.0", include_bytes!(concat!(env!("OUT_DIR"), "/hello-2.0.tar.gz"))),
];

fn ctr(tools: &Tools, socket: &Path) -> Command {
    let mut c = Command::new(&tools.ctr);
    c.arg("--address").arg(socket).args(["--namespace", "k8s.io"]);
    c
}

/// Names of the images that containerd has.
pub fn present(tools: &Tools, layout: &Layout) -> Result<Vec<String>, String> {
    let out = ctr(tools, &layout.containerd_socket())
        .args(["images", "ls", "-q"])
        .output()
        .map_err(|e| format!("cannot run {}: {e}", tools.ctr.display()))?;
    if !out.status.success() {
        return Err(format!("listing images: {}", String::from_utf8_lossy(&out.stderr).trim()));
    }
    Ok(String::from_utf8_lossy(&out.stdout).lines().map(str::to_owned).collect())
}

/// Imports one archive, read from `input`; answers what ctr prints.
pub fn import(tools: &Tools, layout: &Layout, what: &str, input: Input) -> Result<String, String> {
    let mut command = ctr(tools, &layout.containerd_socket());
    command.args(["images", "import", "-"]);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    match &input {
        Input::File(path) => {
            let f = std::fs::File::open(path).map_err(|e| format!("cannot open {}: {e}", path.display()))?;
            command.stdin(f);
        }
        Input::Bytes(_) => {
            command.stdin(Stdio::piped());
        }
    }
    let mut child = command.spawn().map_err(|e| format!("cannot run {}: {e}", tools.ctr.display()))?;
    if let (Input::Bytes(bytes), Some(mut stdin)) = (&input, child.stdin.take()) {
        // A failed write shows as ctr's own failure below.
        let _ = stdin.write_all(bytes);
    }
    let out = child.wait_with_output().map_err(|e| format!("importing {what}: {e}"))?;
    if !out.status.success() {
        return Err(format!("importing {what}: {}", String::from_utf8_lossy(&out.stderr).trim()));
    }
    Ok(String::from_utf8_lossy(&out.stdout).into_owned())
}

/// Where an archive comes from.
pub enum Input<'a> {
    File(&'a Path),
    Bytes(&'a [u8]),
}

/// ctr takes archives as they are, not compressed.
fn unpack(packed: &[u8]) -> Result<Vec<u8>, String> {
    let mut archive = Vec::new();
    let read = flate2::read::GzDecoder::new(packed).read_to_end(&mut archive);
    read.map_err(|e| format!("built-in image: {e}"))?;
    Ok(archive)
}

/// Imports the built-in images that are missing.
pub fn import_built_in(tools: &Tools, layout: &Layout) -> Result<usize, String> {
    let have = present(tools, layout)?;
    let missing: Vec<_> = BUILT_IN.iter().filter(|(name, _)| !have.iter().any(|h| h == name)).collect();
    std::thread::scope(|s| {
        let imports: Vec<_> = missing
            .iter()
            .map(|(name, packed)| s.spawn(move || import(tools, layout, name, Input::Bytes(&unpack(packed)?))))
            .collect();
        for i in imports {
            i.join().map_err(|_| "importing an image panicked".to_owned())??;
        }
        if !missing.is_empty() {
            write_out(layout)?;
        }
        Ok(missing.len())
    })
}

/// Writes imported files to the disk. containerd does so with what it knows of an image, not with its files: after a power cut it
/// would start containers from empty ones.
pub fn write_out(layout: &Layout) -> Result<(), String> {
    let root = layout.containerd_root();
    let sync = || rustix::fs::syncfs(std::fs::File::open(&root)?).map_err(std::io::Error::from);
    sync().map_err(|e: std::io::Error| format!("writing images to {}: {e}", root.display()))
}
