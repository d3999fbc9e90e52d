//! fsGroup: files of a volume are given to the pod's group (upstream pkg/volume/volume_linux.go).

use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt, lchown};
use std::path::Path;

/// Gives a tree to the group: read and write (or read only), directories with setgid.
pub fn set_group(path: &Path, gid: i64, read_only: bool, on_root_mismatch: bool) -> io::Result<()> {
    let gid = u32::try_from(gid).map_err(|_| io::Error::other(format!("invalid fsGroup {gid}")))?;
    if on_root_mismatch && root_matches(path, gid, read_only)? {
        return Ok(());
    }
    walk(path, gid, read_only)
}

fn bits(dir: bool, read_only: bool) -> u32 {
    let mut mask = if read_only { 0o440 } else { 0o660 };
    if dir {
        mask |= 0o2110;
    }
    mask
}

fn root_matches(path: &Path, gid: u32, read_only: bool) -> io::Result<bool> {
    let m = fs::metadata(path)?;
    let want = bits(m.is_dir(), read_only) & !0o400;
    Ok(m.gid() == gid && m.mode() & want == want)
}

fn walk(path: &Path, gid: u32, read_only: bool) -> io::Result<()> {
    let m = fs::symlink_metadata(path)?;
    if m.is_dir() {
        for e in fs::read_dir(path)? {
            walk(&e?.path(), gid, read_only)?;
        }
    }
    lchown(path, None, Some(gid))?;
    if m.file_type().is_symlink() {
        return Ok(());
    }
    fs::set_permissions(path, fs::Permissions::from_mode(m.mode() & 0o7777 | bits(m.is_dir(), read_only)))
}
