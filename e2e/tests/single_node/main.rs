//! What a user gets from one machine, through stock kubectl: one lab is booted once, every test has a namespace of its own in it.
//! Tests that stop the server or sweep `default` come after the others, one at a time; the last one purges.

mod cli;
mod components;
mod pulls;
mod seeds;
mod services;
mod storage;
mod stores;
mod survival;
mod walkthrough;
mod workloads;

use e2e::{Lab, image, registry, suite};
use std::process::ExitCode;

type Test = suite::Test<Lab>;

fn boot() -> Lab {
    let (busybox, nginx) = (image::busybox(), image::nginx());
    let lab = Lab::new("one");
    let hosts = ["docker.io", "gcr.io"];
    registry::start(&lab, &hosts, &[&busybox, &nginx, &image::node_hello()]);
    registry::start_private(&lab, "private.example", pulls::LOGIN, &[&busybox]);
    print!("{}", lab.up().ok());
    lab
}

fn main() -> ExitCode {
    let side_by_side = [
        seeds::TESTS,
        walkthrough::TESTS,
        services::TESTS,
        storage::TESTS,
        workloads::TESTS,
        cli::TESTS,
        components::TESTS,
        pulls::TESTS,
    ];
    let one_by_one = [stores::TESTS, walkthrough::ALONE, survival::TESTS, cli::LAST];
    suite::run(boot, &side_by_side.concat(), &one_by_one.concat())
}
