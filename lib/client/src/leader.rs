//! Leader election on a Lease (client-go's leaderelection with a LeaseLock).

use crate::{Client, Clock, Error};
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use std::time::Duration;
use tokio::time::Instant;

/// Who stands for election, where.
#[derive(Clone, Debug)]
pub struct Election {
    pub namespace: String,
    pub name: String,
    pub identity: String,
    pub lease_duration: Duration,
    pub renew_deadline: Duration,
    pub retry_period: Duration,
}

impl Election {
    /// Upstream's defaults: 15 s, 10 s, 2 s.
    pub fn new(namespace: &str, name: &str, identity: &str) -> Self {
        Self {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            identity: identity.to_owned(),
            lease_duration: Duration::from_secs(15),
            renew_deadline: Duration::from_secs(10),
            retry_period: Duration::from_secs(2),
        }
    }

    /// Waits until this identity leads, runs `lead` while it does, and returns when leadership is lost or `lead` ends.
    pub async fn run<F: Future<Output = ()>>(&self, client: &Client, clock: Clock, lead: impl FnOnce() -> F) {
        let mut observed: Option<(Option<LeaseSpec>, Instant)> = None;
        tracing::info!(lease = %self.name, "attempting to acquire the leader lease");
        while !self.try_acquire(client, clock, &mut observed).await {
            tokio::time::sleep(self.retry_period).await;
        }
        tracing::info!(lease = %self.name, identity = %self.identity, "became leader");
        let leading = lead();
        tokio::pin!(leading);
        let mut renewed = Instant::now();
        loop {
            tokio::select! {
                () = &mut leading => return,
                () = tokio::time::sleep(self.retry_period) => {}
            }
            if self.try_acquire(client, clock, &mut observed).await {
                renewed = Instant::now();
            } else if renewed.elapsed() > self.renew_deadline {
                tracing::error!(lease = %self.name, "lost leadership");
                return;
            }
        }
    }

    /// One attempt to take or renew the lease.
    async fn try_acquire(&self, client: &Client, clock: Clock, observed: &mut Option<(Option<LeaseSpec>, Instant)>) -> bool {
        match self.attempt(client, clock, observed).await {
            Ok(held) => held,
            Err(e) => {
                tracing::warn!(lease = %self.name, error = %e, "lease not acquired");
                false
            }
        }
    }

    async fn attempt(
        &self,
        client: &Client,
        clock: Clock,
        observed: &mut Option<(Option<LeaseSpec>, Instant)>,
    ) -> Result<bool, Error> {
        let now = clock.micro_time();
        let mut spec = LeaseSpec {
            holder_identity: Some(self.identity.clone()),
            lease_duration_seconds: Some(i32::try_from(self.lease_duration.as_secs()).unwrap_or(i32::MAX)),
            acquire_time: Some(now.clone()),
            renew_time: Some(now),
            lease_transitions: Some(0),
            ..Default::default()
        };
        let mut lease = match client.get::<Lease>(&self.namespace, &self.name).await {
            Ok(l) => l,
            Err(e) if e.is_not_found() => {
                let metadata =
                    ObjectMeta { name: Some(self.name.clone()), namespace: Some(self.namespace.clone()), ..Default::default() };
                client.create(&self.namespace, &Lease { metadata, spec: Some(spec) }).await?;
                return Ok(true);
            }
            Err(e) => return Err(e),
        };
        let old = lease.spec.clone().unwrap_or_default();
        if observed.as_ref().is_none_or(|(seen, _)| *seen != lease.spec) {
            *observed = Some((lease.spec.clone(), Instant::now()));
        }
        let ours = old.holder_identity.as_deref() == Some(&self.identity);
        let vacant = old.holder_identity.as_deref().unwrap_or("").is_empty();
        let fresh = observed.as_ref().is_some_and(|(_, at)| at.elapsed() < self.lease_duration);
        if !ours && !vacant && fresh {
            return Ok(false);
        }
        spec.lease_transitions = Some(old.lease_transitions.unwrap_or(0) + i32::from(!ours));
        if ours {
            spec.acquire_time = old.acquire_time;
        }
        lease.spec = Some(spec);
        let lease = client.update(&lease).await?;
        *observed = Some((lease.spec, Instant::now()));
        Ok(true)
    }
}
