//! The configuration files of scheduler and proxy (KubeSchedulerConfiguration, KubeProxyConfiguration). Fields that only tune have no
//! effect here; fields that choose behaviour are acted on, or refused when they ask for what is not built. An unknown field is an
//! error, as upstream reads these files.

use machinery::component_config::{self, is_unset};
use serde_json::Value;
use std::path::{Path, PathBuf};

/// A file, read and checked for its kind, whose fields are taken one by one.
struct File {
    path: String,
    fields: serde_json::Map<String, Value>,
}

impl File {
    fn read(path: &Path, api_versions: &[&str], kind: &str) -> Result<Self, String> {
        let name = path.display().to_string();
        let text = std::fs::read_to_string(path).map_err(|e| format!("--config: {name}: {e}"))?;
        Self::parse(&text, name, api_versions, kind)
    }

    fn parse(text: &str, path: String, api_versions: &[&str], kind: &str) -> Result<Self, String> {
        let value: Value = serde_saphyr::from_str(text).map_err(|e| format!("--config: {path}: {e}"))?;
        let fields = component_config::fields(value, api_versions, kind).map_err(|e| format!("--config: {path}: {e}"))?;
        Ok(Self { path, fields })
    }

    /// Takes a field; none if it is unset.
    fn take(&mut self, name: &str) -> Option<Value> {
        self.fields.remove(name).filter(|v| !v.is_null())
    }
    fn text(&mut self, name: &str) -> Result<Option<String>, String> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::String(s)) => Ok(Some(s).filter(|s| !s.is_empty())),
            Some(other) => Err(format!("--config: {}: {name}: {other} is not a string", self.path)),
        }
    }
    fn number(&mut self, name: &str) -> Result<Option<u64>, String> {
        match self.take(name) {
            None => Ok(None),
            Some(v) => v.as_u64().map(Some).ok_or_else(|| format!("--config: {}: {name}: {v} is not a number", self.path)),
        }
    }
    /// Takes `clientConnection`: the kubeconfig.
    fn kubeconfig(&mut self) -> Option<PathBuf> {
        let connection = self.take("clientConnection")?;
        connection["kubeconfig"].as_str().filter(|k| !k.is_empty()).map(PathBuf::from)
    }
    fn ignore(&mut self, names: &[&str]) {
        for n in names {
            self.fields.remove(*n);
        }
    }
    /// What was not taken asks for something that is not built, unless it is empty.
    fn end(self) -> Result<(), String> {
        match self.fields.iter().find(|(_, v)| !is_unset(v)) {
            None => Ok(()),
            Some((name, v)) => Err(format!("--config: {}: {name}: {v} is not built", self.path)),
        }
    }
}

/// What a KubeSchedulerConfiguration says.
#[derive(Debug, Default, PartialEq)]
pub struct SchedulerFile {
    pub kubeconfig: Option<PathBuf>,
    pub leader_elect: Option<bool>,
    pub scheduler_name: Option<String>,
    pub percentage_of_nodes_to_score: Option<u64>,
    pub pod_initial_backoff_seconds: Option<u64>,
    pub pod_max_backoff_seconds: Option<u64>,
}

impl SchedulerFile {
    pub fn read(path: &Path) -> Result<Self, String> {
        Self::of(File::read(path, &["kubescheduler.config.k8s.io/v1"], "KubeSchedulerConfiguration")?)
    }

    fn of(mut f: File) -> Result<Self, String> {
        f.ignore(&["parallelism", "enableProfiling", "enableContentionProfiling", "healthzBindAddress", "metricsBindAddress"]);
        f.ignore(&["delayCacheUntilActive"]);
        let mut scheduler_name = None;
        let mut percentage = f.number("percentageOfNodesToScore")?;
        if let Some(Value::Array(profiles)) = f.take("profiles") {
            if profiles.len() > 1 {
                return Err(format!("--config: {}: profiles: more than one is not built", f.path));
            }
            for (name, v) in profiles.iter().filter_map(Value::as_object).flatten() {
                match name.as_str() {
                    "schedulerName" => scheduler_name = v.as_str().map(str::to_owned),
                    "percentageOfNodesToScore" => percentage = v.as_u64().or(percentage),
                    _ if is_unset(v) => {}
                    other => return Err(format!("--config: {}: profiles[0].{other} is not built", f.path)),
                }
            }
        }
        let leader = f.take("leaderElection").unwrap_or_default();
        let file = Self {
            kubeconfig: f.kubeconfig(),
            leader_elect: leader["leaderElect"].as_bool(),
            scheduler_name,
            percentage_of_nodes_to_score: percentage,
            pod_initial_backoff_seconds: f.number("podInitialBackoffSeconds")?,
            pod_max_backoff_seconds: f.number("podMaxBackoffSeconds")?,
        };
        f.end()?;
        Ok(file)
    }
}

/// What a KubeProxyConfiguration says.
#[derive(Debug, Default, PartialEq)]
pub struct ProxyFile {
    pub kubeconfig: Option<PathBuf>,
    pub hostname_override: Option<String>,
    pub cluster_cidr: Option<String>,
    pub mode: Option<String>,
    pub healthz_bind_address: Option<String>,
}

impl ProxyFile {
    pub fn read(path: &Path) -> Result<Self, String> {
        Self::of(File::read(path, &["kubeproxy.config.k8s.io/v1alpha1"], "KubeProxyConfiguration")?)
    }

    fn of(mut f: File) -> Result<Self, String> {
        f.ignore(&["bindAddress", "bindAddressHardFail", "configSyncPeriod", "conntrack", "enableProfiling", "logging"]);
        f.ignore(&["iptables", "ipvs", "winkernel", "metricsBindAddress", "oomScoreAdj", "portRange"]);
        f.ignore(&["showHiddenMetricsForVersion", "windowsRunAsService", "detectLocal"]);
        if let Some(mode) = f.text("detectLocalMode")?.filter(|m| m != "ClusterCIDR") {
            return Err(format!("--config: {}: detectLocalMode: {mode} is not built; there is ClusterCIDR", f.path));
        }
        if let Some(nftables) = f.take("nftables")
            && nftables["masqueradeAll"] == true
        {
            return Err(format!("--config: {}: nftables.masqueradeAll is not built", f.path));
        }
        let file = Self {
            kubeconfig: f.kubeconfig(),
            hostname_override: f.text("hostnameOverride")?,
            cluster_cidr: f.text("clusterCIDR")?,
            mode: f.text("mode")?,
            healthz_bind_address: f.text("healthzBindAddress")?,
        };
        f.end()?;
        Ok(file)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str, kind: &str) -> Result<File, String> {
        File::parse(text, "f".into(), &["g/v1"], kind)
    }

    #[test]
    fn schedulers() {
        let read = |text: &str| file(&format!("apiVersion: g/v1\nkind: S\n{text}"), "S").and_then(SchedulerFile::of);
        let whole = "parallelism: 16\nleaderElection: {leaderElect: false, resourceName: x}\nclientConnection: {kubeconfig: k, qps: 1}\n\
                     percentageOfNodesToScore: 0\nprofiles: [{schedulerName: own, plugins: null}]\nextenders: []\npodMaxBackoffSeconds: 3\n";
        let want = SchedulerFile {
            kubeconfig: Some("k".into()),
            leader_elect: Some(false),
            scheduler_name: Some("own".into()),
            percentage_of_nodes_to_score: Some(0),
            pod_max_backoff_seconds: Some(3),
            ..Default::default()
        };
        assert_eq!(read(whole), Ok(want));
        for (name, text, want) in [
            ("two profiles", "profiles: [{schedulerName: a}, {schedulerName: b}]", "more than one is not built"),
            ("plugins", "profiles: [{plugins: {score: {disabled: [{name: '*'}]}}}]", "profiles[0].plugins is not built"),
            ("extenders", "extenders: [{urlPrefix: 'http://x'}]", "extenders: [{\"urlPrefix\":\"http://x\"}] is not built"),
            ("an unknown field", "nonsense: 1", "nonsense: 1 is not built"),
        ] {
            let error = read(text).expect_err(name);
            assert!(error.contains(want), "{name}: {error}");
        }
        assert!(file("apiVersion: g/v2\nkind: S\n", "S").is_err(), "another version");
    }

    #[test]
    fn proxies() {
        let read = |text: &str| file(&format!("apiVersion: g/v1\nkind: P\n{text}"), "P").and_then(ProxyFile::of);
        let kubeadm = "bindAddress: 0.0.0.0\nclientConnection: {acceptContentTypes: '', burst: 0, kubeconfig: /k, qps: 0}\n\
                       clusterCIDR: 10.244.0.0/16\nconfigSyncPeriod: 0s\nconntrack: {maxPerCore: null}\ndetectLocal: {bridgeInterface: ''}\n\
                       detectLocalMode: ''\nenableProfiling: false\nhealthzBindAddress: ''\nhostnameOverride: ''\nmode: ''\n\
                       nftables: {masqueradeAll: false, syncPeriod: 0s}\nnodePortAddresses: null\noomScoreAdj: null\nportRange: ''\n";
        let want = ProxyFile { kubeconfig: Some("/k".into()), cluster_cidr: Some("10.244.0.0/16".into()), ..Default::default() };
        assert_eq!(read(kubeadm), Ok(want), "what kubeadm writes");
        for (name, text, want) in [
            ("node ports on some addresses", "nodePortAddresses: [10.0.0.0/8]", "nodePortAddresses"),
            ("another mode of locality", "detectLocalMode: NodeCIDR", "NodeCIDR is not built"),
            ("gates", "featureGates: {A: true}", "featureGates"),
        ] {
            let error = read(text).expect_err(name);
            assert!(error.contains(want), "{name}: {error}");
        }
    }
}
