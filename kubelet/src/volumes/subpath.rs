//! subPath: a file or directory inside a volume, mounted alone. The path is resolved by the kernel below the volume's root, so no
//! symlink that a container placed there leads out of it, and it is bound by descriptor, so nothing can be swapped in between.

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, fchmod, fstat, mkdirat, openat, openat2};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

/// Opens `sub` below `volume`, making missing directories with the volume's own mode, and binds it to `target`.
pub fn bind(volume: &Path, sub: &str, target: &Path) -> Result<PathBuf, String> {
    let fail = |what: &str, e: &dyn std::fmt::Display| format!("failed to prepare subPath for volumeMount: {what} {sub:?}: {e}");
    if mounted(target) {
        return Ok(target.to_owned());
    }
    let fd = open_below(volume, sub).map_err(|e| fail("open", &e))?;
    let from = PathBuf::from(format!("/proc/self/fd/{}", fd.as_raw_fd()));
    let is_dir = std::fs::metadata(&from).map_err(|e| fail("stat", &e))?.is_dir();
    let parent = target.parent().unwrap_or(target);
    std::fs::create_dir_all(parent).map_err(|e| fail("create", &e))?;
    if is_dir {
        std::fs::create_dir_all(target).map_err(|e| fail("create", &e))?;
    } else {
        std::fs::OpenOptions::new().create(true).append(true).open(target).map_err(|e| fail("create", &e))?;
    }
    nix::mount::mount(Some(&from), target, None::<&str>, nix::mount::MsFlags::MS_BIND, None::<&str>)
        .map_err(|e| fail("bind", &e))?;
    Ok(target.to_owned())
}

fn open_below(volume: &Path, sub: &str) -> rustix::io::Result<OwnedFd> {
    let root = openat(CWD, volume, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    match openat2(&root, sub, flags, Mode::empty(), resolve) {
        Err(rustix::io::Errno::NOENT) => {}
        done => return done,
    }
    let mode = Mode::from_raw_mode(fstat(&root)?.st_mode & 0o7777);
    let mut at = root;
    for part in sub.split('/').filter(|p| !p.is_empty() && *p != ".") {
        at = match openat2(&at, part, flags, Mode::empty(), resolve) {
            Err(rustix::io::Errno::NOENT) => {
                mkdirat(&at, part, mode)?;
                let made = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let fd = openat2(&at, part, made, Mode::empty(), resolve)?;
                fchmod(&fd, mode)?; // whatever the umask left of it
                fd
            }
            other => other?,
        };
    }
    Ok(at)
}

/// Whether something is mounted exactly here.
pub fn mounted(path: &Path) -> bool {
    mounts_below(path).iter().any(|m| m == path)
}

/// Mount points at or below a path, innermost first.
pub fn mounts_below(path: &Path) -> Vec<PathBuf> {
    let table = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let mut found: Vec<PathBuf> = table
        .lines()
        .filter_map(|l| l.split(' ').nth(4))
        .map(|p| PathBuf::from(p.replace("\\040", " ").replace("\\134", "\\")))
        .filter(|p| p.starts_with(path))
        .collect();
    found.reverse();
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn new_directories_have_the_volumes_mode() {
        let dir = tempfile::tempdir().expect("directory");
        let mode = |p: &Path| std::fs::metadata(p).expect("there").permissions().mode() & 0o7777;
        for want in [0o1777, 0o2770, 0o755] {
            let volume = dir.path().join(format!("{want:o}"));
            std::fs::create_dir(&volume).expect("volume");
            std::fs::set_permissions(&volume, std::fs::Permissions::from_mode(want)).expect("mode");
            open_below(&volume, "a/b").expect("made");
            assert_eq!((mode(&volume.join("a")), mode(&volume.join("a/b"))), (want, want), "{want:o}");
        }
    }
}
