//! The five services as background processes.

use std::time::Duration;

use anyhow::{Context, Result};
use millrace_testkit::launch::{Launch, Lifetime, tail};
use millrace_testkit::process::answers_ok;
use millrace_testkit::{try_wait_until, workspace};
use nix::sys::signal::Signal;
use sha2::{Digest as _, Sha256};

use crate::components::{SERVICES, Service};
use crate::daemon::Daemon;
use crate::environment::environment;
use crate::layout;
use crate::ports::Ports;
use crate::secrets::Secrets;

/// A service's own budget for a stop is 30 s; it is killed only when it has ignored that.
pub(crate) const STOP_PATIENCE: Duration = Duration::from_secs(40);
const READY_LIMIT: Duration = Duration::from_secs(60);

/// Starts each service that doesn't run with today's binary and settings, and waits until all are ready.
pub(crate) async fn start(ports: &Ports, secrets: &Secrets) -> Result<()> {
    for service in SERVICES {
        ensure(service, ports, secrets).await?;
    }
    for service in SERVICES {
        wait_ready(service, ports).await?;
    }
    Ok(())
}

async fn ensure(service: Service, ports: &Ports, secrets: &Secrets) -> Result<()> {
    let variables = environment(service, ports, secrets)?;
    let binary = workspace::binary(service.binary)?;
    let fingerprint = fingerprint(&binary, &variables)?;
    if let Some(running) = Daemon::running(service.name) {
        if running.fingerprint == fingerprint {
            return Ok(());
        }
        println!("{} has changed: restarting it", service.name);
        running.stop(Signal::SIGTERM, STOP_PATIENCE).await?;
    }
    let launch = Launch::new(binary, layout::log(service.name), Lifetime::Detached).envs(variables);
    Daemon::start(service.name, service.port(ports)?, fingerprint, launch)?;
    Ok(())
}

async fn wait_ready(service: Service, ports: &Ports) -> Result<()> {
    let client = reqwest::Client::new();
    let url = format!("http://127.0.0.1:{}/readyz", service.admin_port(ports)?);
    let name = service.name;
    try_wait_until(READY_LIMIT, || async {
        if Daemon::running(name).is_none() {
            return Ok(Err("it ended".to_owned()));
        }
        answers_ok(&client, &url).await.map(Ok)
    })
    .await
    .and_then(|outcome| outcome)
    .map_err(|why| anyhow::anyhow!("{name} is not ready: {why}\n{}", tail(&layout::log(name), 20)))
}

/// What a running service was started from: binary and settings.
fn fingerprint(binary: &std::path::Path, variables: &[(String, String)]) -> Result<String> {
    let built =
        binary.metadata().and_then(|file| file.modified()).context("looking at a binary")?;
    let mut hasher = Sha256::new();
    hasher.update(format!("{}{built:?}{variables:?}", binary.display()));
    Ok(hasher.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect())
}
