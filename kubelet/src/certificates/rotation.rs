//! When certificates are renewed, and the loop that renews the client certificate.

use super::{Error, client_certificate};
use client::{Client, Clock};
use jiff::{SignedDuration, Timestamp};
use pki::Pair;
use rand::RngExt;
use std::time::Duration;

/// Renewal comes when seven to nine tenths of the lifetime are over, so that nodes do not all ask at once.
pub fn due(cert_pem: &str) -> pki::Result<Timestamp> {
    let (from, to) = pki::authority::validity(cert_pem)?;
    let share = 0.7 + 0.2 * rand::rng().random_range(0.0..1.0);
    let at = from + ((to - from) as f64 * share) as i64;
    Ok(Timestamp::from_second(at).unwrap_or(Timestamp::UNIX_EPOCH))
}

/// Whether a certificate can still be used.
pub fn is_valid(cert_pem: &str, now: Timestamp) -> bool {
    pki::authority::validity(cert_pem).is_ok_and(|(from, to)| (from..to).contains(&now.as_second()))
}

/// Sleeps until `at`; a long sleep is cut, since clocks of machines that slept themselves jump.
pub(super) async fn sleep_until(clock: Clock, at: Timestamp) {
    loop {
        let left = at.duration_since(clock.now());
        if !left.is_positive() {
            return;
        }
        let step = left.min(SignedDuration::from_hours(1));
        tokio::time::sleep(Duration::try_from(step).unwrap_or_default()).await;
    }
}

/// Renews the node's client certificate for as long as it is polled; `take` puts each new one to use.
pub async fn renew_client(
    client: Client,
    node_name: String,
    mut current: Pair,
    clock: Clock,
    mut take: impl FnMut(&Pair) -> Result<(), String>,
) {
    let mut retry = client::retry::Backoff::new(Duration::from_secs(2), Duration::from_secs(300));
    loop {
        let at = due(&current.cert).unwrap_or(Timestamp::UNIX_EPOCH);
        tracing::info!(%at, "the client certificate is renewed then");
        sleep_until(clock, at).await;
        loop {
            match renewed(&client, &node_name, &mut take).await {
                Ok(new) => {
                    current = new;
                    retry.reset();
                    tracing::info!("client certificate renewed");
                    break;
                }
                Err(e) => {
                    tracing::warn!(error = e, "client certificate not renewed");
                    tokio::time::sleep(retry.step()).await;
                }
            }
        }
    }
}

async fn renewed(client: &Client, name: &str, take: &mut impl FnMut(&Pair) -> Result<(), String>) -> Result<Pair, String> {
    let new = client_certificate(client, name).await.map_err(|e: Error| e.to_string())?;
    take(&new)?;
    Ok(new)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn due_near_the_end() {
        let ca = pki::Authority::generate("test").expect("an authority");
        let pair = ca.issue(&pki::Identity::client("a", &[]), Duration::from_secs(1000 * 3600)).expect("a certificate");
        let (from, to) = pki::authority::validity(&pair.cert).expect("valid");
        let share = (due(&pair.cert).expect("a time").as_second() - from) as f64 / (to - from) as f64;
        assert!((0.69..0.91).contains(&share), "{share}");
        let at = |s| Timestamp::from_second(s).expect("a time");
        assert!(is_valid(&pair.cert, at(from)) && !is_valid(&pair.cert, at(to)) && !is_valid("", at(from)));
    }
}
