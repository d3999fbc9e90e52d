//! Two machines on one wire, one cluster: the second comes by `skiff token create` and `skiff join`. One lab is booted once; tests run one
//! after the other, the last one purges.

mod joining;
mod network;

use e2e::{Lab, Machine, image, suite};
use std::process::ExitCode;

/// The cluster: the machine that `skiff up` ran on, and the one that joined.
pub struct Two {
    pub second: Machine,
    pub lab: Lab,
}

type Test = suite::Test<Two>;

fn boot() -> Two {
    let busybox = image::busybox();
    let lab = Lab::new("two");
    print!("{}", lab.up().ok());
    let second = lab.another_machine(2);
    let invitation = lab.skiff(&["token", "create", "--description", "the second machine"]).ok();
    assert_eq!(invitation.lines().count(), 1, "one line: {invitation}");
    print!("{}", second.join(&invitation).ok());
    lab.load(&busybox);
    second.load(&busybox);
    Two { second, lab }
}

fn main() -> ExitCode {
    suite::run(boot, &[], &[joining::TESTS, network::TESTS, joining::LAST].concat())
}
