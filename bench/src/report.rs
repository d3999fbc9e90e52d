//! The report: a table for people as it grows, and JSON with every sample at the end.

use crate::stats::Samples;
use serde_json::{Map, Value, json};
use std::path::Path;
use std::process::Command;
use std::time::SystemTime;

pub struct Report(Map<String, Value>);

fn first_line(program: &str, args: &[&str]) -> String {
    let out = Command::new(program).args(args).output().ok();
    out.and_then(|o| String::from_utf8_lossy(&o.stdout).lines().next().map(str::to_owned)).unwrap_or_else(|| "unknown".into())
}

impl Report {
    /// Begins with what was measured and where.
    pub fn new(binary: &Path) -> Result<Self, String> {
        let size = std::fs::metadata(binary).map_err(|e| format!("{}: {e}", binary.display()))?.len();
        let profile = if binary.components().any(|c| c.as_os_str() == "debug") { "debug" } else { "release" };
        let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
        let load = load.split(' ').next().unwrap_or("").to_owned();
        let cores = std::thread::available_parallelism().map_or(0, usize::from);
        let containerd = first_line("containerd", &["--version"]);
        let kernel = first_line("uname", &["-r"]);
        let mut report = Self(Map::new());
        report.put("machine", json!({"cores": cores, "kernel": kernel, "containerd": containerd, "loadAtStart": load.clone()}));
        report.put(
            "binary",
            json!({"profile": profile, "bytes": size, "version": first_line(&binary.display().to_string(), &["--version"])}),
        );
        println!("{cores} cores, Linux {kernel}, load {load} at the start; {containerd}\n");
        println!("{:<40} {:>4} {:>10} {:>10} {:>10} {:>10}", "", "n", "min", "median", "p99", "max");
        report.line("binary", &format!("{:.1} MB ({profile})", size as f64 / 1e6));
        Ok(report)
    }

    pub fn put(&mut self, key: &str, value: Value) {
        self.0.insert(key.to_owned(), value);
    }

    pub fn line(&self, what: &str, text: &str) {
        println!("{what:<40} {text}");
    }

    pub fn times(&mut self, what: &str, key: &str, samples: &Samples) {
        let of = |p| format!("{:.1} ms", samples.percentile(p));
        println!("{what:<40} {:>4} {:>10} {:>10} {:>10} {:>10}", samples.len(), of(0.0), of(50.0), of(99.0), of(100.0));
        self.put(key, samples.to_json());
    }

    /// Median against median and p99 against p99.
    pub fn ratio(&mut self, what: &str, key: &str, samples: &Samples, floor: &Samples) {
        let of = |p| if floor.percentile(p) > 0.0 { samples.percentile(p) / floor.percentile(p) } else { 0.0 };
        let (median, p99) = (of(50.0), of(99.0));
        println!("{what:<40} {:>4} {:>10} {:>10} {:>10}", "", "", format!("{median:.2} x"), format!("{p99:.2} x"));
        self.put(key, json!({"median": median, "p99": p99}));
    }

    /// Writes DIR/SECONDS.json.
    pub fn write(self, dir: &Path) -> Result<(), String> {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_err(|e| e.to_string())?.as_secs();
        let path = dir.join(format!("{now}.json"));
        let text = serde_json::to_string_pretty(&Value::Object(self.0)).map_err(|e| e.to_string())?;
        std::fs::create_dir_all(dir)
            .and_then(|()| std::fs::write(&path, text + "\n"))
            .map_err(|e| format!("cannot write {}: {e}", path.display()))?;
        println!("\n{}", path.display());
        Ok(())
    }
}
