//! hostPath: checks and creation by type (upstream pkg/volume/hostpath).

use std::fs;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::Path;

/// Makes sure that the path is of the type asked for; the `OrCreate` types make it.
pub fn check(path: &str, kind: &str) -> Result<(), String> {
    let at = Path::new(path);
    let fail = |e: std::io::Error| format!("hostPath {path}: {e}");
    let wrong = |what: &str| Err(format!("hostPath type check failed: {path} is not {what}"));
    let meta = fs::metadata(at).ok();
    let is = |f: fn(&fs::FileType) -> bool| meta.as_ref().is_some_and(|m| f(&m.file_type()));
    match kind {
        "DirectoryOrCreate" if meta.is_none() => {
            fs::create_dir_all(at).map_err(fail)?;
            fs::set_permissions(at, fs::Permissions::from_mode(0o755)).map_err(fail)
        }
        "FileOrCreate" if meta.is_none() => {
            fs::write(at, b"").map_err(fail)?;
            fs::set_permissions(at, fs::Permissions::from_mode(0o644)).map_err(fail)
        }
        "DirectoryOrCreate" | "Directory" if !is(fs::FileType::is_dir) => wrong("a directory"),
        "FileOrCreate" | "File" if !is(fs::FileType::is_file) => wrong("a file"),
        "Socket" if !is(fs::FileType::is_socket) => wrong("a socket file"),
        "CharDevice" if !is(fs::FileType::is_char_device) => wrong("a character device"),
        "BlockDevice" if !is(fs::FileType::is_block_device) => wrong("a block device"),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::check;

    #[test]
    fn types() {
        let tmp = tempfile::tempdir().expect("dir");
        let at = |n: &str| tmp.path().join(n).display().to_string();
        assert!(check(&at("none"), "").is_ok());
        assert!(check(&at("none"), "Directory").unwrap_err().ends_with("none is not a directory"));
        assert!(check(&at("d"), "DirectoryOrCreate").is_ok() && check(&at("d"), "Directory").is_ok());
        assert!(check(&at("f"), "FileOrCreate").is_ok() && check(&at("f"), "File").is_ok());
        assert!(check(&at("f"), "DirectoryOrCreate").is_err());
        assert!(check("/dev/null", "CharDevice").is_ok() && check("/dev/null", "Socket").is_err());
    }
}
