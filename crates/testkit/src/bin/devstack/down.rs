//! `devstack down`: stops what `up` started, services before what they stand on.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use futures::future::try_join_all;
use nix::sys::signal::Signal;

use crate::components::{INFRASTRUCTURE, POSTGRES, SERVICES};
use crate::containers::{self, Mode};
use crate::daemon::Daemon;
use crate::ports::Ports;
use crate::secrets::Secrets;
use crate::{layout, services};

const SERVER_PATIENCE: Duration = Duration::from_secs(20);

pub(crate) async fn run(wipe: bool) -> Result<ExitCode> {
    let _lock = layout::lock()?;
    // The gateway first: then nothing new comes in while the others finish, side by side.
    let (inner, gateway) = SERVICES.split_at(SERVICES.len() - 1);
    for group in [gateway, inner] {
        let stops = group
            .iter()
            .map(|service| stop(service.name, Signal::SIGTERM, services::STOP_PATIENCE));
        try_join_all(stops).await?;
    }
    if containers::mode().await == Mode::Containers && layout::secrets().exists() {
        containers::down(&Ports::load()?, &Secrets::load_or_create()?, wipe).await?;
    }
    let stops = INFRASTRUCTURE.iter().map(|server| {
        // SIGINT is PostgreSQL's fast stop; SIGTERM would wait for its clients.
        let postgres = server.name == POSTGRES.name;
        let signal = if postgres { Signal::SIGINT } else { Signal::SIGTERM };
        stop(server.name, signal, SERVER_PATIENCE)
    });
    try_join_all(stops).await?;
    containers::forget();
    if wipe {
        remove_everything()?;
    }
    Ok(ExitCode::SUCCESS)
}

async fn stop(name: &str, signal: Signal, patience: Duration) -> Result<()> {
    let Some(running) = Daemon::running(name) else {
        return Ok(());
    };
    if running.stop(signal, patience).await? {
        println!("stopped {name}");
    } else {
        println!("{name} did not stop within {patience:?} and was killed");
    }
    Ok(())
}

/// Kafka's jars stay: they are a download, not data.
fn remove_everything() -> Result<()> {
    let directories = [
        layout::postgres(),
        layout::redis(),
        layout::kafka(),
        layout::traces(),
        layout::logs(),
        layout::secrets(),
        layout::run(),
    ];
    for directory in directories {
        if directory.exists() {
            std::fs::remove_dir_all(&directory)
                .with_context(|| format!("removing {}", directory.display()))?;
        }
    }
    println!("removed data, logs, traces and secrets");
    Ok(())
}
