//! A stock node: containerd, etcd, control plane, kubelet and kube-proxy of upstream, in namespaces that hack/bench.sh has made.

use super::node::said;
use super::servers::{Programs, Server, System};
use crate::child::Process;
use cri::v1 as api;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::Command;

pub const ADDRESS: Ipv4Addr = Ipv4Addr::new(172, 31, 78, 20);
const PODS: &str = "10.245.0.0/16";

/// Where the node lives.
pub struct Place {
    pub programs: Programs,
    pub cni: PathBuf,
    pub dir: PathBuf,
    pub cgroup_root: String,
    pub holder: u32,
    /// An archive with the images pods use, the pause image among them.
    pub images: PathBuf,
    pub pause: String,
}

/// A running node. Dropping it ends its processes.
pub struct Node {
    pub server: Server,
    pub others: Vec<Process>,
    pub containerd: Process,
}

impl Place {
    fn enter(&self) -> Vec<String> {
        let holder = self.holder.to_string();
        ["nsenter", "-t", &holder, "-m", "-n", "--"].map(str::to_owned).to_vec()
    }

    pub fn runtime_endpoint(&self) -> String {
        format!("unix://{}", self.dir.join("containerd.sock").display())
    }

    /// Runs a program in the node's namespaces until it ends.
    pub fn run(&self, program: &str, args: &[&str]) -> Result<String, String> {
        let enter = self.enter();
        let out = Command::new(&enter[0]).args(&enter[1..]).arg(program).args(args).output();
        let out = out.map_err(|e| format!("{program}: {e}"))?;
        let text = |b: &[u8]| String::from_utf8_lossy(b).trim().to_owned();
        if out.status.success() { Ok(text(&out.stdout)) } else { Err(format!("{program}: {}", text(&out.stderr))) }
    }

    fn write(&self, name: &str, text: String) -> Result<PathBuf, String> {
        let path = self.dir.join(name);
        let made = path.parent().map_or(Ok(()), std::fs::create_dir_all);
        made.and_then(|()| std::fs::write(&path, text)).map_err(|e| format!("{}: {e}", path.display()))?;
        Ok(path)
    }

    fn containerd_config(&self) -> Result<PathBuf, String> {
        let (dir, cni, pause) = (self.dir.display(), self.cni.display(), &self.pause);
        let version = super::first_line("containerd", &["--version"]);
        let two = version.split_whitespace().any(|w| w.trim_start_matches('v').starts_with("2."));
        let common =
            format!("root = '{dir}/containerd'\nstate = '{dir}/containerd-state'\n[grpc]\n  address = '{dir}/containerd.sock'\n");
        let text = if two {
            format!(
                "version = 3\n{common}[plugins.'io.containerd.cri.v1.runtime']\n  restrict_oom_score_adj = true\n\
                 [plugins.'io.containerd.cri.v1.runtime'.cni]\n  bin_dirs = ['{cni}']\n  conf_dir = '{dir}/cni'\n\
                 [plugins.'io.containerd.cri.v1.images'.pinned_images]\n  sandbox = '{pause}'\n"
            )
        } else {
            format!(
                "version = 2\n{common}[plugins.'io.containerd.grpc.v1.cri']\n  restrict_oom_score_adj = true\n  sandbox_image = '{pause}'\n\
                 [plugins.'io.containerd.grpc.v1.cri'.cni]\n  bin_dir = '{cni}'\n  conf_dir = '{dir}/cni'\n"
            )
        };
        self.write("containerd.toml", text)
    }

    async fn start_containerd(&self) -> Result<Process, String> {
        let config = self.containerd_config()?;
        crate::runtime::start(&self.dir, &self.enter(), &config).await
    }

    /// Puts the images where each start finds them.
    pub async fn prepare(&self) -> Result<(), String> {
        let _containerd = self.start_containerd().await?;
        let socket = self.dir.join("containerd.sock").display().to_string();
        self.run("ctr", &["-a", &socket, "-n", "k8s.io", "images", "import", &self.images.display().to_string()]).map(drop)
    }

    /// Starts everything from nothing but the images; returns when the API server answers.
    pub async fn start(&self) -> Result<Node, String> {
        let (enter, dir) = (self.enter(), &self.dir);
        let stock = |name: &str| self.programs.stock.join(name);
        // The node's share of the pod range is the first one: known before it is given.
        let network = r#"{"cniVersion":"1.0.0","name":"bench","plugins":[{"type":"bridge","bridge":"cni0","isDefaultGateway":true,
            "hairpinMode":true,"ipMasq":false,"ipam":{"type":"host-local","ranges":[[{"subnet":"10.245.0.0/24"}]],"dataDir":"DIR/ipam"}},
            {"type":"portmap","capabilities":{"portMappings":true},"snat":true}]}"#;
        self.write("cni/10-bench.conflist", network.replace("DIR", &dir.display().to_string()))?;
        let containerd = self.start_containerd();
        let server = Server::start_in(
            &self.programs,
            System::Stock,
            dir,
            ADDRESS,
            6443,
            &["--enable-admission-plugins=NodeRestriction"],
            &enter,
        );
        // The certificates are there as soon as the server is asked for; the rest starts beside it.
        let (containerd, server) = tokio::join!(containerd, server);
        let (containerd, server) = (containerd?, server?);
        let pki = |name: &str| server.pki.join(name).display().to_string();
        let kubelet = serde_json::json!({
            "apiVersion": "kubelet.config.k8s.io/v1beta1", "kind": "KubeletConfiguration",
            "authentication": {"anonymous": {"enabled": false}, "webhook": {"enabled": true}, "x509": {"clientCAFile": pki("ca.crt")}},
            "authorization": {"mode": "Webhook"}, "tlsCertFile": pki("kubelet.crt"), "tlsPrivateKeyFile": pki("kubelet.key"),
            "cgroupDriver": "cgroupfs", "cgroupRoot": self.cgroup_root, "failCgroupV1": false, "failSwapOn": false, "oomScoreAdj": 0,
            "clusterDNS": ["10.96.0.10"], "clusterDomain": "cluster.local", "containerRuntimeEndpoint": self.runtime_endpoint(),
            "resolvConf": "", "serializeImagePulls": false, "imageGCHighThresholdPercent": 100, "imageGCLowThresholdPercent": 99,
            "evictionHard": {"memory.available": "100Mi", "nodefs.available": "100Mi", "nodefs.inodesFree": "1%"},
        });
        let kubelet = self.write("kubelet.yaml", kubelet.to_string())?;
        let proxy = serde_json::json!({
            "apiVersion": "kubeproxy.config.k8s.io/v1alpha1", "kind": "KubeProxyConfiguration", "mode": "nftables",
            "clientConnection": {"kubeconfig": pki("kube-proxy.conf")}, "clusterCIDR": PODS, "hostnameOverride": "n1",
            "conntrack": {"maxPerCore": 0}, "oomScoreAdj": 0,
        });
        let proxy = self.write("proxy.yaml", proxy.to_string())?;
        let manager = [
            format!("--kubeconfig={}", pki("controller-manager.conf")),
            "--leader-elect=false".into(),
            "--use-service-account-credentials".into(),
            format!("--root-ca-file={}", pki("ca.crt")),
            format!("--service-account-private-key-file={}", pki("sa.key")),
            format!("--cluster-signing-cert-file={}", pki("ca.crt")),
            format!("--cluster-signing-key-file={}", pki("ca.key")),
            "--allocate-node-cidrs".into(),
            format!("--cluster-cidr={PODS}"),
            "--service-cluster-ip-range=10.96.0.0/16".into(),
        ];
        let scheduler = [format!("--kubeconfig={}", pki("scheduler.conf")), "--leader-elect=false".into()];
        let node = [
            format!("--config={}", kubelet.display()),
            format!("--kubeconfig={}", pki("kubelet.conf")),
            "--hostname-override=n1".into(),
            format!("--node-ip={ADDRESS}"),
        ];
        let others = vec![
            Process::start(dir, "kubelet", &enter, &stock("kubelet"), node)?,
            Process::start(dir, "kube-controller-manager", &enter, &stock("kube-controller-manager"), manager)?,
            Process::start(dir, "kube-scheduler", &enter, &stock("kube-scheduler"), scheduler)?,
            Process::start(dir, "kube-proxy", &enter, &stock("kube-proxy"), [format!("--config={}", proxy.display())])?,
        ];
        grant_proxy(&server).await?;
        Ok(Node { server, others, containerd })
    }

    /// Ends everything and leaves what a machine has before its first start: containerd's images.
    pub async fn stop(&self, node: Node) -> Result<(), String> {
        let Node { server, others, containerd } = node;
        drop(others);
        let mut runtime = cri::Runtime::connect(&self.runtime_endpoint()).map_err(|e| e.to_string())?.runtime;
        let all = runtime.list_pod_sandbox(api::ListPodSandboxRequest::default()).await.map_err(said("ListPodSandbox"))?;
        for sandbox in all.into_inner().items {
            let pod_sandbox_id = sandbox.id;
            let _ = runtime.stop_pod_sandbox(api::StopPodSandboxRequest { pod_sandbox_id: pod_sandbox_id.clone() }).await;
            let _ = runtime.remove_pod_sandbox(api::RemovePodSandboxRequest { pod_sandbox_id }).await;
        }
        drop(server);
        drop(containerd);
        for made in ["stock", "ipam"] {
            let _ = std::fs::remove_dir_all(self.dir.join(made));
        }
        let _ = self.run("sh", &["-c", "rm -rf /var/lib/kubelet/*"]);
        self.run("sh", &["-c", "nft flush ruleset; ip link del cni0 2>/dev/null; true"]).map(drop)
    }
}

/// What installers of stock clusters grant.
async fn grant_proxy(server: &Server) -> Result<(), String> {
    use super::connection::{Call, Connection};
    let binding = serde_json::json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": "bench-proxy"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "system:node-proxier"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "system:kube-proxy"}],
    });
    let call = Call::with(hyper::Method::POST, "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", &binding);
    Connection::open(&server.endpoint).await?.call(&call).await.map(drop)
}
