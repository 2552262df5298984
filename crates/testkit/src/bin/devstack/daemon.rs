//! Background processes remembered on disk.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use millrace_testkit::launch::{Launch, Running};
use millrace_testkit::pid::ProcessId;
use nix::sys::signal::Signal;
use serde::{Deserialize, Serialize};

use crate::layout;

/// One started component, as its pid file says.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Daemon {
    /// The component's name.
    pub(crate) name: String,
    /// Its process.
    pub(crate) process: ProcessId,
    /// The port it serves.
    pub(crate) port: u16,
    /// What it was started from; a running one with another fingerprint is out of date.
    pub(crate) fingerprint: String,
}

impl Daemon {
    /// The component if it runs now.
    pub(crate) fn running(name: &str) -> Option<Self> {
        let text = std::fs::read_to_string(pid_file(name)).ok()?;
        let daemon: Self = serde_json::from_str(&text).ok()?;
        daemon.process.alive().then_some(daemon)
    }

    /// Starts a process and writes its pid file.
    pub(crate) fn start(
        name: &str,
        port: u16,
        fingerprint: String,
        launch: Launch,
    ) -> Result<(Self, Running)> {
        let running = launch.start().with_context(|| format!("starting {name}"))?;
        let process = ProcessId::of(running.pid())
            .with_context(|| format!("{name} ended at once:\n{}", running.log_tail(20)))?;
        let daemon = Self { name: name.to_owned(), process, port, fingerprint };
        let text = serde_json::to_string(&daemon).context("writing a pid file")?;
        std::fs::create_dir_all(layout::run()).context("creating .local/run")?;
        std::fs::write(pid_file(name), text).context("writing a pid file")?;
        Ok((daemon, running))
    }

    /// Asks it to stop and waits; one that doesn't listen is killed after `patience`. Says whether it stopped by itself.
    pub(crate) async fn stop(&self, signal: Signal, patience: Duration) -> Result<bool> {
        let asked = Instant::now();
        self.process.signal(Signal::SIGCONT);
        self.process.signal(signal);
        while self.process.alive() && asked.elapsed() < patience {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let by_itself = !self.process.alive();
        if !by_itself {
            self.process.signal(Signal::SIGKILL);
            while self.process.alive() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        std::fs::remove_file(pid_file(&self.name)).context("removing a pid file")?;
        Ok(by_itself)
    }
}

fn pid_file(name: &str) -> PathBuf {
    layout::run().join(format!("{name}.json"))
}
