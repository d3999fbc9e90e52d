//! The components as processes of their own, under upstream's names and flags, on a lab's machine: what a person has who replaces
//! stock binaries. The runtime, the pod network's configuration and the certificates are those that `skiff up` made.

use crate::command::{Background, eventually};
use crate::lab::{Lab, NODE_IP};
use crate::namespace::PATIENCE;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Mutex;

/// A machine and the components that run on it. Dropping it stops them and removes every trace.
pub struct Components {
    running: Mutex<BTreeMap<&'static str, Background>>,
    pub lab: Lab,
}

/// Port of health of each, and how it is asked.
const HEALTH: &[(&str, &str)] = &[
    ("kube-apiserver", "https://127.0.0.1:6443/readyz"),
    ("kube-controller-manager", "https://127.0.0.1:10257/healthz"),
    ("kube-scheduler", "https://127.0.0.1:10259/healthz"),
    ("kubelet", "http://127.0.0.1:10248/healthz"),
    ("kube-proxy", "http://127.0.0.1:10256/healthz"),
];

impl Components {
    /// A machine whose cluster was stopped, but for its runtime.
    pub fn new(name: &str) -> Self {
        let lab = Lab::new(name);
        lab.up().ok();
        let server = Pid::from_raw(lab.pid("server"));
        kill(server, Signal::SIGTERM).expect("the server runs");
        eventually("the server's end", PATIENCE, || if kill(server, None).is_err() { Ok(()) } else { Err("it runs".into()) });
        // Upstream's fixed places are this machine's alone.
        lab.sh("mkdir -p /var/log && mount -t tmpfs none /var/log").ok();
        let bin = lab.dir.join("bin");
        std::fs::create_dir_all(&bin).expect("the lab's directory is writable");
        for (component, _) in HEALTH {
            std::os::unix::fs::symlink(Lab::binary(), bin.join(component)).expect("a link");
        }
        Self { running: Mutex::default(), lab }
    }

    /// A file below the machine's certificates.
    pub fn pki(&self, name: &str) -> String {
        self.lab.data().join("pki").join(name).display().to_string()
    }
    /// A path of the lab's own.
    pub fn path(&self, name: &str) -> PathBuf {
        self.lab.dir.join(name)
    }
    pub fn write(&self, name: &str, content: &str) -> String {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().expect("a directory")).expect("the lab's directory is writable");
        std::fs::write(&path, content).expect("the lab's directory is writable");
        path.display().to_string()
    }

    /// Starts one by the link of its name, with words separated by spaces.
    pub fn start(&self, name: &'static str, arguments: &str) {
        let mut command = self.lab.command(self.path("bin").join(name));
        command.args(arguments.split_whitespace());
        let started = Background::start(command, self.path(&format!("{name}.log")));
        self.running.lock().expect("no test panics with it").insert(name, started);
        let (_, url) = HEALTH.iter().find(|(n, _)| *n == name).expect("a known component");
        eventually(&format!("{name} is healthy"), PATIENCE, || {
            let o = self.lab.sh(&format!("curl -sSfk -m 3 {url}"));
            if o.code == 0 { Ok(()) } else { Err(format!("{}\n{}", o.err, self.said(name))) }
        });
    }
    /// Kills one.
    pub fn stop(&self, name: &str) {
        self.running.lock().expect("no test panics with it").remove(name);
    }
    /// What a component has said.
    pub fn said(&self, name: &str) -> String {
        let running = self.running.lock().expect("no test panics with it");
        running.get(name).map(Background::said).unwrap_or_default()
    }

    /// Starts the API server under the flags that kubeadm writes; `store` says where objects are kept.
    pub fn start_api_server(&self, store: &str) {
        let pki = |name: &str| self.pki(name);
        let arguments = format!(
            "{store} --advertise-address={NODE_IP} --allow-privileged=true --authorization-mode=Node,RBAC --client-ca-file={ca} \
             --enable-admission-plugins=NodeRestriction --enable-bootstrap-token-auth=true \
             --kubelet-client-certificate={kubelet}.crt --kubelet-client-key={kubelet}.key \
             --kubelet-preferred-address-types=InternalIP,ExternalIP,Hostname \
             --proxy-client-cert-file={front}-client.crt --proxy-client-key-file={front}-client.key \
             --requestheader-allowed-names=front-proxy-client --requestheader-client-ca-file={front}-ca.crt \
             --requestheader-extra-headers-prefix=X-Remote-Extra- --requestheader-group-headers=X-Remote-Group \
             --requestheader-username-headers=X-Remote-User --secure-port=6443 \
             --service-account-issuer=https://kubernetes.default.svc.cluster.local --service-account-key-file={sa}.pub \
             --service-account-signing-key-file={sa}.key --service-cluster-ip-range=10.96.0.0/16 \
             --tls-cert-file={own}.crt --tls-private-key-file={own}.key",
            ca = pki("ca.crt"),
            kubelet = pki("apiserver-kubelet-client"),
            front = pki("front-proxy"),
            sa = pki("sa"),
            own = pki("apiserver"),
        );
        self.start("kube-apiserver", &arguments);
    }

    /// Starts controllers and scheduler under the flags that kubeadm writes.
    pub fn start_controllers(&self) {
        let kubeconfig = self.pki("controller-manager.conf");
        let arguments = format!(
            "--allocate-node-cidrs=true --authentication-kubeconfig={kubeconfig} --authorization-kubeconfig={kubeconfig} \
             --bind-address=127.0.0.1 --client-ca-file={ca} --cluster-cidr=10.244.0.0/16 --cluster-name=kubernetes \
             --cluster-signing-cert-file={ca} --cluster-signing-key-file={key} --controllers=*,bootstrapsigner,tokencleaner \
             --kubeconfig={kubeconfig} --leader-elect=true --requestheader-client-ca-file={front} --root-ca-file={ca} \
             --service-account-private-key-file={sa} --service-cluster-ip-range=10.96.0.0/16 --use-service-account-credentials=true",
            ca = self.pki("ca.crt"),
            key = self.pki("ca.key"),
            front = self.pki("front-proxy-ca.crt"),
            sa = self.pki("sa.key"),
        );
        self.start("kube-controller-manager", &arguments);
        let kubeconfig = self.pki("scheduler.conf");
        self.start(
            "kube-scheduler",
            &format!(
                "--authentication-kubeconfig={kubeconfig} --authorization-kubeconfig={kubeconfig} --bind-address=127.0.0.1 \
                 --kubeconfig={kubeconfig} --leader-elect=true"
            ),
        );
    }

    /// Starts the kubelet of node n1 with this kubeconfig and, beside what the lab needs, these fields of its configuration.
    pub fn start_kubelet(&self, kubeconfig: &str, flags: &str, fields: &str) {
        let config = format!(
            "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\n\
             authentication: {{anonymous: {{enabled: false}}, webhook: {{cacheTTL: 0s, enabled: true}}, x509: {{clientCAFile: {ca}}}}}\n\
             authorization: {{mode: Webhook, webhook: {{cacheAuthorizedTTL: 0s}}}}\ncgroupRoot: /{cgroup}\nclusterDNS: [10.96.0.10]\n\
             clusterDomain: cluster.local\ncontainerRuntimeEndpoint: unix://{socket}\ncpuManagerReconcilePeriod: 0s\n\
             evictionHard: {{memory.available: 100Mi, nodefs.available: 100Mi}}\nfailSwapOn: false\nimageMinimumGCAge: 0s\n\
             imageGCHighThresholdPercent: 100\nlogging: {{flushFrequency: 0, verbosity: 0}}\nmemorySwap: {{}}\nsyncFrequency: 0s\n{fields}",
            ca = self.pki("ca.crt"),
            cgroup = self.lab.name,
            socket = self.lab.data().join("run/containerd.sock").display(),
        );
        let config = self.write("kubelet.yaml", &config);
        let root = self.lab.data().join("kubelet");
        self.start(
            "kubelet",
            &format!(
                "--config={config} --kubeconfig={kubeconfig} --hostname-override=n1 --node-ip={NODE_IP} --root-dir={} {flags}",
                root.display()
            ),
        );
    }

    /// Starts the proxy with a configuration file such as kubeadm's.
    pub fn start_proxy(&self) {
        let config = format!(
            "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\nbindAddress: 0.0.0.0\n\
             clientConnection: {{acceptContentTypes: '', burst: 0, kubeconfig: {}, qps: 0}}\nclusterCIDR: 10.244.0.0/16\n\
             configSyncPeriod: 0s\nconntrack: {{maxPerCore: null}}\ndetectLocalMode: ''\nhealthzBindAddress: ''\nhostnameOverride: ''\n\
             mode: nftables\nnodePortAddresses: null\noomScoreAdj: null\n",
            self.pki("kube-proxy.conf")
        );
        let config = self.write("kube-proxy.yaml", &config);
        // Packets of the machine itself to a Service take some route before they are redirected.
        self.lab.sh("ip route replace 10.96.0.0/16 dev eth0").ok();
        self.start("kube-proxy", &format!("--config={config} --hostname-override=n1"));
    }
}
