//! The command line.

use crate::commands;
use crate::layout::{DEFAULT_DATA_DIR, Layout};
use crate::multicall::{self, kube_apiserver, kube_controller_manager, kube_proxy, kube_scheduler, kubelet};
use clap::{Args, Parser, Subcommand};
use std::ffi::OsString;
use std::net::IpAddr;
use std::path::PathBuf;
use std::process::ExitCode;

/// Kubernetes in one small binary.
#[derive(Parser)]
#[command(name = "skiff", version = concat!("v", env!("CARGO_PKG_VERSION"), " (Kubernetes v1.36)"), arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Args, Clone)]
pub struct Instance {
    /// Where the cluster keeps its data.
    #[arg(long, env = "SKIFF_DATA_DIR", default_value = DEFAULT_DATA_DIR, global = true)]
    data_dir: PathBuf,
}

impl Instance {
    pub fn layout(&self) -> Result<Layout, String> {
        let data = std::path::absolute(&self.data_dir).map_err(|e| format!("--data-dir: {e}"))?;
        Ok(Layout::new(&data))
    }
}

#[derive(Subcommand)]
enum Command {
    /// Start a cluster on this machine and wait until it is ready; what runs already is kept.
    Up(Up),
    /// Stop the cluster's pods and processes. The data stays, unless --purge.
    Down(Down),
    /// Show the health of each component, the node and addresses.
    Status(Status),
    /// Run kubectl against the cluster.
    #[command(disable_help_flag = true)]
    Kubectl(Kubectl),
    /// Handle container images.
    #[command(subcommand)]
    Image(Image),
    /// Make this machine a node of a cluster that runs elsewhere, and wait until it is ready.
    Join(Join),
    /// Handle the tokens by which machines join.
    #[command(subcommand)]
    Token(Token),
    /// Run the control plane and the node agent in the foreground (what `up` starts).
    Server(Server),
    /// Run the node agent of a machine that joined a cluster in the foreground (what `join` starts).
    Agent(Agent),
    /// Run upstream's component of this name alone, under its flags.
    #[command(args_override_self = true)]
    KubeApiserver(Box<kube_apiserver::Flags>),
    /// Run upstream's component of this name alone, under its flags.
    #[command(args_override_self = true)]
    KubeControllerManager(Box<kube_controller_manager::Flags>),
    /// Run upstream's component of this name alone, under its flags.
    #[command(args_override_self = true)]
    KubeScheduler(kube_scheduler::Flags),
    /// Run upstream's component of this name alone, under its flags.
    #[command(args_override_self = true)]
    KubeProxy(kube_proxy::Flags),
    /// Run upstream's component of this name alone, under its flags.
    #[command(args_override_self = true)]
    Kubelet(Box<kubelet::Flags>),
}

/// What `up` and `server` may be told; `up` remembers it.
#[derive(Args, Clone)]
pub struct Options {
    /// The node's name [default: the host name].
    #[arg(long)]
    pub node_name: Option<String>,
    /// The node's address [default: that of the default route, or the first one].
    #[arg(long)]
    pub node_ip: Option<IpAddr>,
    /// Port of the API server [default: 6443].
    #[arg(long)]
    pub https_port: Option<u16>,
    /// Port of the node agent [default: 10250].
    #[arg(long)]
    pub kubelet_port: Option<u16>,
    /// Range of pod addresses [default: 10.244.0.0/16].
    #[arg(long)]
    pub cluster_cidr: Option<String>,
    /// Range of Service addresses [default: 10.96.0.0/16].
    #[arg(long)]
    pub service_cidr: Option<String>,
    /// Domain of the cluster's names [default: cluster.local].
    #[arg(long)]
    pub cluster_domain: Option<String>,
    /// Keep objects in this etcd instead of the embedded store (comma-separated URLs).
    #[arg(long, value_delimiter = ',')]
    pub etcd_servers: Vec<String>,
    /// Use this container runtime (unix:///path) instead of an own containerd.
    #[arg(long)]
    pub container_runtime_endpoint: Option<String>,
    /// Parent of all pod cgroups [default: /].
    #[arg(long)]
    pub cgroup_root: Option<String>,
}

#[derive(Args)]
pub struct Up {
    #[command(flatten)]
    pub instance: Instance,
    #[command(flatten)]
    pub options: Options,
    /// Nodes on this machine, itself included; the others live in network namespaces [default: 1].
    #[arg(long, value_parser = clap::value_parser!(u8).range(1..=100))]
    pub nodes: Option<u8>,
    /// The kubeconfig that gets the context `skiff` [default: $KUBECONFIG, or ~/.kube/config].
    #[arg(long)]
    pub kubeconfig: Option<PathBuf>,
    /// Give up when nothing happens for this many seconds.
    #[arg(long, default_value_t = 120)]
    pub timeout: u64,
}

#[derive(Args)]
pub struct Down {
    #[command(flatten)]
    pub instance: Instance,
    /// Remove everything: data, logs, images, links, cgroups, the kubeconfig context.
    #[arg(long)]
    pub purge: bool,
}

#[derive(Args)]
pub struct Status {
    #[command(flatten)]
    pub instance: Instance,
}

#[derive(Args)]
pub struct Kubectl {
    #[command(flatten)]
    pub instance: Instance,
    /// What kubectl gets.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub args: Vec<OsString>,
}

#[derive(Subcommand)]
enum Image {
    /// Import an image archive (docker save, OCI) into the cluster.
    Load(ImageLoad),
    /// List the images that the cluster has.
    Ls(ImageLs),
}

#[derive(Args)]
pub struct ImageLoad {
    #[command(flatten)]
    pub instance: Instance,
    /// The archives.
    #[arg(required = true)]
    pub files: Vec<PathBuf>,
}

#[derive(Args)]
pub struct ImageLs {
    #[command(flatten)]
    pub instance: Instance,
}

#[derive(Args)]
pub struct Server {
    #[command(flatten)]
    pub instance: Instance,
    #[command(flatten)]
    pub options: Options,
}

#[derive(Args)]
pub struct Join {
    #[command(flatten)]
    pub instance: Instance,
    /// What `skiff token create` printed on the cluster's machine; not needed again on a machine that joined before.
    pub invitation: Option<String>,
    /// Address of the API server, in place of the former.
    #[arg(long, requires_all = ["token", "ca_hash"], conflicts_with = "invitation")]
    pub server: Option<String>,
    /// A bootstrap token.
    #[arg(long, requires = "server")]
    pub token: Option<String>,
    /// Hash of the cluster's CA, `sha256:…`, as kubeadm prints it.
    #[arg(long, requires = "server")]
    pub ca_hash: Option<String>,
    /// The node's name [default: the host name].
    #[arg(long)]
    pub node_name: Option<String>,
    /// The node's address [default: the one by which the API server is reached].
    #[arg(long)]
    pub node_ip: Option<IpAddr>,
    /// Port of the node agent [default: 10250].
    #[arg(long)]
    pub kubelet_port: Option<u16>,
    /// Use this container runtime (unix:///path) instead of an own containerd.
    #[arg(long)]
    pub container_runtime_endpoint: Option<String>,
    /// Parent of all pod cgroups [default: /].
    #[arg(long)]
    pub cgroup_root: Option<String>,
    /// Give up when nothing happens for this many seconds.
    #[arg(long, default_value_t = 120)]
    pub timeout: u64,
}

#[derive(Subcommand)]
enum Token {
    /// Make a token; prints the one line that `skiff join` takes on another machine.
    Create(TokenCreate),
    /// List the tokens there are.
    #[command(visible_alias = "ls")]
    List(TokenList),
    /// Delete tokens by their IDs.
    #[command(visible_alias = "rm")]
    Delete(TokenDelete),
}

#[derive(Args)]
pub struct TokenCreate {
    #[command(flatten)]
    pub instance: Instance,
    /// How long it works: 30m, 24h; 0 for ever.
    #[arg(long, default_value = "24h")]
    pub ttl: String,
    /// A note for people.
    #[arg(long, default_value = "")]
    pub description: String,
}

#[derive(Args)]
pub struct TokenList {
    #[command(flatten)]
    pub instance: Instance,
}

#[derive(Args)]
pub struct TokenDelete {
    #[command(flatten)]
    pub instance: Instance,
    /// IDs, or whole tokens.
    #[arg(required = true)]
    pub tokens: Vec<String>,
}

#[derive(Args)]
pub struct Agent {
    #[command(flatten)]
    pub instance: Instance,
}

/// Parses the command line and runs the command.
pub fn run() -> Result<ExitCode, String> {
    // containerd starts the pod network plugin as a program of its own: a link to this binary.
    if let Some(code) = crate::server::plugin() {
        return Ok(code);
    }
    let ok = |()| ExitCode::SUCCESS;
    let arguments = multicall::arguments()?;
    if multicall::asks_for_version(&arguments) {
        println!("Kubernetes {}", multicall::VERSION);
        return Ok(ExitCode::SUCCESS);
    }
    match Cli::parse_from(arguments).command {
        Command::Up(a) => commands::up::run(&a).map(ok),
        Command::Down(a) => commands::down::run(&a).map(ok),
        Command::Status(a) => commands::status::run(&a),
        Command::Kubectl(a) => Err(commands::kubectl::run(&a)),
        Command::Image(Image::Load(a)) => commands::image::load(&a).map(ok),
        Command::Image(Image::Ls(a)) => commands::image::list(&a).map(ok),
        Command::Join(a) => commands::join::run(&a).map(ok),
        Command::Token(Token::Create(a)) => commands::token::create(&a).map(ok),
        Command::Token(Token::List(a)) => commands::token::list(&a).map(ok),
        Command::Token(Token::Delete(a)) => commands::token::delete(&a).map(ok),
        Command::Agent(a) => crate::server::joined::run(&a).map(ok),
        Command::Server(a) => crate::server::run(&a).map(ok),
        Command::KubeApiserver(a) => kube_apiserver::run(&a).map(ok),
        Command::KubeControllerManager(a) => kube_controller_manager::run(&a).map(ok),
        Command::KubeScheduler(a) => kube_scheduler::run(&a).map(ok),
        Command::KubeProxy(a) => kube_proxy::run(&a).map(ok),
        Command::Kubelet(a) => kubelet::run(&a).map(ok),
    }
}
