//! `skiff status`: what runs, how it feels, where it is.

use super::need_root;
use crate::cli::Status;
use crate::layout::Layout;
use crate::process::Daemon;
use crate::settings::Settings;
use client::k8s_openapi::api::core::v1::{Node, Pod};
use client::{Client, ListOptions, Object};
use std::process::ExitCode;

/// Exit status 0 only if everything is healthy.
pub fn run(args: &Status) -> Result<ExitCode, String> {
    need_root()?;
    let layout = args.instance.layout()?;
    let Some(settings) = Settings::load(&layout)? else {
        return Err(format!("no cluster in {}: `skiff up` makes one", layout.data.display()));
    };
    let mut well = true;
    let mut line = |what: &str, ok: bool, text: &str| {
        well &= ok;
        println!("{} {what:<22} {text}", if ok { "✓" } else { "✗" });
    };
    let joined = settings.server.is_some();
    for name in ["containerd", if joined { "agent" } else { "server" }] {
        if name == "containerd" && settings.container_runtime_endpoint.is_some() {
            continue;
        }
        match Daemon::from_file(&layout.pid_file(name)) {
            Some(d) => line(name, true, &format!("runs (pid {}, {})", d.pid, memory(d.pid))),
            None => line(
                name,
                false,
                if joined { "does not run: `skiff join` starts it" } else { "does not run: `skiff up` starts it" },
            ),
        }
    }
    for node in crate::nested::existing(&layout, &settings) {
        for name in ["containerd", "agent"] {
            let what = format!("{name} of {}", node.name);
            match Daemon::from_file(&node.layout.pid_file(name)) {
                Some(d) => line(&what, true, &format!("runs (pid {}, {})", d.pid, memory(d.pid))),
                None => line(&what, false, "does not run: `skiff up` starts it"),
            }
        }
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|e| e.to_string())?;
    runtime.block_on(ask(&layout, &settings, &mut line));
    println!(
        "\n  API server   {}\n  data         {}\n  logs         {}",
        settings.server_url()?,
        layout.data.display(),
        layout.logs.display()
    );
    Ok(if well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn ask(layout: &Layout, settings: &Settings, line: &mut impl FnMut(&str, bool, &str)) {
    // A machine that joined asks as the node that it is, which sees its own pods alone.
    let joined = settings.server.is_some();
    let config = if joined { layout.node_kubeconfig() } else { layout.admin_kubeconfig() };
    let field_selector = if joined { format!("spec.nodeName={}", settings.node_name) } else { String::new() };
    let client: Client = match client::kubeconfig::client(&config) {
        Ok(c) => c,
        Err(e) => return line("API server", false, &e.to_string()),
    };
    match client.get_path("/version").await {
        Ok(v) => line("API server", true, machinery::meta::str_at(&v, &["gitVersion"])),
        Err(e) => return line("API server", false, &e.to_string()),
    }
    match client.list::<Node>("", &ListOptions::default()).await {
        Err(e) => line("nodes", false, &e.to_string()),
        Ok(list) => {
            for node in list.items {
                let status = node.status.clone().unwrap_or_default();
                let ready = status.conditions.iter().flatten().find(|c| c.type_ == "Ready");
                let address = status.addresses.iter().flatten().find(|a| a.type_ == "InternalIP").map_or("", |a| &a.address);
                let is_ready = ready.is_some_and(|c| c.status == "True");
                let why = ready.and_then(|c| c.message.clone()).unwrap_or_default();
                let text = if is_ready { format!("Ready, {address}") } else { format!("NotReady, {address}: {why}") };
                line(&format!("node {}", node.name()), is_ready, &text);
            }
        }
    }
    match client.list::<Pod>("", &ListOptions { field_selector, ..ListOptions::default() }).await {
        Err(e) => line("pods", false, &e.to_string()),
        Ok(list) => {
            let phase =
                |p: &str| list.items.iter().filter(|o| o.status.as_ref().and_then(|s| s.phase.as_deref()) == Some(p)).count();
            let text = format!(
                "{} {}: {} running, {} pending, {} failed",
                list.items.len(),
                if joined { "on this node" } else { "in all" },
                phase("Running"),
                phase("Pending"),
                phase("Failed")
            );
            line("pods", true, &text);
        }
    }
}

fn memory(pid: i32) -> String {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let kb: Option<u64> = status.lines().find_map(|l| l.strip_prefix("VmRSS:")?.trim().trim_end_matches(" kB").parse().ok());
    kb.map_or_else(|| "memory unknown".into(), |kb| format!("{:.1} MiB resident", kb as f64 / 1024.0))
}
