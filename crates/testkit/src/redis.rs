//! A real Redis.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use deadpool_redis::redis;
use nix::sys::signal::Signal;

use crate::launch::{Launch, Lifetime};
use crate::server::Server;
use crate::wait::try_wait_until;

const START_LIMIT: Duration = Duration::from_secs(15);

/// What starts Redis on `port` with its files in `directory`; `keep` makes it write them.
#[must_use]
pub fn launch(directory: &Path, log: &Path, port: u16, keep: bool, lifetime: Lifetime) -> Launch {
    let persistence = if keep { ["--appendonly", "yes"] } else { ["--appendonly", "no"] };
    Launch::new("redis-server", log, lifetime)
        .args(["--bind", "127.0.0.1", "--port", &port.to_string()])
        .args(["--dir", &directory.display().to_string(), "--save", ""])
        .args(persistence)
}

/// Waits until Redis answers PING.
///
/// # Errors
/// The last refusal when it doesn't in time, or `check`'s error at once.
pub async fn wait_ready(port: u16, check: impl Fn() -> Result<()>) -> Result<()> {
    let client = redis::Client::open(url(port)).context("reading Redis' address")?;
    try_wait_until(START_LIMIT, || async {
        if let Err(gone) = check() {
            return Ok(Err(gone));
        }
        let answer: redis::RedisResult<String> = async {
            let mut connection = client.get_multiplexed_async_connection().await?;
            redis::cmd("PING").query_async(&mut connection).await
        }
        .await;
        answer.map(|_| Ok(())).map_err(|refused| refused.to_string())
    })
    .await
    .map_err(|last| anyhow::anyhow!("Redis did not start: {last}"))?
}

/// Redis' address.
#[must_use]
pub fn url(port: u16) -> String {
    format!("redis://127.0.0.1:{port}/")
}

/// The Redis of a test stack.
pub struct Redis {
    port: u16,
    server: Server,
}

impl Redis {
    pub(crate) async fn start_in(directory: PathBuf, log: PathBuf, port: u16) -> Result<Self> {
        std::fs::create_dir_all(&directory).context("creating Redis' directory")?;
        let server = Server::new("redis", Signal::SIGTERM, move || {
            launch(&directory, &log, port, false, Lifetime::WithParent(Signal::SIGKILL))
        });
        let redis = Self { port, server };
        redis.start().await?;
        Ok(redis)
    }

    /// Starts it after a stop (empty: nothing is kept), and waits until it answers.
    ///
    /// # Errors
    /// When it doesn't.
    pub async fn start(&self) -> Result<()> {
        self.server.start()?;
        wait_ready(self.port, || self.server.check()).await
    }

    /// Ends it; connections are refused from now on.
    ///
    /// # Errors
    /// When the wait for its end breaks.
    pub async fn stop(&self) -> Result<()> {
        self.server.stop().await
    }

    /// Freezes it: connections stay open, nothing answers.
    pub fn pause(&self) {
        self.server.pause();
    }

    /// Lets it go on.
    pub fn resume(&self) {
        self.server.resume();
    }

    /// Wipes every key, as a lost Redis without a copy would.
    ///
    /// # Errors
    /// When Redis refuses.
    pub async fn flush(&self) -> Result<()> {
        let client = redis::Client::open(url(self.port)).context("reading Redis' address")?;
        let mut connection = client.get_multiplexed_async_connection().await?;
        redis::cmd("FLUSHALL").query_async::<()>(&mut connection).await.context("wiping Redis")
    }
}
