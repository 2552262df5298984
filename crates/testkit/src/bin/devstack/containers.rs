//! The other mode: infrastructure and observability as containers, when a Docker daemon answers.
//!
//! The services still run natively, with the same settings and ports, so that a rebuild is a matter of seconds.

use std::path::PathBuf;
use std::process::Stdio;

use anyhow::{Context, Result};
use millrace_testkit::workspace;
use tokio::process::Command;

use crate::layout;
use crate::ports::Ports;
use crate::secrets::Secrets;

/// Which mode the running stack was started in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    Native,
    Containers,
}

/// The mode of the stack that runs, or else the one this machine allows.
pub(crate) async fn mode() -> Mode {
    match std::fs::read_to_string(mode_file()).as_deref() {
        Ok("containers") => Mode::Containers,
        Ok(_) => Mode::Native,
        Err(_) if daemon_answers().await => Mode::Containers,
        Err(_) => Mode::Native,
    }
}

/// Remembers the mode for `down`.
pub(crate) fn remember(mode: Mode) -> Result<()> {
    let text = if mode == Mode::Containers { "containers" } else { "native" };
    std::fs::create_dir_all(layout::run()).context("creating .local/run")?;
    std::fs::write(mode_file(), text).context("remembering the mode")
}

/// The next `up` may choose again.
pub(crate) fn forget() {
    // It is missing when nothing ran.
    std::fs::remove_file(mode_file()).ok();
}

/// Starts the containers and waits until their health checks pass.
pub(crate) async fn up(ports: &Ports, secrets: &Secrets) -> Result<()> {
    let mut command = compose(ports, secrets);
    command.args(["up", "--detach", "--wait"]);
    run(command).await
}

/// Stops the containers; `wipe` removes their volumes.
pub(crate) async fn down(ports: &Ports, secrets: &Secrets, wipe: bool) -> Result<()> {
    let mut command = compose(ports, secrets);
    command.arg("down");
    if wipe {
        command.arg("--volumes");
    }
    run(command).await
}

fn compose(ports: &Ports, secrets: &Secrets) -> Command {
    let file = workspace::root().join("deploy/compose.yaml");
    let mut command = Command::new("docker");
    command.args(["compose", "--file"]).arg(file);
    command.envs(ports.all().map(|(name, port)| (name, port.to_string())));
    command.env("POSTGRES_PASSWORD", &secrets.postgres);
    command
}

async fn run(mut command: Command) -> Result<()> {
    let status = command.status().await.context("running docker compose")?;
    anyhow::ensure!(status.success(), "docker compose failed ({status})");
    Ok(())
}

async fn daemon_answers() -> bool {
    let mut info = Command::new("docker");
    info.args(["info", "--format", "{{.ServerVersion}}"]);
    info.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    info.status().await.is_ok_and(|status| status.success())
}

fn mode_file() -> PathBuf {
    layout::run().join("mode")
}
