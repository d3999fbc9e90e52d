//! What the kernel tells of changes of files.

use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use std::io::{Error, ErrorKind, Result};
use std::path::Path;
use tokio::net::unix::pipe::Receiver;

/// A watch of one file or directory. Which change it was is not told: those who wait look at everything anew.
pub struct Changes {
    events: Receiver,
}

impl Changes {
    pub fn of(path: &Path, flags: AddWatchFlags) -> Result<Self> {
        let inotify = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC)?;
        inotify.add_watch(path, flags)?;
        // It is waited for and read like a pipe's end.
        Ok(Self { events: Receiver::from_owned_fd_unchecked(inotify.into())? })
    }

    /// Returns after a change since the last return. Nothing is lost if it is dropped while it waits.
    pub async fn next(&mut self) -> Result<()> {
        self.events.readable().await?;
        let mut said = [0; 4096];
        loop {
            match self.events.try_read(&mut said) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(_) => {}
                Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(e) => return Err(Error::new(e.kind(), format!("changes of files: {e}"))),
            }
        }
    }
}
