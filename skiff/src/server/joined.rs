//! `skiff agent`: the node agent of a machine that joined a cluster. It talks to the API server over HTTPS, as the node that it is.

use super::{agent, daemon, enroll, local_volumes, wait_for_signal};
use crate::cli::Agent;
use crate::layout::Layout;
use crate::progress::Reporter;
use crate::settings::Settings;
use tokio_util::sync::CancellationToken;

pub fn run(args: &Agent) -> Result<(), String> {
    crate::commands::need_root()?;
    let layout = args.instance.layout()?;
    let settings = Settings::load(&layout)?.filter(|s| s.server.is_some());
    let settings =
        settings.ok_or_else(|| format!("{} is not that of a machine that joined: `skiff join`", layout.data.display()))?;
    daemon(&layout, async |reporter| serve(&layout, &settings, reporter).await)
}

async fn serve(layout: &Layout, settings: &Settings, reporter: &mut Reporter) -> Result<(), String> {
    let server = settings.server_url()?;
    let stop = CancellationToken::new();
    let signals = wait_for_signal(stop.clone())?;
    let member = tokio::select! {
        m = enroll::enroll(layout, settings, &server) => m?,
        () = stop.cancelled() => return Ok(()),
    };
    reporter.step("certificate of the node");
    let client = member.client.clone();
    let clients = agent::Clients { kubelet: client.clone(), proxy: client.clone(), dns: client.clone() };
    let rotation = tokio::spawn(member.keep(layout.clone(), settings.clone(), server.clone()));
    let node = agent::start(layout, settings, clients, &stop, reporter).await?;
    let volumes = local_volumes::follow(layout, &settings.node_name, &client).await?;
    reporter.ready();
    tracing::info!(node = %settings.node_name, server, "node is up");
    tokio::select! {
        () = stop.cancelled() => {}
        failed = node.failed() => return Err(failed),
    }
    rotation.abort();
    drop((signals, volumes));
    Ok(())
}
