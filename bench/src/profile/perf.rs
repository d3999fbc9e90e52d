//! Stacks from what `perf script` prints: a line with the process, then its frames from the leaf on, then an empty line.

use super::stacks::{Stacks, shorten};
use std::collections::HashMap;

struct Sample<'a> {
    pid: u32,
    /// Function and the file it is in, from the leaf on.
    frames: Vec<(&'a str, &'a str)>,
}

/// `comm 12/34` -> 12.
fn pid(header: &str) -> Option<u32> {
    let last = header.split_whitespace().last()?;
    last.split('/').next()?.trim_end_matches(':').parse().ok()
}

/// `  7f00 function (file)` -> function, file.
fn frame(line: &str) -> Option<(&str, &str)> {
    let (_, rest) = line.trim_start().split_once(' ')?;
    let (function, file) = rest.rsplit_once(" (")?;
    Some((function.trim(), file.trim_end().trim_end_matches(')')))
}

fn samples(script: &str) -> Vec<Sample<'_>> {
    let mut all: Vec<Sample<'_>> = Vec::new();
    for line in script.lines() {
        if line.starts_with(char::is_whitespace) {
            if let (Some(sample), Some(frame)) = (all.last_mut(), frame(line)) {
                sample.frames.push(frame);
            }
        } else if let Some(pid) = pid(line) {
            all.push(Sample { pid, frames: Vec::new() });
        }
    }
    all
}

/// Stacks of the processes that `program` was seen in.
pub fn stacks(script: &str, program: &str, roles: &HashMap<u32, String>) -> Stacks {
    let samples = samples(script);
    let of_program = |file: &str| file.rsplit('/').next() == Some(program);
    let pids: std::collections::HashSet<u32> =
        samples.iter().filter(|s| s.frames.iter().any(|(_, file)| of_program(file))).map(|s| s.pid).collect();
    let mut stacks = Stacks::default();
    for s in samples.into_iter().filter(|s| pids.contains(&s.pid)) {
        let mut stack = vec![roles.get(&s.pid).cloned().unwrap_or_else(|| program.to_owned())];
        for (function, file) in s.frames.iter().rev() {
            let kernel = file.starts_with("[k") || file.starts_with("[guest");
            match (*function, kernel) {
                ("[unknown]", _) if stack.len() == 1 => {}
                ("[unknown]", _) => stack.push(format!("[{}]", file.rsplit('/').next().unwrap_or(file))),
                (f, true) => stack.push(format!("{f} [kernel]")),
                (f, false) => stack.push(shorten(f)),
            }
        }
        stacks.add(stack, 1.0);
    }
    stacks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_program_s_processes_count() {
        let script = "tokio rt 12/13 \n\t  7f0 store::put (/x/skiff)\n\t  7f1 apiserver::serve (/x/skiff)\n\tffff [unknown] ([unknown])\n\n\
                      tokio rt 12/14 \n\t  fff copy (x) ([kernel.kallsyms])\n\n\
                      other 9/9 \n\t  7f0 main (/x/etcd)\n\n";
        let roles = HashMap::from([(12, "server".to_owned())]);
        assert_eq!(
            stacks(script, "skiff", &roles).folded(),
            "server;apiserver::serve;store::put 1\nserver;copy (x) [kernel] 1\n"
        );
    }
}
