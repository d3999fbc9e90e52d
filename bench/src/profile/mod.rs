//! Where time and memory go: what perf and jemalloc have recorded, as tables for people, folded stacks and flame graphs. Driven by
//! hack/profile.sh.

mod flame;
mod heap;
mod perf;
mod stacks;
mod symbols;

use clap::{Args, Subcommand};
use stacks::Stacks;
use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// Reads recordings.
#[derive(Args)]
pub struct Profile {
    #[command(subcommand)]
    what: What,
    /// The program that was recorded: other processes are left out.
    #[arg(long, global = true, default_value = "skiff")]
    program: PathBuf,
    /// Lines of `PID COMMAND-LINE`: what the processes were.
    #[arg(long, global = true)]
    roles: Option<PathBuf>,
    /// Where tables, folded stacks and pictures go.
    #[arg(long, global = true, default_value = ".")]
    out: PathBuf,
    /// Rows of each table.
    #[arg(long, global = true, default_value_t = 25)]
    rows: usize,
}

#[derive(Subcommand)]
enum What {
    /// Samples of stacks: what `perf script -F comm,pid,tid,ip,sym,dso` prints.
    Cpu { script: PathBuf },
    /// jemalloc's heap profiles; of each process the last one.
    Heap { dumps: Vec<PathBuf> },
}

fn read(path: &Path) -> Result<String, String> {
    let bytes = std::fs::read(path).map_err(|e| format!("{}: {e}", path.display()))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// What each process was: its first argument, the name of a component.
fn roles(path: Option<&Path>) -> Result<HashMap<u32, String>, String> {
    let Some(path) = path else { return Ok(HashMap::new()) };
    let text = read(path)?;
    let role = |line: &str| {
        let mut words = line.split_whitespace();
        let pid = words.next()?.parse().ok()?;
        Some((pid, words.nth(1).unwrap_or("skiff").to_owned()))
    };
    Ok(text.lines().filter_map(role).collect())
}

pub fn run(args: &Profile) -> Result<(), String> {
    let roles = roles(args.roles.as_deref())?;
    std::fs::create_dir_all(&args.out).map_err(|e| format!("{}: {e}", args.out.display()))?;
    match &args.what {
        What::Cpu { script } => {
            let name = args.program.file_name().unwrap_or_default().to_string_lossy();
            let stacks = perf::stacks(&read(script)?, &name, &roles);
            write(args, "cpu", "samples", "time on a core", &stacks)
        }
        What::Heap { dumps } => {
            let symbols = symbols::Symbols::of(&args.program)?;
            let mut stacks = Stacks::default();
            for (pid, dump) in heap::last_of_each(dumps) {
                let role = roles.get(&pid).map_or("skiff", String::as_str);
                heap::read_into(&mut stacks, &read(&dump)?, role, &symbols, &args.program)?;
            }
            write(args, "heap", "KiB", "live bytes", &stacks)
        }
    }
}

/// NAME.txt, NAME.folded and NAME.svg; the tables are printed too.
fn write(args: &Profile, name: &str, unit: &str, title: &str, stacks: &Stacks) -> Result<(), String> {
    if stacks.total() <= 0.0 {
        return Err(format!("nothing of {} was recorded", args.program.display()));
    }
    print!("{}", stacks.tables(title, unit, args.rows));
    let files = [
        ("txt", stacks.tables(title, unit, 200)),
        ("folded", stacks.folded()),
        ("svg", flame::svg(stacks, &format!("{title}, {unit}"))),
    ];
    for (suffix, text) in files {
        let path = args.out.join(format!("{name}.{suffix}"));
        std::fs::write(&path, text).map_err(|e| format!("{}: {e}", path.display()))?;
    }
    Ok(())
}
