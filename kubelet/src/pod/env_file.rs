//! `fileKeyRef`: one variable out of a file that an init container left in a volume. The format is a strict subset of shell
//! assignments, `NAME='value'` (upstream pkg/kubelet/util/env).

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat, openat2};
use std::io::Read;
use std::path::Path;

/// Of what size files are read; a variable longer than this could not be handed to a process either.
const MAX_SIZE: u64 = 1 << 20;

/// The text of a file below a volume. Symlinks are followed, but not out of the volume.
pub fn read(volume: &Path, path: &str) -> std::io::Result<String> {
    let root = openat(CWD, volume, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    // Without waiting: a container may have left a pipe there.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = std::fs::File::from(openat2(&root, path, flags, Mode::empty(), resolve)?);
    let mut text = String::new();
    file.take(MAX_SIZE + 1).read_to_string(&mut text)?;
    if text.len() as u64 > MAX_SIZE {
        return Err(std::io::Error::other("the file is longer than 1 MiB"));
    }
    Ok(text)
}

/// The value of `key`, empty if the file has none. Lines after it are not looked at.
pub fn value(text: &str, key: &str) -> Result<String, String> {
    let mut lines = text.lines().enumerate();
    while let Some((n, line)) = lines.next() {
        let line = line.trim_start_matches([' ', '\t']);
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let invalid = |why: &str| format!("invalid environment variable format at line {}: {why}", n + 1);
        let (name, assigned) = line.split_once('=').ok_or_else(|| invalid("missing '='"))?;
        let bare = name.trim_end_matches([' ', '\t']);
        if bare.is_empty() {
            return Err(invalid("empty variable name"));
        }
        if bare != name {
            return Err(invalid("whitespace before '=' is not allowed"));
        }
        if assigned.starts_with([' ', '\t']) {
            // To a shell this assigns nothing.
            if name == key {
                return Ok(String::new());
            }
            continue;
        }
        let mut rest = assigned.strip_prefix('\'').ok_or_else(|| invalid("value must be enclosed in single quotes"))?;
        let mut value = String::new();
        let after = loop {
            if let Some((end, after)) = rest.split_once('\'') {
                value.push_str(end);
                break after.trim_start_matches([' ', '\t']);
            }
            value.push_str(rest);
            value.push('\n');
            let unclosed = || format!("invalid environment variable format starting at line {}: unclosed single quote", n + 1);
            rest = lines.next().ok_or_else(unclosed)?.1;
        };
        if !after.is_empty() && !after.starts_with('#') {
            return Err(invalid("unexpected content after closing quote"));
        }
        if name == key {
            return Ok(value);
        }
    }
    Ok(String::new())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values() {
        let cases = [
            ("plain", "A='1'\nB='2'\n", Ok("2")),
            ("comments and blanks", "# x\n\n  B='2' # two\n", Ok("2")),
            ("several lines", "A='x'\nB='1\n2'\n", Ok("1\n2")),
            ("nothing is expanded", "B='$A \\n'\n", Ok("$A \\n")),
            ("not there", "A='1'\n", Ok("")),
            ("space after =", "B= '1'\n", Ok("")),
            ("what follows is not read", "B='1'\nwhat\n", Ok("1")),
            ("space before =", "B ='1'\n", Err("line 1: whitespace before '=' is not allowed")),
            ("no quotes", "A='1'\nB=1\n", Err("line 2: value must be enclosed in single quotes")),
            ("no =", "B\n", Err("line 1: missing '='")),
            ("no name", "='1'\n", Err("line 1: empty variable name")),
            ("open quote", "B='1\n2\n", Err("starting at line 1: unclosed single quote")),
            ("more after the quote", "B='1'2\n", Err("line 1: unexpected content after closing quote")),
        ];
        for (name, text, want) in cases {
            match (value(text, "B"), want) {
                (Ok(got), Ok(want)) => assert_eq!(got, want, "{name}"),
                (Err(got), Err(want)) => assert!(got.ends_with(want), "{name}: {got}"),
                (got, _) => panic!("{name}: {got:?}"),
            }
        }
    }

    #[test]
    fn stays_in_the_volume() {
        let dir = tempfile::tempdir().expect("dir");
        let volume = dir.path().join("v");
        std::fs::create_dir_all(&volume).expect("volume");
        std::fs::write(dir.path().join("secret"), "A='outside'").expect("write");
        std::fs::write(volume.join("secret"), "A='inside'").expect("write");
        std::os::unix::fs::symlink("../../secret", volume.join("link")).expect("link");
        assert_eq!(read(&volume, "link").expect("read"), "A='inside'");
        assert!(read(&volume, "none").is_err());
    }
}
