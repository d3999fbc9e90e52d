//! Steps shown to people: one line each, with the time it took. Also the pipe on which the server tells `skiff up` how far it is.

use std::fs::File;
use std::io::{BufRead, BufReader, IsTerminal, Read, Write};
use std::os::fd::{FromRawFd, OwnedFd};
use std::time::{Duration, Instant};

/// Prints steps as they end.
pub struct Progress {
    began: Instant,
    last: Instant,
    color: bool,
}

impl Progress {
    pub fn start() -> Self {
        let now = Instant::now();
        Self { began: now, last: now, color: std::io::stdout().is_terminal() }
    }
    /// A step ended well.
    pub fn done(&mut self, what: &str) {
        let now = Instant::now();
        let took = now - self.last;
        self.last = now;
        let mark = if self.color { "\x1b[32m✓\x1b[0m" } else { "✓" };
        println!(" {mark} {what:<58} {:>7}", human(took));
    }
    pub fn total(&self) -> String {
        human(self.began.elapsed())
    }
}

fn human(d: Duration) -> String {
    if d < Duration::from_secs(1) { format!("{} ms", d.as_millis()) } else { format!("{:.2} s", d.as_secs_f64()) }
}

/// The server's end of the pipe: `step TEXT`, `ready`, or `failed TEXT`, a line each. Without a listener it says nothing.
pub struct Reporter(Option<File>);

impl Reporter {
    /// Takes the descriptor that `skiff up` left open for its child.
    pub fn from_env() -> Self {
        let fd = std::env::var("SKIFF_READY_FD").ok().and_then(|s| s.parse::<i32>().ok()).filter(|fd| *fd > 2);
        // SAFETY: the parent opened this descriptor for us alone and named it in the environment.
        #[allow(unsafe_code)]
        Self(fd.map(|fd| unsafe { File::from_raw_fd(fd) }))
    }
    fn say(&mut self, line: &str) {
        if let Some(f) = &mut self.0
            && writeln!(f, "{line}").is_err()
        {
            self.0 = None;
        }
    }
    pub fn step(&mut self, what: &str) {
        self.say(&format!("step {what}"));
    }
    /// Nothing more will be said.
    pub fn ready(&mut self) {
        self.say("ready");
        self.0 = None;
    }
    pub fn failed(&mut self, why: &str) {
        self.say(&format!("failed {}", why.replace('\n', " ")));
        self.0 = None;
    }
}

/// A pipe for `Reporter`: the reading end, and the end to leave to the child.
pub fn pipe() -> Result<(File, OwnedFd), String> {
    let (r, w) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC).map_err(|e| format!("cannot make a pipe: {e}"))?;
    Ok((File::from(r), w))
}

/// Shows the server's steps until it is ready. An error if it fails, ends, or says nothing for `patience`.
pub fn follow(from: File, progress: &mut Progress, patience: Duration) -> Result<(), String> {
    let mut lines = BufReader::new(Patient { file: from, patience }).lines();
    loop {
        match lines.next() {
            None => return Err("the server ended while starting".into()),
            Some(Err(e)) => return Err(format!("the server did not become ready: {e}")),
            Some(Ok(line)) => match line.split_once(' ').unwrap_or((&line, "")) {
                ("step", what) => progress.done(what),
                ("failed", why) => return Err(why.to_owned()),
                ("ready", _) => return Ok(()),
                _ => {}
            },
        }
    }
}

/// Reads with a deadline per read.
struct Patient {
    file: File,
    patience: Duration,
}

impl Read for Patient {
    fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
        let mut fds = [nix::poll::PollFd::new(std::os::fd::AsFd::as_fd(&self.file), nix::poll::PollFlags::POLLIN)];
        let ms = i32::try_from(self.patience.as_millis()).unwrap_or(i32::MAX);
        let timeout = nix::poll::PollTimeout::try_from(ms).unwrap_or(nix::poll::PollTimeout::MAX);
        if nix::poll::poll(&mut fds, timeout)? == 0 {
            return Err(std::io::Error::new(
                std::io::ErrorKind::TimedOut,
                format!("no progress for {} s", self.patience.as_secs()),
            ));
        }
        self.file.read(buf)
    }
}
