//! What a user gets from one machine, through stock kubectl: one lab is booted once, every test has a namespace of its own in it.
//! Tests that stop the server or sweep `default` come after the others, one at a time; the last one purges.

mod cli;
mod seeds;
mod services;
mod storage;
mod stores;
mod survival;
mod walkthrough;
mod workloads;

use e2e::{Lab, image, registry};
use libtest_mimic::{Arguments, Trial};
use std::process::ExitCode;
use std::sync::Arc;

/// A test: its name, and what it does in the lab.
type Test = (&'static str, fn(&Lab));

/// Puts the functions of a module into its table under their own names.
#[macro_export]
macro_rules! tests {
    ($($name:ident),* $(,)?) => {
        &[$((concat!(module_path!(), "::", stringify!($name)), $name)),*]
    };
}

fn boot() -> Lab {
    let (busybox, nginx) = (image::busybox(), image::nginx());
    let lab = Lab::new("one");
    let hosts = ["docker.io", "gcr.io"];
    registry::start(&lab, &hosts, &[&busybox, &nginx, &image::node_hello()]);
    print!("{}", lab.up().ok());
    lab
}

fn trials(lab: Option<&Arc<Lab>>, tests: &[&[Test]]) -> Vec<Trial> {
    let trial = |(name, test): &Test| {
        let (lab, test) = (lab.cloned(), *test);
        Trial::test(name.replace("single_node::", ""), move || {
            if let Some(lab) = lab {
                test(&lab);
            }
            Ok(())
        })
    };
    tests.iter().flat_map(|t| t.iter()).map(trial).collect()
}

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    if !nix::unistd::geteuid().is_root() {
        println!("skipped: end-to-end tests make network namespaces and containers, which needs root");
        return ExitCode::SUCCESS;
    }
    let side_by_side = [seeds::TESTS, walkthrough::TESTS, services::TESTS, storage::TESTS, workloads::TESTS, cli::TESTS];
    let one_by_one = [stores::TESTS, walkthrough::ALONE, survival::TESTS, cli::LAST];
    if arguments.list {
        return libtest_mimic::run(&arguments, trials(None, &[side_by_side.concat().as_slice(), &one_by_one.concat()]))
            .exit_code();
    }
    let lab = Arc::new(boot());
    arguments.test_threads = arguments.test_threads.or(Some(4));
    let first = libtest_mimic::run(&arguments, trials(Some(&lab), &side_by_side));
    arguments.test_threads = Some(1);
    let second = libtest_mimic::run(&arguments, trials(Some(&lab), &one_by_one));
    drop(lab);
    if first.has_failed() { first.exit_code() } else { second.exit_code() }
}
