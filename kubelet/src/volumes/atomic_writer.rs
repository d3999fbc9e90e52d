//! Files that change all at once: a new timestamped directory is filled, then the `..data` link is switched to it
//! (upstream pkg/volume/util/atomic_writer.go). Readers see the old files or the new ones, never a mix.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Component, Path};

/// One file of a volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    pub data: Vec<u8>,
    pub mode: u32,
    /// Owner, where not root.
    pub uid: Option<u32>,
}

/// Relative path to file.
pub type Payload = BTreeMap<String, File>;

const DATA: &str = "..data";
const NEW_DATA: &str = "..data_tmp";

/// Whether a path may be written below a volume: relative, no `..`, no leading `..` name.
pub fn valid_path(path: &str) -> bool {
    !path.is_empty()
        && !path.starts_with("..")
        && Path::new(path).components().all(|c| matches!(c, Component::Normal(_) | Component::CurDir))
}

/// Writes `payload` below `dir`; false if that is what is there already.
/// `prepare` may change ownership and modes of the new directory before it is shown.
pub fn write(dir: &Path, payload: &Payload, stamp: &str, prepare: impl Fn(&Path) -> io::Result<()>) -> io::Result<bool> {
    if let Some(bad) = payload.keys().find(|p| !valid_path(p)) {
        return Err(io::Error::other(format!("invalid path {bad:?}")));
    }
    let old = fs::read_link(dir.join(DATA)).ok();
    if let Some(old) = &old
        && matches(&dir.join(old), payload)
    {
        link(dir, payload)?;
        return Ok(false);
    }
    let mut name = format!("..{stamp}");
    for n in 0.. {
        match fs::create_dir(dir.join(&name)) {
            Ok(()) => break,
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => name = format!("..{stamp}.{n}"),
            Err(e) => return Err(e),
        }
    }
    let fresh = dir.join(&name);
    fs::set_permissions(&fresh, fs::Permissions::from_mode(0o755))?;
    for (path, file) in payload {
        let full = fresh.join(path);
        if let Some(parent) = full.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::write(&full, &file.data)?;
        fs::set_permissions(&full, fs::Permissions::from_mode(file.mode))?;
        if let Some(uid) = file.uid {
            std::os::unix::fs::chown(&full, Some(uid), None)?;
        }
    }
    prepare(&fresh)?;
    let _ = fs::remove_file(dir.join(NEW_DATA));
    symlink(&name, dir.join(NEW_DATA))?;
    fs::rename(dir.join(NEW_DATA), dir.join(DATA))?;
    link(dir, payload)?;
    unlink(dir, payload)?;
    if let Some(old) = old {
        fs::remove_dir_all(dir.join(old))?;
    }
    Ok(true)
}

fn top(path: &str) -> &str {
    path.split('/').find(|p| !p.is_empty() && *p != ".").unwrap_or(path)
}

/// Makes the links users see.
fn link(dir: &Path, payload: &Payload) -> io::Result<()> {
    for name in payload.keys().map(|p| top(p)).collect::<BTreeSet<_>>() {
        let at = dir.join(name);
        if fs::symlink_metadata(&at).is_err() {
            symlink(Path::new(DATA).join(name), at)?;
        }
    }
    Ok(())
}

/// Removes links to what is no more.
fn unlink(dir: &Path, payload: &Payload) -> io::Result<()> {
    let keep: BTreeSet<&str> = payload.keys().map(|p| top(p)).collect();
    for e in fs::read_dir(dir)?.flatten() {
        let name = e.file_name();
        let Some(name) = name.to_str().filter(|n| !n.starts_with("..")) else { continue };
        if !keep.contains(name) && e.file_type()?.is_symlink() {
            fs::remove_file(e.path())?;
        }
    }
    Ok(())
}

/// Whether a directory holds exactly these files. Modes count as far as the payload sets them.
fn matches(dir: &Path, payload: &Payload) -> bool {
    let mut found = 0;
    let mut pending = vec![dir.to_owned()];
    while let Some(d) = pending.pop() {
        let Ok(entries) = fs::read_dir(&d) else { return false };
        for e in entries.flatten() {
            let Ok(kind) = e.file_type() else { return false };
            if kind.is_dir() {
                pending.push(e.path());
                continue;
            }
            let path = e.path();
            let Some(key) = path.strip_prefix(dir).ok().and_then(Path::to_str) else { return false };
            let same = payload.iter().find(|(k, _)| k.trim_start_matches("./") == key);
            match (same, fs::read(&path)) {
                (Some((_, f)), Ok(data)) if f.data == data => found += 1,
                _ => return false,
            }
        }
    }
    found == payload.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn payload(files: &[(&str, &str)]) -> Payload {
        files.iter().map(|(p, d)| ((*p).to_owned(), File { data: d.as_bytes().to_vec(), mode: 0o640, uid: None })).collect()
    }

    #[test]
    fn switches() {
        let tmp = tempfile::tempdir().expect("dir");
        let dir = tmp.path();
        let put = |files: &[(&str, &str)], stamp: &str| write(dir, &payload(files), stamp, |_| Ok(())).expect("written");
        assert!(put(&[("a", "1"), ("sub/b", "2")], "one"));
        assert_eq!(fs::read_to_string(dir.join("sub/b")).expect("read"), "2");
        assert_eq!(fs::read_link(dir.join("a")).expect("link"), Path::new("..data/a"));
        assert_eq!(fs::metadata(dir.join("a")).expect("stat").permissions().mode() & 0o777, 0o640);
        assert!(!put(&[("a", "1"), ("sub/b", "2")], "two"), "unchanged");
        assert!(put(&[("a", "9"), ("c", "3")], "three"));
        assert_eq!(fs::read_to_string(dir.join("a")).expect("read"), "9");
        assert!(fs::symlink_metadata(dir.join("sub")).is_err(), "stale link gone");
        let stamped: Vec<_> = fs::read_dir(dir).expect("list").flatten().map(|e| e.file_name()).collect();
        assert_eq!(stamped.len(), 4, "{stamped:?}");
    }

    #[test]
    fn paths() {
        for (path, want) in [("a", true), ("a/b", true), ("..a", false), ("a/../b", false), ("/a", false), ("", false)] {
            assert_eq!(valid_path(path), want, "{path:?}");
        }
    }
}
