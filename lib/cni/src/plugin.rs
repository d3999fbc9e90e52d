//! The program that the runtime runs: reads the environment and standard input, answers on standard output.

use crate::config::{Config, Environment, VERSIONS};
use crate::{Error, Result, host_ports, loopback, pod_link};
use serde_json::{Value, json};
use std::io::Read;
use std::process::ExitCode;

/// Runs the plugin `name` (`loopback`, or the pod network).
pub fn main(name: &str) -> ExitCode {
    let mut input = Vec::new();
    // A configuration is a few hundred bytes; what is longer is not one.
    let read = std::io::stdin().take(1 << 20).read_to_end(&mut input);
    let outcome =
        read.map_err(|source| Error::Io { action: "read the configuration".into(), source }).and_then(|_| run(name, &input));
    match outcome {
        Ok(None) => ExitCode::SUCCESS,
        Ok(Some(v)) => {
            println!("{v}");
            ExitCode::SUCCESS
        }
        Err(e) => {
            println!("{}", result_error(&e));
            ExitCode::FAILURE
        }
    }
}

/// The error object of the specification.
pub fn result_error(e: &Error) -> Value {
    json!({"cniVersion": "1.0.0", "code": e.code(), "msg": e.to_string()})
}

fn run(name: &str, input: &[u8]) -> Result<Option<Value>> {
    let env = Environment::read()?;
    if env.command == "VERSION" {
        return Ok(Some(json!({"cniVersion": "1.0.0", "supportedVersions": VERSIONS})));
    }
    let config = Config::parse(input)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|source| Error::Io { action: "start".into(), source })?;
    let loopback = name == "loopback";
    runtime.block_on(async {
        match env.command.as_str() {
            "ADD" if loopback => loopback::add(&config.cni_version, &env).await.map(Some),
            "ADD" => {
                let link = pod_link::add(&config, &env).await?;
                let mappings = &config.runtime_config.port_mappings;
                if let Err(e) = host_ports::add(&config.run_dir(), &env, mappings, link.address).await {
                    let _ = pod_link::remove(&env).await;
                    return Err(e);
                }
                Ok(Some(result(&config.cni_version, &env, &link)))
            }
            "DEL" if loopback => Ok(None),
            "DEL" => {
                // Both are tried whatever becomes of the other; the runtime repeats a DEL that failed.
                let ports = host_ports::remove(&config.run_dir(), &env).await;
                pod_link::remove(&env).await.and(ports).map(|()| None)
            }
            "CHECK" if loopback => Ok(None),
            "CHECK" => pod_link::check(&env).await.map(|()| None),
            "STATUS" | "GC" => Ok(None),
            other => Err(Error::Environment(format!("CNI_COMMAND {other:?} is unknown"))),
        }
    })
}

fn result(version: &str, env: &Environment, link: &pod_link::PodLink) -> Value {
    let mut ip = json!({"address": format!("{}/32", link.address), "gateway": pod_link::GATEWAY, "interface": 1});
    if version.starts_with("0.") {
        ip["version"] = "4".into();
    }
    json!({
        "cniVersion": version,
        "interfaces": [
            {"name": link.host_name, "mac": link.host_mac},
            {"name": env.interface, "mac": link.pod_mac, "sandbox": env.netns},
        ],
        "ips": [ip],
        "routes": [{"dst": "0.0.0.0/0", "gw": pod_link::GATEWAY}],
        "dns": {},
    })
}
