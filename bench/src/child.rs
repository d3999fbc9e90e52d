//! Processes of the systems under measure: started with a log, ended when dropped, and what they cost.

use crate::process;
use std::ffi::OsStr;
use std::fs::File;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A process of ours. Dropping it ends it.
pub struct Process {
    pub name: String,
    child: Child,
    /// Entered through `nsenter`, which stays the parent's child: the pid is still the program's, as nsenter replaces itself.
    log: String,
}

impl Process {
    /// Starts `program`; what it says goes to DIRECTORY/NAME.log. `enter` is a prefix such as `nsenter …`.
    pub fn start<S: AsRef<OsStr>>(
        dir: &Path,
        name: &str,
        enter: &[String],
        program: &Path,
        args: impl IntoIterator<Item = S>,
    ) -> Result<Self, String> {
        let path = dir.join(format!("{name}.log"));
        let open = || File::options().create(true).append(true).open(&path).map_err(|e| format!("{}: {e}", path.display()));
        let mut command = match enter {
            [first, rest @ ..] => {
                let mut c = Command::new(first);
                c.args(rest).arg(program);
                c
            }
            [] => Command::new(program),
        };
        command.args(args).stdin(Stdio::null()).stdout(open()?).stderr(open()?);
        let child = command.spawn().map_err(|e| format!("cannot run {}: {e}", program.display()))?;
        Ok(Self { name: name.to_owned(), child, log: path.display().to_string() })
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// An error with the end of the log if the process has ended.
    pub fn check(&mut self) -> Result<(), String> {
        match self.child.try_wait() {
            Ok(None) => Ok(()),
            ended => {
                let text = std::fs::read_to_string(&self.log).unwrap_or_default();
                let tail: Vec<&str> = text.lines().rev().take(5).collect();
                Err(format!("{} ended ({ended:?}): {}", self.name, tail.into_iter().rev().collect::<Vec<_>>().join(" | ")))
            }
        }
    }

    /// Asks the process to end and waits for it; insists after ten seconds.
    pub fn stop(&mut self) {
        if matches!(self.child.try_wait(), Ok(Some(_))) {
            return;
        }
        if let Some(pid) = i32::try_from(self.child.id()).ok().and_then(rustix::process::Pid::from_raw) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
        let begin = Instant::now();
        while matches!(self.child.try_wait(), Ok(None)) && begin.elapsed() < Duration::from_secs(10) {
            std::thread::sleep(Duration::from_millis(10));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.stop();
    }
}

/// CPU seconds that these processes have used.
pub fn cpu_seconds(pids: &[u32]) -> f64 {
    pids.iter().filter_map(|p| process::usage(*p).ok()).map(|u| u.cpu_seconds()).sum()
}

/// Resident memory of these processes together, in MiB.
pub fn resident(pids: &[u32]) -> f64 {
    pids.iter().filter_map(|p| process::memory(*p).ok()).map(|m| m.rss).sum()
}
