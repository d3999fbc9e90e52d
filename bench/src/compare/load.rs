//! The load: many clients, each with a connection of its own, take calls from one list until it is empty.

use super::connection::{Call, Connection, Endpoint};
use crate::stats::Samples;
use bytes::Bytes;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

/// Clients with open connections.
#[derive(Clone)]
pub struct Clients(Vec<Connection>);

/// How one list of calls went.
pub struct Outcome {
    pub seconds: f64,
    pub latency: Samples,
    /// The answers in the order of the calls, where they were asked for.
    pub answers: Vec<Bytes>,
}

impl Clients {
    pub async fn open(endpoint: &Endpoint, count: usize) -> Result<Self, String> {
        let mut all = Vec::with_capacity(count);
        for _ in 0..count {
            all.push(Connection::open(endpoint).await?);
        }
        Ok(Self(all))
    }

    /// Sends all calls, each client one at a time. The first failure is the outcome.
    pub async fn run(&self, calls: Vec<Call>, keep: bool) -> Result<Outcome, String> {
        let (calls, next) = (Arc::new(calls), Arc::new(AtomicUsize::new(0)));
        let begin = Instant::now();
        let mut clients = tokio::task::JoinSet::new();
        for connection in &self.0 {
            let (mut connection, calls, next) = (connection.clone(), calls.clone(), next.clone());
            clients.spawn(async move {
                let (mut latency, mut answers) = (Samples::default(), Vec::new());
                loop {
                    let n = next.fetch_add(1, Ordering::Relaxed);
                    let Some(call) = calls.get(n) else { break };
                    let sent = Instant::now();
                    let answer = connection.call(call).await?;
                    latency.add(sent.elapsed());
                    if keep {
                        answers.push((n, answer));
                    }
                }
                Ok::<_, String>((latency, answers))
            });
        }
        let (mut latency, mut answers) = (Samples::default(), Vec::new());
        while let Some(done) = clients.join_next().await {
            let (l, a) = done.map_err(|e| e.to_string())??;
            latency.extend(l);
            answers.extend(a);
        }
        let seconds = begin.elapsed().as_secs_f64();
        answers.sort_by_key(|(n, _)| *n);
        Ok(Outcome { seconds, latency, answers: answers.into_iter().map(|(_, a)| a).collect() })
    }
}
