//! The cgroups of pods: `kubepods`, one group per QoS class and one per pod, on cgroup v1 and v2, below the configured root.
//! Containers' own groups are made by the runtime under the pod's.

use crate::pod::resources::{CPU_PERIOD, PodLimits, cpu_shares, pod_limits};
use crate::pod::spec::qos_class;
use k8s_openapi::api::core::v1::Pod;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Where cgroups are and whether this is the unified hierarchy.
pub struct Cgroups {
    /// Mount points: one on v2, one per hierarchy on v1.
    mounts: Vec<Mount>,
    v2: bool,
    /// Absolute path of `kubepods` in the hierarchy, as the runtime takes it.
    kubepods: String,
    pids_limit: i64,
}

struct Mount {
    path: PathBuf,
    controllers: Vec<String>,
}

impl Mount {
    fn has(&self, controller: &str) -> bool {
        self.controllers.iter().any(|c| c == controller)
    }
}

impl Cgroups {
    /// Finds the hierarchies of this process' mount namespace.
    pub fn detect(root: &str, pids_limit: i64) -> io::Result<Self> {
        let table = std::fs::read_to_string("/proc/self/mountinfo")?;
        let mut v1 = Vec::new();
        let mut unified = None;
        for line in table.lines() {
            let Some((left, right)) = line.split_once(" - ") else { continue };
            let (Some(at), mut kind) = (left.split(' ').nth(4), right.split(' ')) else { continue };
            match kind.next() {
                Some("cgroup") => {
                    let options = kind.nth(1).unwrap_or("");
                    let controllers = options.split(',').map(str::to_owned).collect();
                    if !v1.iter().any(|m: &Mount| m.path == Path::new(at)) {
                        v1.push(Mount { path: at.into(), controllers });
                    }
                }
                Some("cgroup2") => unified = Some(Mount { path: at.into(), controllers: Vec::new() }),
                _ => {}
            }
        }
        let v2 = v1.is_empty();
        let mounts = if v2 { unified.into_iter().collect() } else { v1 };
        let root = root.trim_matches('/');
        let kubepods = if root.is_empty() { "/kubepods".to_owned() } else { format!("/{root}/kubepods") };
        Ok(Self { mounts, v2, kubepods, pids_limit })
    }

    pub fn is_v2(&self) -> bool {
        self.v2
    }

    fn class(&self, class: &str) -> String {
        match class {
            "Guaranteed" => self.kubepods.clone(),
            other => format!("{}/{}", self.kubepods, other.to_lowercase()),
        }
    }

    /// The parent of a pod's containers.
    pub fn pod_parent(&self, pod: &Pod) -> String {
        format!("{}/pod{}", self.class(qos_class(pod)), pod.metadata.uid.as_deref().unwrap_or(""))
    }

    fn dirs<'a>(&'a self, group: &'a str) -> impl Iterator<Item = (&'a Mount, PathBuf)> {
        self.mounts.iter().map(move |m| (m, m.path.join(group.trim_start_matches('/'))))
    }

    /// Makes `kubepods` and the groups of the QoS classes.
    pub fn create_classes(&self) -> io::Result<()> {
        for class in ["Guaranteed", "Burstable", "BestEffort"] {
            self.create(&self.class(class))?;
        }
        self.set_shares(&self.class("BestEffort"), 2)
    }

    /// Sets the weight of the Burstable class to what its pods request together.
    pub fn set_burstable(&self, milli_cpu: i64) -> io::Result<()> {
        self.set_shares(&self.class("Burstable"), cpu_shares(milli_cpu))
    }

    /// Makes a group in every hierarchy, with its ancestors.
    fn create(&self, group: &str) -> io::Result<()> {
        for m in &self.mounts {
            let mut at = m.path.clone();
            for part in group.split('/').filter(|p| !p.is_empty()) {
                if self.v2 {
                    // Each on its own: one that the kernel lacks must not keep the others out.
                    for c in ["cpu", "memory", "pids", "cpuset", "hugetlb", "io"] {
                        let _ = std::fs::write(at.join("cgroup.subtree_control"), format!("+{c}"));
                    }
                }
                let parent = at.clone();
                at.push(part);
                if !at.exists() {
                    std::fs::create_dir(&at)
                        .or_else(|e| if e.kind() == io::ErrorKind::AlreadyExists { Ok(()) } else { Err(e) })?;
                }
                if m.has("cpuset") {
                    inherit_cpuset(&parent, &at)?;
                }
            }
        }
        Ok(())
    }

    /// Makes a pod's group and sets its limits; cheap when it is there already.
    pub fn ensure_pod(&self, pod: &Pod) -> io::Result<()> {
        let group = self.pod_parent(pod);
        self.create(&group)?;
        self.apply_pod(pod)
    }

    /// Writes a pod's limits: at its start and after a resize.
    pub fn apply_pod(&self, pod: &Pod) -> io::Result<()> {
        let group = self.pod_parent(pod);
        let PodLimits { cpu_shares: shares, cpu_quota, memory } = pod_limits(pod);
        self.set_shares(&group, shares)?;
        for (m, dir) in self.dirs(&group) {
            if self.v2 {
                let quota = cpu_quota.map_or("max".to_owned(), |q| q.to_string());
                std::fs::write(dir.join("cpu.max"), format!("{quota} {CPU_PERIOD}"))?;
                std::fs::write(dir.join("memory.max"), memory.map_or("max".to_owned(), |v| v.to_string()))?;
            }
            if m.has("cpu") {
                std::fs::write(dir.join("cpu.cfs_quota_us"), cpu_quota.unwrap_or(-1).to_string())?;
            }
            if m.has("memory") {
                std::fs::write(dir.join("memory.limit_in_bytes"), memory.unwrap_or(-1).to_string())?;
            }
            if self.pids_limit > 0 && (self.v2 || m.has("pids")) {
                std::fs::write(dir.join("pids.max"), self.pids_limit.to_string())?;
            }
        }
        Ok(())
    }

    fn set_shares(&self, group: &str, shares: i64) -> io::Result<()> {
        for (m, dir) in self.dirs(group) {
            if self.v2 {
                let weight = 1 + (shares - 2) * 9999 / 262_142;
                std::fs::write(dir.join("cpu.weight"), weight.to_string())?;
            } else if m.has("cpu") {
                std::fs::write(dir.join("cpu.shares"), shares.to_string())?;
            }
        }
        Ok(())
    }

    /// Removes a pod's group. Its processes are gone or about to be: the kernel may need a moment.
    pub async fn remove_pod(&self, pod: &Pod) {
        let group = self.pod_parent(pod);
        for attempt in 0..6 {
            let left = self.dirs(&group).filter(|(_, d)| d.exists()).filter(|(_, d)| remove_tree(d).is_err()).count();
            if left == 0 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10 << attempt)).await;
        }
        tracing::warn!(group, "pod cgroup not removed");
    }

    /// UIDs of the pods that have a group.
    pub fn pod_uids(&self) -> Vec<(String, String)> {
        let mut found = Vec::new();
        let Some(m) = self.mounts.first() else { return found };
        for class in ["Guaranteed", "Burstable", "BestEffort"] {
            let group = self.class(class);
            let Ok(dir) = std::fs::read_dir(m.path.join(group.trim_start_matches('/'))) else { continue };
            for e in dir.flatten() {
                if let Some(uid) = e.file_name().to_str().and_then(|n| n.strip_prefix("pod")) {
                    found.push((uid.to_owned(), format!("{group}/pod{uid}")));
                }
            }
        }
        found
    }

    /// Removes a group found by `pod_uids`.
    pub fn remove_group(&self, group: &str) {
        for (_, dir) in self.dirs(group) {
            if dir.exists()
                && let Err(e) = remove_tree(&dir)
            {
                tracing::debug!(group, error = %e, "orphaned cgroup stays");
            }
        }
    }
}

/// A new v1 cpuset is empty and takes no processes until it is filled.
fn inherit_cpuset(parent: &Path, dir: &Path) -> io::Result<()> {
    for f in ["cpuset.cpus", "cpuset.mems"] {
        let own = std::fs::read_to_string(dir.join(f))?;
        if own.trim().is_empty() {
            std::fs::write(dir.join(f), std::fs::read_to_string(parent.join(f))?.trim())?;
        }
    }
    Ok(())
}

/// Removes a cgroup and the groups in it. Files in it are the kernel's.
fn remove_tree(dir: &Path) -> io::Result<()> {
    for e in std::fs::read_dir(dir)?.flatten() {
        if e.file_type().is_ok_and(|t| t.is_dir()) {
            remove_tree(&e.path())?;
        }
    }
    std::fs::remove_dir(dir)
}
