//! Reading a container's log: tail, since, limits, timestamps, following across rotations (upstream kuberuntime/logs).

use crate::file_changes::Changes;
use bytes::Bytes;
use jiff::Timestamp;
use nix::sys::inotify::AddWatchFlags;
use std::io::SeekFrom;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::fs::File;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncSeekExt, BufReader};
use tokio::sync::mpsc;

/// What of a log is wanted.
#[derive(Clone, Debug, Default)]
pub struct Options {
    pub follow: bool,
    pub tail: Option<u64>,
    pub since: Option<Timestamp>,
    pub timestamps: bool,
    pub limit: Option<u64>,
    /// `Stdout` or `Stderr`; both if absent.
    pub stream: Option<String>,
}

/// How soon a followed file is looked at again where the kernel does not tell of changes (too many watches).
const UNTOLD: Duration = Duration::from_millis(250);

/// Sends the log in pieces until its end, or, when following, until what was written before `ended`, the container's end, is sent.
pub async fn send(
    path: PathBuf,
    options: Options,
    ended: impl Future<Output = ()> + Send,
    tx: mpsc::Sender<Result<Bytes, std::io::Error>>,
) -> std::io::Result<()> {
    let mut file = File::open(&path).await?;
    let start = match options.tail {
        Some(n) => tail_start(&mut file, n).await?,
        None => 0,
    };
    file.seek(SeekFrom::Start(start)).await?;
    send_rest(path, file, options, ended, tx).await
}

/// Sends from where the file stands.
async fn send_rest(
    path: PathBuf,
    file: File,
    options: Options,
    ended: impl Future<Output = ()> + Send,
    tx: mpsc::Sender<Result<Bytes, std::io::Error>>,
) -> std::io::Result<()> {
    let mut left = options.limit.unwrap_or(u64::MAX);
    // The container may have written more lines since the last ones were found.
    let mut lines = options.tail.filter(|_| !options.follow).unwrap_or(u64::MAX);
    let mut reader = BufReader::new(file);
    let mut line: Vec<u8> = Vec::new();
    let mut changes = options.follow.then(|| changes(&path)).flatten();
    let (mut was_rotated, mut was_ended) = (false, false);
    tokio::pin!(ended);
    while lines > 0 {
        let n = reader.read_until(b'\n', &mut line).await?;
        if line.ends_with(b"\n") {
            if let Some(mut text) = format(&line, &options) {
                text.truncate(usize::try_from(left).unwrap_or(usize::MAX).min(text.len()));
                left -= text.len() as u64;
                if tx.send(Ok(text.into())).await.is_err() || left == 0 {
                    return Ok(());
                }
            }
            line.clear();
            lines -= 1;
            continue;
        }
        if !options.follow || tx.is_closed() {
            return Ok(());
        }
        if n > 0 {
            continue;
        }
        if rotated_away(&reader, &path).await {
            // Lines may have come between the end that was seen and the rotation.
            if !std::mem::replace(&mut was_rotated, true) {
                continue;
            }
            if let Ok(f) = File::open(&path).await {
                (was_rotated, reader) = (false, BufReader::new(f));
                line.clear();
                continue;
            }
        } else if was_ended {
            return Ok(()); // looked once more after the end
        }
        tokio::select! {
            biased;
            () = &mut ended => was_ended = true,
            () = tx.closed() => return Ok(()),
            () = change(&mut changes) => {}
        }
    }
    Ok(())
}

/// The directory is watched: a rotation is a new file in it.
fn changes(path: &Path) -> Option<Changes> {
    let flags = AddWatchFlags::IN_MODIFY | AddWatchFlags::IN_CREATE | AddWatchFlags::IN_MOVED_TO;
    Changes::of(path.parent()?, flags)
        .inspect_err(|e| tracing::debug!(path = %path.display(), error = %e, "log not watched"))
        .ok()
}

async fn change(changes: &mut Option<Changes>) {
    let told = match changes {
        Some(c) => c.next().await.is_ok(),
        None => false,
    };
    if !told {
        *changes = None;
        tokio::time::sleep(UNTOLD).await;
    }
}

async fn rotated_away(reader: &BufReader<File>, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    match (reader.get_ref().metadata().await, tokio::fs::metadata(path).await) {
        (Ok(open), Ok(named)) => open.ino() != named.ino(),
        _ => false,
    }
}

/// The offset of the last `n` lines.
async fn tail_start(file: &mut File, n: u64) -> std::io::Result<u64> {
    const BLOCK: u64 = 64 << 10;
    let end = file.seek(SeekFrom::End(0)).await?;
    if n == 0 {
        return Ok(end);
    }
    let (mut at, mut seen) = (end, 0);
    let mut block = Vec::new();
    while at > 0 {
        let from = at.saturating_sub(BLOCK);
        file.seek(SeekFrom::Start(from)).await?;
        block.clear();
        (&mut *file).take(at - from).read_to_end(&mut block).await?;
        for (i, b) in block.iter().enumerate().rev() {
            let offset = from + i as u64;
            if *b == b'\n' && offset + 1 < end {
                seen += 1;
                if seen == n {
                    return Ok(offset + 1);
                }
            }
        }
        at = from;
    }
    Ok(0)
}

/// A line of the CRI format (`TIME STREAM TAG TEXT`) as it is shown; `None` if it is not wanted. Lines of no format are left out.
fn format(line: &[u8], options: &Options) -> Option<Vec<u8>> {
    let mut parts = line.splitn(4, |b| *b == b' ');
    let (time, stream, tag, text) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let time = std::str::from_utf8(time).ok()?;
    if let Some(since) = options.since {
        let at: Timestamp = time.parse().ok()?;
        if at < since {
            return None;
        }
    }
    if options.stream.as_ref().is_some_and(|s| !s.as_bytes().eq_ignore_ascii_case(stream)) {
        return None;
    }
    let mut out = Vec::with_capacity(line.len());
    if options.timestamps {
        out.extend_from_slice(time.as_bytes());
        out.push(b' ');
    }
    let partial = tag.split(|b| *b == b':').next() == Some(b"P");
    out.extend_from_slice(if partial { text.strip_suffix(b"\n").unwrap_or(text) } else { text });
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read(options: Options) -> String {
        let dir = tempfile::tempdir().expect("dir");
        let path = dir.path().join("0.log");
        let log = "2026-01-01T00:00:01.5Z stdout F one\n2026-01-01T00:00:02Z stderr P tw\n2026-01-01T00:00:02Z stderr F o\n\
                   2026-01-01T00:00:03Z stdout F three\n";
        std::fs::write(&path, log).expect("log");
        let (tx, mut rx) = mpsc::channel(100);
        send(path, options, std::future::ready(()), tx).await.expect("sent");
        let mut out = String::new();
        while let Some(Ok(b)) = rx.recv().await {
            out.push_str(&String::from_utf8_lossy(&b));
        }
        out
    }

    #[tokio::test]
    async fn options() {
        let base = Options::default;
        for (name, options, want) in [
            ("all", base(), "one\ntwo\nthree\n"),
            ("follow an ended one", Options { follow: true, ..base() }, "one\ntwo\nthree\n"),
            ("tail", Options { tail: Some(1), ..base() }, "three\n"),
            ("tail nothing", Options { tail: Some(0), ..base() }, ""),
            ("long tail", Options { tail: Some(9), ..base() }, "one\ntwo\nthree\n"),
            ("limit", Options { limit: Some(5), ..base() }, "one\nt"),
            ("since", Options { since: "2026-01-01T00:00:03Z".parse().ok(), ..base() }, "three\n"),
            ("stream", Options { stream: Some("Stderr".into()), ..base() }, "two\n"),
            ("stamps", Options { timestamps: true, tail: Some(1), ..base() }, "2026-01-01T00:00:03Z three\n"),
        ] {
            assert_eq!(read(options).await, want, "{name}");
        }
    }

    #[tokio::test]
    async fn a_tail_is_no_longer_than_asked_for_while_more_is_written() {
        let dir = tempfile::tempdir().expect("dir");
        let path = dir.path().join("0.log");
        std::fs::write(&path, "2026-01-01T00:00:01Z stdout F one\n2026-01-01T00:00:02Z stdout F two\n").expect("log");
        let mut file = File::open(&path).await.expect("log");
        let start = tail_start(&mut file, 1).await.expect("start");
        file.seek(SeekFrom::Start(start)).await.expect("seek");
        let more = std::fs::OpenOptions::new().append(true).open(&path);
        std::io::Write::write_all(&mut more.expect("log"), b"2026-01-01T00:00:03Z stdout F three\n").expect("written");
        let (tx, mut rx) = mpsc::channel(100);
        send_rest(path, file, Options { tail: Some(1), ..Options::default() }, std::future::ready(()), tx).await.expect("sent");
        assert_eq!(rx.recv().await.expect("a line").expect("text"), "two\n");
        assert!(rx.recv().await.is_none());
    }

    #[tokio::test]
    async fn followed_lines_come_when_they_are_written_also_after_a_rotation() {
        let dir = tempfile::tempdir().expect("dir");
        let path = dir.path().join("0.log");
        let write = |text: &str| {
            let file = std::fs::OpenOptions::new().create(true).append(true).open(&path);
            std::io::Write::write_all(&mut file.expect("log"), format!("2026-01-01T00:00:01Z stdout F {text}\n").as_bytes())
                .expect("written");
        };
        write("one");
        let (tx, mut rx) = mpsc::channel(100);
        let (end, ended) = tokio::sync::oneshot::channel::<()>();
        let ended = async { ended.await.expect("told") };
        let sent = tokio::spawn(send(path.clone(), Options { follow: true, ..Options::default() }, ended, tx));
        let mut next = async |name: &str| rx.recv().await.expect(name).expect(name);
        assert_eq!(next("what is there").await, "one\n");
        write("two");
        assert_eq!(next("what comes").await, "two\n");
        std::fs::rename(&path, dir.path().join("0.log.20260101-000002")).expect("rotated");
        write("three");
        assert_eq!(next("after a rotation").await, "three\n");
        write("four");
        end.send(()).expect("heard");
        assert_eq!(next("written before the end").await, "four\n");
        assert!(rx.recv().await.is_none());
        sent.await.expect("ran").expect("sent");
    }

    #[tokio::test]
    async fn a_reader_who_goes_away_ends_the_following() {
        let dir = tempfile::tempdir().expect("dir");
        let path = dir.path().join("0.log");
        std::fs::write(&path, "").expect("log");
        let (tx, rx) = mpsc::channel(100);
        let sent = tokio::spawn(send(path, Options { follow: true, ..Options::default() }, std::future::pending(), tx));
        drop(rx);
        sent.await.expect("ran").expect("sent");
    }
}
