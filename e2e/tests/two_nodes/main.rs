//! Two machines on one wire, one cluster: the second comes by `skiff token create` and `skiff join`. One lab is booted once; tests run one
//! after the other, the last one purges.

mod joining;
mod network;

use e2e::{Lab, Machine, image};
use libtest_mimic::{Arguments, Trial};
use std::process::ExitCode;
use std::sync::Arc;

/// The cluster: the machine that `skiff up` ran on, and the one that joined.
pub struct Two {
    pub second: Machine,
    pub lab: Lab,
}

/// A test: its name, and what it does in the lab.
type Test = (&'static str, fn(&Two));

/// Puts the functions of a module into its table under their own names.
#[macro_export]
macro_rules! tests {
    ($($name:ident),* $(,)?) => {
        &[$((concat!(module_path!(), "::", stringify!($name)), $name)),*]
    };
}

fn boot() -> Two {
    let busybox = image::busybox();
    let lab = Lab::new("two");
    print!("{}", lab.up().ok());
    let second = Machine::new(&lab, 2);
    let invitation = lab.skiff(&["token", "create", "--description", "the second machine"]).ok();
    assert_eq!(invitation.lines().count(), 1, "one line: {invitation}");
    print!("{}", second.join(&invitation).ok());
    lab.load(&busybox);
    second.load(&busybox);
    Two { second, lab }
}

fn trials(two: Option<&Arc<Two>>, tests: &[Test]) -> Vec<Trial> {
    let trial = |(name, test): &Test| {
        let (two, test) = (two.cloned(), *test);
        Trial::test(name.replace("two_nodes::", ""), move || {
            if let Some(two) = two {
                test(&two);
            }
            Ok(())
        })
    };
    tests.iter().map(trial).collect()
}

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    if !nix::unistd::geteuid().is_root() {
        println!("skipped: end-to-end tests make network namespaces and containers, which needs root");
        return ExitCode::SUCCESS;
    }
    arguments.test_threads = Some(1);
    let tests = [joining::TESTS, network::TESTS, joining::LAST].concat();
    if arguments.list {
        return libtest_mimic::run(&arguments, trials(None, &tests)).exit_code();
    }
    let two = Arc::new(boot());
    let end = libtest_mimic::run(&arguments, trials(Some(&two), &tests));
    drop(two);
    end.exit_code()
}
