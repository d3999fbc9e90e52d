//! The main program of a suite: a cluster is booted once, and the tests run in it, side by side or one after the other.

use libtest_mimic::{Arguments, Trial};
use std::process::ExitCode;
use std::sync::Arc;

/// A test: its name, and what it does in the cluster.
pub type Test<C> = (&'static str, fn(&C));

/// Puts the functions of a module into its table under their own names.
#[macro_export]
macro_rules! tests {
    ($($name:ident),* $(,)?) => {
        &[$((concat!(module_path!(), "::", stringify!($name)), $name)),*]
    };
}

fn trials<C: Send + Sync + 'static>(cluster: Option<&Arc<C>>, tests: &[Test<C>]) -> Vec<Trial> {
    let trial = |(name, test): &Test<C>| {
        let (cluster, test) = (cluster.cloned(), *test);
        let name = name.split_once("::").map_or(*name, |(_, within)| within);
        Trial::test(name, move || {
            if let Some(cluster) = cluster {
                test(&cluster);
            }
            Ok(())
        })
    };
    tests.iter().map(trial).collect()
}

/// Runs tests of the first list four at a time, then those of the second one at a time. Without root, none.
pub fn run<C: Send + Sync + 'static>(boot: fn() -> C, side_by_side: &[Test<C>], one_by_one: &[Test<C>]) -> ExitCode {
    let mut arguments = Arguments::from_args();
    if !nix::unistd::geteuid().is_root() {
        println!("skipped: end-to-end tests make network namespaces and containers, which needs root");
        return ExitCode::SUCCESS;
    }
    if arguments.list {
        return libtest_mimic::run(&arguments, trials(None, &[side_by_side, one_by_one].concat())).exit_code();
    }
    let cluster = Arc::new(boot());
    arguments.test_threads = arguments.test_threads.or(Some(4));
    let first = libtest_mimic::run(&arguments, trials(Some(&cluster), side_by_side));
    arguments.test_threads = Some(1);
    let second = libtest_mimic::run(&arguments, trials(Some(&cluster), one_by_one));
    drop(cluster);
    if first.has_failed() { first.exit_code() } else { second.exit_code() }
}
