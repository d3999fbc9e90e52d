//! What a process costs: memory, CPU time and wake-ups, as /proc tells them.

use serde_json::{Value, json};
use std::path::Path;

/// CPU time and wake-ups of a process up to now.
#[derive(Clone, Copy, Debug)]
pub struct Usage {
    cpu_seconds: f64,
    wakeups: u64,
}

/// Memory of a process now, in MiB.
#[derive(Clone, Copy, Debug)]
pub struct Memory {
    pub rss: f64,
    pub pss: f64,
    /// What is not backed by a file: heap and stacks.
    pub anonymous: f64,
}

fn read(path: &str) -> Result<String, String> {
    std::fs::read_to_string(path).map_err(|e| format!("cannot read {path}: {e}"))
}

/// The pid that a pid file of Skiff begins with.
pub fn pid(file: &Path) -> Result<u32, String> {
    let text = read(&file.display().to_string())?;
    text.split_whitespace().next().and_then(|p| p.parse().ok()).ok_or_else(|| format!("{}: no pid in it", file.display()))
}

fn number(text: &str, name: &str) -> u64 {
    text.lines().find_map(|l| l.strip_prefix(name)?.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

pub fn usage(pid: u32) -> Result<Usage, String> {
    let stat = read(&format!("/proc/{pid}/stat"))?;
    let fields: Vec<&str> = stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace().collect();
    let ticks = |n: usize| fields.get(n).and_then(|f| f.parse::<u64>().ok()).unwrap_or(0);
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).map_err(|e| format!("cannot read the threads of {pid}: {e}"))?;
    let wakeups = tasks
        .flatten()
        .map(|t| number(&std::fs::read_to_string(t.path().join("status")).unwrap_or_default(), "voluntary_ctxt_switches:"))
        .sum();
    // utime and stime; the kernel's unit for user space has been 1/100 s on every Linux of this century.
    Ok(Usage { cpu_seconds: (ticks(11) + ticks(12)) as f64 / 100.0, wakeups })
}

pub fn memory(pid: u32) -> Result<Memory, String> {
    let rollup = read(&format!("/proc/{pid}/smaps_rollup"))?;
    let mib = |name: &str| number(&rollup, name) as f64 / 1024.0;
    Ok(Memory { rss: mib("Rss:"), pss: mib("Pss:"), anonymous: mib("Anonymous:") })
}

pub fn threads(pid: u32) -> u64 {
    number(&read(&format!("/proc/{pid}/status")).unwrap_or_default(), "Threads:")
}

impl Usage {
    pub fn cpu_seconds(&self) -> f64 {
        self.cpu_seconds
    }

    /// CPU seconds and wake-ups since an earlier reading.
    pub fn since(&self, earlier: &Self) -> (f64, u64) {
        (self.cpu_seconds - earlier.cpu_seconds, self.wakeups.saturating_sub(earlier.wakeups))
    }
}

impl Memory {
    pub fn to_json(self) -> Value {
        json!({"unit": "MiB", "rss": self.rss, "pss": self.pss, "anonymous": self.anonymous})
    }
}
