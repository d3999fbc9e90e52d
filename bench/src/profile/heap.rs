//! jemalloc's heap profiles: per stack of allocations how many bytes of the samples are still in use, and the process's mappings.

use super::stacks::{Stacks, is_ours};
use super::symbols::Symbols;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Where the program lies in memory: start, end, and what is to be added for an address in its file.
struct Mapping {
    start: u64,
    end: u64,
    shift: i128,
}

/// Of the dumps `PREFIX.PID.SEQUENCE.KINDn.heap`, the last of each process.
pub fn last_of_each(dumps: &[PathBuf]) -> BTreeMap<u32, PathBuf> {
    let mut last: BTreeMap<u32, (u64, PathBuf)> = BTreeMap::new();
    for path in dumps {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let mut parts = name.rsplit('.').skip(2);
        let (Some(sequence), Some(pid)) = (parts.next(), parts.next()) else { continue };
        let (Ok(sequence), Ok(pid)) = (sequence.parse::<u64>(), pid.parse::<u32>()) else { continue };
        if last.get(&pid).is_none_or(|(s, _)| *s < sequence) {
            last.insert(pid, (sequence, path.clone()));
        }
    }
    last.into_iter().map(|(pid, (_, path))| (pid, path)).collect()
}

fn hex(text: &str) -> Option<u64> {
    u64::from_str_radix(text.trim_start_matches("0x"), 16).ok()
}

/// Executable mappings of `program` among lines of /proc/PID/maps. Its code's addresses in memory and in the symbol table differ by
/// where the file's first page lies.
fn mappings(text: &str, program: &Path) -> Vec<Mapping> {
    let lines = text.lines().filter(|l| l.split_whitespace().nth(5).is_some_and(|f| Path::new(f) == program));
    let parse = |l: &str| {
        let (range, rest) = l.split_once(' ')?;
        let (start, end) = range.split_once('-')?;
        Some((hex(start)?, hex(end)?, rest.as_bytes().get(2) == Some(&b'x')))
    };
    let all: Vec<_> = lines.filter_map(parse).collect();
    let base = all.iter().map(|(start, ..)| *start).min().unwrap_or(0);
    all.into_iter().filter(|(.., code)| *code).map(|(start, end, _)| Mapping { start, end, shift: -i128::from(base) }).collect()
}

/// How much the sampled bytes stand for: an allocation of `size` bytes is sampled with probability 1 - e^(-size/rate).
fn scale(objects: f64, bytes: f64, rate: f64) -> f64 {
    if objects <= 0.0 || bytes <= 0.0 { 0.0 } else { 1.0 / (1.0 - (-(bytes / objects) / rate).exp()) }
}

/// Adds the live bytes of a dump, in KiB, as stacks of the process `role`.
pub fn read_into(stacks: &mut Stacks, dump: &str, role: &str, symbols: &Symbols, program: &Path) -> Result<(), String> {
    let (head, maps) = dump.split_once("MAPPED_LIBRARIES:").ok_or("a heap profile without mappings")?;
    let rate: f64 = head.lines().next().and_then(|l| l.strip_prefix("heap_v2/")?.parse().ok()).ok_or("no heap profile")?;
    let mappings = mappings(maps, program);
    let name = |address: u64| {
        // The address is where the call returns to.
        let address = address - 1;
        let m = mappings.iter().find(|m| (m.start..m.end).contains(&address))?;
        symbols.find(u64::try_from(i128::from(address) + m.shift).ok()?)
    };
    let mut frames: Option<Vec<u64>> = None;
    for line in head.lines() {
        if let Some(addresses) = line.strip_prefix("@ ") {
            frames = Some(addresses.split_whitespace().filter_map(hex).collect());
        } else if let (Some(counts), Some(addresses)) = (line.trim().strip_prefix("t*: "), frames.take()) {
            let Some((objects, rest)) = counts.split_once(": ") else { continue };
            let number = |t: &str| t.trim().parse::<f64>().unwrap_or(0.0);
            let (objects, bytes) = (number(objects), number(rest.split(' ').next().unwrap_or_default()));
            let weight = bytes * scale(objects, bytes, rate) / 1024.0;
            if weight <= 0.0 {
                continue;
            }
            let mut stack = vec![role.to_owned()];
            stack.extend(addresses.iter().rev().map(|a| name(*a).unwrap_or("[elsewhere]").to_owned()));
            // The allocator's own frames say nothing.
            while stack.len() > 2 && stack.last().is_some_and(|f| is_allocator(f)) {
                stack.pop();
            }
            stacks.add(stack, weight);
        }
    }
    Ok(())
}

fn is_allocator(function: &str) -> bool {
    let known =
        ["_rjem", "prof_", "je_", "imalloc", "__rust", "__rdl", "__rg", "alloc::", "<alloc::", "malloc", "calloc", "realloc"];
    !is_ours(function) && known.iter().any(|k| function.starts_with(k))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dump_becomes_stacks() {
        let dump = "heap_v2/1024\n  t*: 1: 9 [0: 0]\n@ 0x55001101 0x55001201\n  t*: 2: 2048 [0: 0]\n  t1: 2: 2048 [0: 0]\n\nMAPPED_LIBRARIES:\n\
                    55000000-55001000 r--p 00000000 fe:00 1 /x/skiff\n55001000-55002000 r-xp 00001000 fe:00 1 /x/skiff\n";
        let symbols = Symbols::parse("0000000000001100 T store::put\n0000000000001200 T apiserver::serve\n");
        let mut s = Stacks::default();
        read_into(&mut s, dump, "server", &symbols, Path::new("/x/skiff")).expect("a dump");
        // 2048 bytes in two allocations of one sampling interval each: 63 % of such are sampled.
        assert_eq!(s.folded(), "server;apiserver::serve;store::put 3\n");
    }

    #[test]
    fn the_last_dump_of_a_process_counts() {
        let dumps = ["h.7.2.i2.heap", "h.7.10.i10.heap", "h.8.0.f.heap", "readme"].map(PathBuf::from);
        let want = BTreeMap::from([(7, dumps[1].clone()), (8, dumps[2].clone())]);
        assert_eq!(last_of_each(&dumps), want);
    }
}
