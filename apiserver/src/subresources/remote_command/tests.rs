//! Sessions between a client and a remote command that are played by the test: early ends, back pressure, leaving.

use super::*;
use tokio::io::AsyncReadExt as _;

const ALL: Wanted = Wanted { stdin: true, stdout: true, stderr: true, tty: false };

#[test]
fn verdicts_are_those_of_upstreams_client() {
    let exit = r#"{"status":"Failure","reason":"NonZeroExitCode","details":{"causes":[{"reason":"ExitCode","message":"5"}]}}"#;
    let ended = "command terminated with non-zero exit code: command terminated with exit code 5";
    for (name, report, status, message) in [
        ("nothing said", "", "Success", ""),
        ("well", r#"{"metadata":{},"status":"Success"}"#, "Success", ""),
        ("a code", exit, "Failure", ended),
        ("a failure", r#"{"status":"Failure","message":"no shell"}"#, "Failure", "Internal error occurred: no shell"),
        ("neither", "{}", "Failure", "Internal error occurred: error stream protocol error: unknown error"),
    ] {
        let v = verdict(report.as_bytes());
        assert_eq!((meta::str_at(&v, &["status"]), meta::str_at(&v, &["message"])), (status, message), "{name}");
    }
}

#[test]
fn a_terminal_has_a_size_and_no_stderr() {
    let names = |w: Wanted| w.streams().into_iter().map(|(_, id, name)| (id, name)).collect::<Vec<_>>();
    assert_eq!(names(ALL), [(1, "error"), (3, "stdin"), (5, "stdout"), (7, "stderr")]);
    assert_eq!(names(Wanted { tty: true, ..ALL }), [(1, "error"), (3, "stdin"), (5, "stdout"), (7, "resize")]);
}

/// A command that echoes its input until that ends, and then fails with 5.
async fn echo(mut remote: tokio::io::DuplexStream) {
    let mut head = [0; 8];
    loop {
        remote.read_exact(&mut head).await.unwrap();
        let mut payload = vec![0; usize::from(head[6]) << 8 | usize::from(head[7])];
        remote.read_exact(&mut payload).await.unwrap();
        if head[..4] == [0, 0, 0, 3] {
            if head[4] == 1 {
                break;
            }
            remote.write_all(&spdy::data(5, &payload)).await.unwrap();
        }
    }
    let report = r#"{"status":"Failure","reason":"NonZeroExitCode","details":{"causes":[{"reason":"ExitCode","message":"5"}]}}"#;
    let rest = [spdy::data(1, report.as_bytes()), spdy::end(1), spdy::end(5), spdy::end(7)].concat();
    remote.write_all(&rest).await.unwrap();
}

#[tokio::test]
async fn input_ends_without_the_connection() {
    let (near, far) = tokio::io::duplex(1 << 16);
    tokio::spawn(echo(far));
    let (mut sink, mut out) = futures::channel::mpsc::unbounded();
    let said = [message(STDIN, b"hello"), message(CLOSE, &[STDIN])].map(Ok);
    let mut source = futures::stream::iter(said).chain(futures::stream::pending());
    let verdict = run(&mut sink, &mut source, near, ALL).await.unwrap();
    assert_eq!(verdict["details"]["causes"][0]["message"], "5");
    assert_eq!(out.next().await, Some(message(STDOUT, b"hello")));
}

#[tokio::test]
async fn a_connection_that_breaks_is_no_success() {
    let (near, far) = tokio::io::duplex(1 << 10);
    drop(far);
    let (mut sink, _out) = futures::channel::mpsc::unbounded();
    let verdict = run(&mut sink, &mut futures::stream::pending(), near, ALL).await.unwrap();
    assert_eq!(verdict["message"], "Internal error occurred: error reading from error stream: unexpected EOF");
}

#[tokio::test]
async fn a_command_that_reads_no_more_still_says_how_it_ended() {
    let (near, mut far) = tokio::io::duplex(1 << 12);
    let (mut sink, mut out) = futures::channel::mpsc::unbounded();
    let chunk = message(STDIN, &[0; 1 << 15]);
    // More than there is room for, and no end.
    let mut source = futures::stream::repeat_with(move || Ok(chunk.clone()));
    let command = tokio::spawn(async move {
        far.read_exact(&mut [0; 1 << 10]).await.unwrap();
        let report = spdy::data(1, br#"{"metadata":{},"status":"Success"}"#);
        let end = [spdy::data(5, b"01234"), spdy::end(5), spdy::end(7), report, spdy::end(1)].concat();
        far.write_all(&end).await.unwrap();
        far
    });
    let verdict = run(&mut sink, &mut source, near, ALL).await.unwrap();
    assert_eq!(verdict["status"], "Success");
    assert_eq!(out.next().await, Some(message(STDOUT, b"01234")));
    drop(command.await.unwrap());
}

#[tokio::test]
async fn a_client_that_leaves_takes_its_streams_along() {
    let (near, mut far) = tokio::io::duplex(1 << 12);
    let (mut sink, _out) = futures::channel::mpsc::unbounded();
    assert_eq!(run(&mut sink, &mut futures::stream::empty(), near, ALL).await, None);
    far.read_to_end(&mut Vec::new()).await.unwrap();
}
