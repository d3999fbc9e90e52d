//! What every controller gets: a client under its own name, the shared informers, the clock, the configuration.

use crate::Config;
use client::{Client, Clock, Informers, Recorder};
use std::sync::Arc;

#[derive(Clone)]
pub struct Context {
    /// Requests of this controller.
    pub client: Client,
    pub informers: Informers,
    pub clock: Clock,
    pub config: Arc<Config>,
}

impl Context {
    /// Events under a component name (`deployment-controller`).
    pub fn recorder(&self, component: &str) -> Recorder {
        Recorder::start(self.client.clone(), component, "", self.clock)
    }
    pub fn now(&self) -> jiff::Timestamp {
        self.clock.now()
    }
}

/// Waits for each informer's first list.
#[macro_export]
macro_rules! synced {
    ($($informer:expr),+ $(,)?) => {{ $($informer.synced().await;)+ }};
}
