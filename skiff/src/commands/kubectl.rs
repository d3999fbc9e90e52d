//! `skiff kubectl …`: becomes kubectl with the cluster's kubeconfig.

use crate::cli::Kubectl;
use crate::containerd::find;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// Returns only if kubectl could not be started.
pub fn run(args: &Kubectl) -> String {
    let layout = match args.instance.layout() {
        Ok(l) => l,
        Err(e) => return e,
    };
    let config = layout.admin_kubeconfig();
    if layout.node_kubeconfig().exists() && !config.exists() {
        return "this machine joined a cluster: use kubectl where `skiff up` ran, or with that machine's kubeconfig".into();
    }
    if !config.exists() {
        return format!("no cluster in {}: `skiff up` makes one", layout.data.display());
    }
    let Some(kubectl) = find("kubectl") else {
        return "kubectl is not in PATH; install it from your distribution or build k8s.io/kubernetes/cmd/kubectl with Go".into();
    };
    let e = Command::new(&kubectl).env("KUBECONFIG", config).args(&args.args).exec();
    format!("cannot run {}: {e}", kubectl.display())
}
