//! One server process of a stack, with the faults a test may inject.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use nix::sys::signal::Signal;

use crate::launch::{Launch, Running};

/// How long a server may take to end before it is killed.
const STOP_PATIENCE: Duration = Duration::from_secs(10);

/// A server that can be ended and started again on the same port and data. Cloning shares it; it ends when
/// the last clone is dropped.
#[derive(Clone)]
pub(crate) struct Server(Arc<Inner>);

struct Inner {
    name: &'static str,
    launch: Box<dyn Fn() -> Launch + Send + Sync>,
    stop_signal: Signal,
    running: Mutex<Option<Running>>,
}

impl Server {
    /// A server that is not started yet.
    pub(crate) fn new(
        name: &'static str,
        stop_signal: Signal,
        launch: impl Fn() -> Launch + Send + Sync + 'static,
    ) -> Self {
        Self(Arc::new(Inner {
            name,
            launch: Box::new(launch),
            stop_signal,
            running: Mutex::new(None),
        }))
    }

    /// Starts the process; one that runs already stays.
    pub(crate) fn start(&self) -> Result<()> {
        let mut running = self.0.running();
        if running.is_none() {
            *running = Some((self.0.launch)().start()?);
        }
        Ok(())
    }

    /// Ends the process in the orderly way, off the async threads because it takes a while.
    pub(crate) async fn stop(&self) -> Result<()> {
        let server = self.clone();
        tokio::task::spawn_blocking(move || server.0.end(server.0.stop_signal))
            .await
            .context("stopping a server")
    }

    /// Ends the process with `signal` and waits until it is gone.
    pub(crate) fn kill(&self, signal: Signal) {
        self.0.end(signal);
    }

    /// Freezes the process (SIGSTOP): connections stay open, nothing answers.
    pub(crate) fn pause(&self) {
        self.signal(Signal::SIGSTOP);
    }

    /// Lets a frozen process go on.
    pub(crate) fn resume(&self) {
        self.signal(Signal::SIGCONT);
    }

    fn signal(&self, signal: Signal) {
        if let Some(running) = self.0.running().as_ref() {
            running.signal(signal);
        }
    }

    /// Fails when the process has ended by itself; the end of its log says why.
    pub(crate) fn check(&self) -> Result<()> {
        let mut running = self.0.running();
        let Some(process) = running.as_mut() else {
            anyhow::bail!("{} is not running", self.0.name);
        };
        if let Some(status) = process.ended() {
            let log = process.log_tail(30);
            *running = None;
            anyhow::bail!("{} ended by itself ({status}):\n{log}", self.0.name);
        }
        Ok(())
    }
}

impl Inner {
    fn running(&self) -> MutexGuard<'_, Option<Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn end(&self, signal: Signal) {
        if let Some(mut running) = self.running().take() {
            running.stop(signal, STOP_PATIENCE);
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // What a test server holds is thrown away with it, so nothing needs an orderly end but shared memory,
        // which PostgreSQL frees on SIGQUIT.
        self.end(if self.name == "postgres" { Signal::SIGQUIT } else { Signal::SIGKILL });
    }
}
