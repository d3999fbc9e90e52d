//! Why a sync failed. The key comes back with back-off whatever the reason; the kind matters only where a controller asks.

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Client(#[from] client::Error),
    #[error("{0}")]
    Other(String),
}

pub type Result<T = ()> = std::result::Result<T, Error>;

impl Error {
    pub fn other(message: impl Into<String>) -> Self {
        Self::Other(message.into())
    }
    fn client(&self) -> Option<&client::Error> {
        match self {
            Self::Client(e) => Some(e),
            Self::Other(_) => None,
        }
    }
    pub fn is_not_found(&self) -> bool {
        self.client().is_some_and(client::Error::is_not_found)
    }
    pub fn is_conflict(&self) -> bool {
        self.client().is_some_and(client::Error::is_conflict)
    }
    pub fn is_already_exists(&self) -> bool {
        self.client().is_some_and(client::Error::is_already_exists)
    }
    /// The namespace is going away: nothing will be created there, and a retry is pointless.
    pub fn is_namespace_terminating(&self) -> bool {
        self.client().is_some_and(client::Error::is_namespace_terminating)
    }
}

/// Success where nothing can be created any more, because the namespace is going away.
pub fn unless_namespace_ends(done: Result) -> Result {
    match done {
        Err(e) if e.is_namespace_terminating() => Ok(()),
        done => done,
    }
}

/// Success where the object is gone already.
pub fn ignore_not_found<T>(r: client::Result<T>) -> client::Result<()> {
    match r {
        Ok(_) => Ok(()),
        Err(e) if e.is_not_found() => Ok(()),
        Err(e) => Err(e),
    }
}
