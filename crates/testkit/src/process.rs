//! A service as a real process, to be killed, frozen and started again.

use std::path::Path;
use std::process::ExitStatus;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use nix::sys::signal::Signal;

use crate::launch::{self, Launch, Lifetime, Running};
use crate::wait::try_wait_until;
use crate::workspace;

const TAIL_LINES: usize = 60;

/// A spawned service binary. Dropping it kills it; if the test is failing, the end of its output is printed.
#[derive(Debug)]
pub struct Process {
    name: String,
    pid: u32,
    running: Mutex<Running>,
    // Holds the output; removed after the process has ended.
    _directory: tempfile::TempDir,
}

impl Process {
    /// Starts `binary` from the target directory of the running test with these environment variables. The
    /// output goes to a file ([`Process::output`]); the process ends with this one, however this one ends.
    ///
    /// # Errors
    /// When the binary was not built or can't be started.
    pub fn start(
        binary: &str,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self> {
        Self::start_with(binary, &[], environment)
    }

    /// [`Process::start`] with arguments.
    ///
    /// # Errors
    /// When the binary was not built or can't be started.
    pub fn start_with(
        binary: &str,
        arguments: &[&str],
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self> {
        let directory = tempfile::tempdir().context("making a directory for the output")?;
        let log = directory.path().join("output.log");
        let running =
            Launch::new(workspace::binary(binary)?, log, Lifetime::WithParent(Signal::SIGKILL))
                .args(arguments.iter().copied())
                .envs(environment)
                .start()?;
        let (name, pid) = (binary.to_owned(), running.pid());
        Ok(Self { name, pid, running: Mutex::new(running), _directory: directory })
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Ends it as a power cut would, and waits until it is gone.
    pub fn kill_9(&self) {
        self.lock().stop(Signal::SIGKILL, Duration::from_secs(5));
    }

    /// Asks it to stop; [`Process::wait_exit`] tells when it has.
    pub fn sigterm(&self) {
        self.lock().signal(Signal::SIGTERM);
    }

    /// Freezes it.
    pub fn sigstop(&self) {
        self.lock().signal(Signal::SIGSTOP);
    }

    /// Lets a frozen process go on.
    pub fn sigcont(&self) {
        self.lock().signal(Signal::SIGCONT);
    }

    /// Its exit status when it has ended.
    pub fn exited(&self) -> Option<ExitStatus> {
        self.lock().ended()
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// When it still runs after `deadline`.
    pub async fn wait_exit(&self, deadline: Duration) -> ExitStatus {
        let ended = try_wait_until(deadline, || async { self.exited() }).await;
        ended.unwrap_or_else(|_| {
            panic!("{} still runs after {deadline:?}:\n{}", self.name, self.tail())
        })
    }

    /// Waits until a GET of `url` answers 200.
    ///
    /// # Panics
    /// When it doesn't within `deadline`, or when the process ends first.
    pub async fn wait_ready(&self, url: &str, deadline: Duration) {
        let client = reqwest::Client::new();
        let ready = try_wait_until(deadline, || async {
            if let Some(status) = self.exited() {
                return Ok(Err(format!("it ended with {status}")));
            }
            answers_ok(&client, url).await.map(Ok)
        })
        .await;
        if let Err(why) | Ok(Err(why)) = ready {
            panic!("{} is not ready at {url}: {why}\n{}", self.name, self.tail());
        }
    }

    /// Everything it has printed so far.
    #[must_use]
    pub fn output(&self) -> String {
        let bytes = std::fs::read(self.lock().log()).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Its memory in use (resident set) in bytes; `None` once it has ended.
    #[must_use]
    pub fn resident_bytes(&self) -> Option<u64> {
        resident_bytes(self.pid)
    }

    fn tail(&self) -> String {
        launch::tail(self.lock().log(), TAIL_LINES)
    }

    fn lock(&self) -> MutexGuard<'_, Running> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Process {
    #[expect(clippy::print_stderr, reason = "the captured output explains the failing test")]
    fn drop(&mut self) {
        self.kill_9();
        if std::thread::panicking() {
            eprintln!("--- {} (pid {}) said last:\n{}\n---", self.name, self.pid, self.tail());
        }
    }
}

/// One GET: `Ok` for status 200, otherwise what was seen.
///
/// # Errors
/// What was seen instead.
pub async fn answers_ok(client: &reqwest::Client, url: &str) -> Result<(), String> {
    let request = client.get(url).timeout(Duration::from_secs(2));
    match request.send().await {
        Ok(reply) if reply.status() == reqwest::StatusCode::OK => Ok(()),
        Ok(reply) => {
            let status = reply.status();
            Err(format!("{status}: {}", reply.text().await.unwrap_or_default()))
        }
        Err(refused) => Err(refused.to_string()),
    }
}

/// A process's resident set in bytes.
#[must_use]
pub fn resident_bytes(pid: u32) -> Option<u64> {
    let status =
        std::fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().trim_end_matches("kB").trim().parse().ok()?;
    Some(kib * 1024)
}
