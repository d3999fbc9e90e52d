//! What the machine is and has: CPUs, memory, huge pages, disk, kernel, identities. Read once at start.

use crate::config::Config;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use std::collections::BTreeMap;
use std::path::Path;

/// Facts of the machine, and what of it pods may have.
#[derive(Clone, Debug, Default)]
pub struct Machine {
    pub cpus: i64,
    /// Bytes.
    pub memory: i64,
    pub huge_pages: Vec<HugePages>,
    pub disk: i64,
    pub machine_id: String,
    pub system_uuid: String,
    pub boot_id: String,
    pub kernel: String,
    pub os_image: String,
    capacity: BTreeMap<String, Quantity>,
    allocatable: BTreeMap<String, Quantity>,
}

/// Huge pages of one size.
#[derive(Clone, Debug)]
pub struct HugePages {
    /// `hugepages-2Mi`
    pub resource: String,
    /// `2MB`, as cgroups call it.
    pub cgroup_name: String,
    pub bytes: i64,
}

fn read(path: &str) -> String {
    std::fs::read_to_string(path).map(|s| s.trim().to_owned()).unwrap_or_default()
}

impl Machine {
    pub fn read(config: &Config) -> Self {
        let mut m = Self {
            cpus: online_cpus(&read("/sys/devices/system/cpu/online")),
            memory: mem_total(&read("/proc/meminfo")),
            huge_pages: huge_pages(),
            disk: disk_capacity(&config.root_dir),
            machine_id: read("/etc/machine-id"),
            system_uuid: read("/sys/class/dmi/id/product_uuid"),
            boot_id: read("/proc/sys/kernel/random/boot_id"),
            kernel: nix::sys::utsname::uname().map(|u| u.release().to_string_lossy().into_owned()).unwrap_or_default(),
            os_image: os_image(&read("/etc/os-release")),
            ..Default::default()
        };
        if m.system_uuid.is_empty() {
            m.system_uuid = m.machine_id.clone();
        }
        m.divide(config);
        m
    }

    fn divide(&mut self, config: &Config) {
        let k = &config.kubelet;
        let mut total: BTreeMap<String, (i64, Unit)> = BTreeMap::from([
            ("cpu".to_owned(), (self.cpus * 1000, Unit::Milli)),
            ("memory".to_owned(), (self.memory, Unit::Binary)),
            ("ephemeral-storage".to_owned(), (self.disk, Unit::Binary)),
            ("pods".to_owned(), (i64::from(k.max_pods), Unit::Count)),
        ]);
        total.extend(self.huge_pages.iter().map(|h| (h.resource.clone(), (h.bytes, Unit::Binary))));
        self.capacity = total.iter().map(|(n, (v, u))| (n.clone(), u.print(*v))).collect();
        for reserved in [&k.system_reserved, &k.kube_reserved] {
            for (name, amount) in reserved {
                let Ok(q) = amount.parse::<machinery::quantity::Quantity>() else { continue };
                if let Some((v, unit)) = total.get_mut(name) {
                    *v -= if matches!(unit, Unit::Milli) { q.milli_value() } else { q.value() };
                }
            }
        }
        let huge: i64 = self.huge_pages.iter().map(|h| h.bytes).sum();
        for (name, signal, of) in
            [("memory", "memory.available", self.memory), ("ephemeral-storage", "nodefs.available", self.disk)]
        {
            if let Some((v, _)) = total.get_mut(name) {
                *v -= k.eviction_hard.get(signal).map_or(0, |t| threshold(t, of));
                if name == "memory" {
                    *v -= huge;
                }
                *v = (*v).max(0);
            }
        }
        self.allocatable = total
            .iter()
            .map(|(n, (v, u))| match n.as_str() {
                // Upstream prints this one without a suffix.
                "ephemeral-storage" => (n.clone(), Quantity(v.to_string())),
                _ => (n.clone(), u.print(*v)),
            })
            .collect();
    }

    pub fn capacity(&self) -> BTreeMap<String, Quantity> {
        self.capacity.clone()
    }
    pub fn allocatable(&self) -> BTreeMap<String, Quantity> {
        self.allocatable.clone()
    }
}

/// An eviction threshold: an amount, or a percentage of the whole.
pub fn threshold(text: &str, of: i64) -> i64 {
    match text.strip_suffix('%') {
        Some(p) => p.parse::<f64>().map_or(0, |p| (of as f64 * p / 100.0) as i64),
        None => text.parse::<machinery::quantity::Quantity>().map_or(0, |q| q.value()),
    }
}

#[derive(Clone, Copy)]
enum Unit {
    Milli,
    Binary,
    Count,
}

impl Unit {
    fn print(self, v: i64) -> Quantity {
        Quantity(match self {
            Self::Milli if v % 1000 == 0 => (v / 1000).to_string(),
            Self::Milli => format!("{v}m"),
            Self::Binary if v != 0 && v % 1024 == 0 => format!("{}Ki", v / 1024),
            _ => v.to_string(),
        })
    }
}

/// Counts a CPU list: `0-3,8`.
fn online_cpus(list: &str) -> i64 {
    let count = |r: &str| match r.split_once('-') {
        Some((a, b)) => Some(b.parse::<i64>().ok()? - a.parse::<i64>().ok()? + 1),
        None => r.parse::<i64>().ok().map(|_| 1),
    };
    list.split(',').filter_map(count).sum::<i64>().max(1)
}

fn mem_total(meminfo: &str) -> i64 {
    let line = meminfo.lines().find_map(|l| l.strip_prefix("MemTotal:"));
    line.and_then(|l| l.split_whitespace().next()).and_then(|n| n.parse::<i64>().ok()).unwrap_or(0) * 1024
}

fn huge_pages() -> Vec<HugePages> {
    let Ok(dir) = std::fs::read_dir("/sys/kernel/mm/hugepages") else { return Vec::new() };
    let page = |e: std::fs::DirEntry| {
        let kib: i64 = e.file_name().to_str()?.strip_prefix("hugepages-")?.strip_suffix("kB")?.parse().ok()?;
        let count: i64 = read(&e.path().join("nr_hugepages").display().to_string()).parse().ok()?;
        let (suffix, amount) = if kib % (1 << 20) == 0 { ("G", kib >> 20) } else { ("M", kib >> 10) };
        Some(HugePages {
            resource: format!("hugepages-{amount}{suffix}i"),
            cgroup_name: format!("{amount}{suffix}B"),
            bytes: kib * 1024 * count,
        })
    };
    dir.flatten().filter_map(page).collect()
}

fn disk_capacity(path: &Path) -> i64 {
    rustix::fs::statvfs(path).map(|s| i64::try_from(s.f_blocks * s.f_frsize).unwrap_or(0)).unwrap_or(0)
}

fn os_image(release: &str) -> String {
    let line = release.lines().find_map(|l| l.strip_prefix("PRETTY_NAME="));
    line.map(|l| l.trim_matches('"').to_owned()).unwrap_or_else(|| "linux".into())
}

/// GOARCH of this build.
pub fn arch() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parsing() {
        assert_eq!((online_cpus("0-3,8"), online_cpus("0"), online_cpus("")), (5, 1, 1));
        assert_eq!(mem_total("MemTotal:       100 kB\nMemFree: 1 kB"), 102_400);
        assert_eq!(os_image("NAME=x\nPRETTY_NAME=\"Debian 12\"\n"), "Debian 12");
        assert_eq!((threshold("100Mi", 0), threshold("10%", 1000), threshold("x", 1)), (100 << 20, 100, 0));
    }
}
