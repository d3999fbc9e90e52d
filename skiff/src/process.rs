//! Daemons: started detached, known by a pid file that cannot be mistaken for another process, stopped by pid.

use std::fs;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// A process of ours, by pid and start time (a pid alone may have been given to another process since).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Daemon {
    pub pid: i32,
    started: u64,
}

/// Field 22 of /proc/PID/stat: start time in clock ticks since boot. `None` if there is no such process, or only a zombie.
fn start_time(pid: i32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    if matches!(*fields.first()?, "Z" | "X") {
        return None;
    }
    fields.get(19)?.parse().ok()
}

fn boot_id() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned()
}

impl Daemon {
    /// The live process that a pid file names, if it still is that process.
    pub fn from_file(path: &Path) -> Option<Self> {
        let text = fs::read_to_string(path).ok()?;
        let mut words = text.split_whitespace();
        let daemon = Self { pid: words.next()?.parse().ok()?, started: words.next()?.parse().ok()? };
        (words.next()? == boot_id() && daemon.is_alive()).then_some(daemon)
    }

    pub fn is_alive(&self) -> bool {
        start_time(self.pid) == Some(self.started)
    }

    /// Starts a command in its own session with output appended to `log`, and writes its pid file. `keep` stays open in the child
    /// (its number is the child's `SKIFF_READY_FD`).
    pub fn start(mut command: Command, log: &Path, pid_file: &Path, keep: Option<OwnedFd>) -> Result<Self, String> {
        let name = command.get_program().to_string_lossy().into_owned();
        let open = || fs::OpenOptions::new().create(true).append(true).open(log);
        let out = open().map_err(|e| format!("cannot open {}: {e}", log.display()))?;
        let err = out.try_clone().map_err(|e| format!("cannot open {}: {e}", log.display()))?;
        command.stdin(Stdio::null()).stdout(out).stderr(err);
        if let Some(fd) = &keep {
            command.env("SKIFF_READY_FD", fd.as_raw_fd().to_string());
        }
        let kept = keep.as_ref().map(AsRawFd::as_raw_fd);
        // SAFETY: setsid and fcntl are async-signal-safe; nothing is allocated between fork and exec.
        #[allow(unsafe_code)]
        unsafe {
            command.pre_exec(move || {
                if libc::setsid() < 0 {
                    return Err(io::Error::last_os_error());
                }
                if let Some(fd) = kept
                    && libc::fcntl(fd, libc::F_SETFD, 0) < 0
                {
                    return Err(io::Error::last_os_error());
                }
                Ok(())
            });
        }
        let child = command.spawn().map_err(|e| format!("cannot start {name}: {e}"))?;
        let pid = i32::try_from(child.id()).map_err(|e| e.to_string())?;
        let started = start_time(pid).ok_or_else(|| format!("{name} ended at once, see {}", log.display()))?;
        fs::write(pid_file, format!("{pid} {started} {}\n", boot_id()))
            .map_err(|e| format!("cannot write {}: {e}", pid_file.display()))?;
        Ok(Self { pid, started })
    }

    pub fn signal(&self, signal: Signal) {
        if self.is_alive() {
            let _ = kill(Pid::from_raw(self.pid), signal);
        }
    }

    /// Sends SIGTERM, waits up to `patience` for the process to end, then SIGKILL.
    pub fn stop(&self, patience: Duration) {
        self.signal(Signal::SIGTERM);
        if !self.wait_gone(patience) {
            self.signal(Signal::SIGKILL);
            self.wait_gone(Duration::from_secs(5));
        }
    }

    /// Waits for the process to end through a pidfd; true if it did.
    pub fn wait_gone(&self, patience: Duration) -> bool {
        let deadline = Instant::now() + patience;
        let pid = rustix::process::Pid::from_raw(self.pid);
        let Some(Ok(fd)) = pid.map(|p| rustix::process::pidfd_open(p, rustix::process::PidfdFlags::empty())) else {
            return !self.is_alive();
        };
        while self.is_alive() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            let ms = u16::try_from(left.as_millis().max(1)).unwrap_or(u16::MAX);
            let mut fds = [nix::poll::PollFd::new(std::os::fd::AsFd::as_fd(&fd), nix::poll::PollFlags::POLLIN)];
            let _ = nix::poll::poll(&mut fds, nix::poll::PollTimeout::from(ms));
            // A zombie of ours is reaped here, so that it counts as gone.
            let _ = nix::sys::wait::waitpid(Pid::from_raw(self.pid), Some(nix::sys::wait::WaitPidFlag::WNOHANG));
        }
        true
    }
}
