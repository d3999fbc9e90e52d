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

/// A program that runs beside the test; dropping it kills it.
pub struct Background {
    child: std::process::Child,
    log: std::path::PathBuf,
}

impl Background {
    /// Starts it; all it says goes to `log`.
    pub fn start(mut command: Command, log: std::path::PathBuf) -> Self {
        let file = std::fs::File::create(&log).unwrap_or_else(|e| panic!("{}: {e}", log.display()));
        let copy = file.try_clone().expect("a file can be opened twice");
        let child = command.stdin(Stdio::null()).stdout(file).stderr(copy).spawn().unwrap_or_else(|e| panic!("{command:?}: {e}"));
        Self { child, log }
    }
    /// What it has said so far.
    pub fn said(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.log).unwrap_or_default()).into_owned()
    }
    /// Waits until it has said something.
    #[track_caller]
    pub fn says(&self, what: &str, patience: Duration) {
        eventually(what, patience, || if self.said().contains(what) { Ok(()) } else { Err(self.said()) });
    }
    /// Waits for its end; true for success.
    pub fn end(mut self) -> (bool, String) {
        let ok = self.child.wait().is_ok_and(|s| s.success());
        (ok, self.said())
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
