//! The numbers of SPECIFICATION.md, measured on this machine. Run by hack/bench.sh in network namespaces without a way out.

mod alone;
mod child;
mod compare;
mod floor;
mod pods;
mod process;
mod profile;
mod report;
mod runtime;
mod startup;
mod stats;

use clap::Parser;
use std::process::ExitCode;

/// Measures.
#[derive(Parser)]
enum Command {
    /// Skiff alone, beside the bare container runtime.
    Alone(Box<alone::Alone>),
    /// Skiff and stock Kubernetes, in turn.
    Compare(Box<compare::Compare>),
    /// Where time and memory went, from what perf and jemalloc recorded.
    Profile(Box<profile::Profile>),
    /// Wait until a web server answers at this address.
    Answer { address: String },
}

fn main() -> ExitCode {
    let command = Command::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let outcome = runtime.map_err(|e| e.to_string()).and_then(|r| {
        r.block_on(async {
            match &command {
                Command::Alone(args) => alone::run(args).await,
                Command::Compare(args) => compare::run(args).await,
                Command::Profile(args) => profile::run(args),
                Command::Answer { address } => startup::answer(address).await,
            }
        })
    });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("bench: {e}");
            ExitCode::FAILURE
        }
    }
}
