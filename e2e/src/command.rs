//! Running programs and looking at what they say.

use std::io::Write;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// What a program said and how it ended.
#[derive(Debug, Clone)]
pub struct Output {
    pub command: String,
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Output {
    /// Standard output of a success; a failure fails the test with all that is known.
    #[track_caller]
    pub fn ok(self) -> String {
        assert_eq!(self.code, 0, "{} failed:\n{}{}", self.command, self.out, self.err);
        self.out
    }
    /// Standard error of a failure; a success fails the test.
    #[track_caller]
    pub fn fails(self) -> String {
        assert_ne!(self.code, 0, "{} should fail, but said:\n{}", self.command, self.out);
        self.err
    }
}

/// Runs a command to its end, with `input` on its standard input.
pub fn run(command: &mut Command, input: &str) -> Output {
    let text = format!("{command:?}");
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|e| panic!("cannot start {text}: {e}"));
    let mut stdin = child.stdin.take().expect("piped");
    let input = input.to_owned();
    let writer = std::thread::spawn(move || {
        // A program that does not read its input closes it: no failure.
        let _ = stdin.write_all(input.as_bytes());
    });
    let out = child.wait_with_output().unwrap_or_else(|e| panic!("{text}: {e}"));
    writer.join().expect("the writer does not panic");
    Output {
        command: text,
        code: out.status.code().unwrap_or(-1),
        out: String::from_utf8_lossy(&out.stdout).into_owned(),
        err: String::from_utf8_lossy(&out.stderr).into_owned(),
    }
}

/// Waits until `condition` gives a value; fails the test with `what` and the last excuse after `patience`.
#[track_caller]
pub fn eventually<T>(what: &str, patience: Duration, mut condition: impl FnMut() -> Result<T, String>) -> T {
    let deadline = Instant::now() + patience;
    loop {
        match condition() {
            Ok(v) => return v,
            Err(e) if Instant::now() > deadline => panic!("{what}: not within {} s: {e}", patience.as_secs()),
            Err(_) => std::thread::sleep(Duration::from_millis(100)),
        }
    }
}
