//! A real Redis, alone or as one node of [`RedisSentinels`] or [`RedisCluster`].
//!
//! What the shared one can't show is shown by one of a test's own: killed as a power cut would, started again without
//! what it knew or with an older copy of it, frozen, or behind a proxy that holds back what goes one way.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use deadpool_redis::redis::{self, AsyncConnectionConfig, FromRedisValue};
use nix::sys::signal::Signal;

use crate::launch::{Launch, Lifetime};
use crate::ports;
use crate::proxy::FaultProxy;
use crate::server::Server;
use crate::stack::sweep::RunDirectory;
use crate::wait::try_wait_until;

mod cluster;
mod node;
mod sentinels;

pub use cluster::{RedisCluster, SlotMove};
pub use sentinels::RedisSentinels;

const START_LIMIT: Duration = Duration::from_secs(15);
const START_ATTEMPTS: usize = 3;
/// How long one question of a test may take; a frozen server must not hang it.
const ASK_LIMIT: Duration = Duration::from_secs(2);

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

/// One Redis server of a test; it ends when dropped. It writes nothing by itself, only [`Redis::snapshot`] does.
pub struct Redis {
    port: u16,
    proxy: FaultProxy,
    server: Server,
    directory: PathBuf,
    // Last: the server ends before its files go. A stack's Redis lies in the stack's.
    _run: Option<RunDirectory>,
}

impl Redis {
    /// One of a test's own, which it may break.
    ///
    /// # Errors
    /// When it can't be started.
    pub async fn private() -> Result<Self> {
        let mut attempt = 1;
        loop {
            match Self::private_once().await {
                Ok(redis) => return Ok(redis),
                Err(error) if attempt >= START_ATTEMPTS => return Err(error),
                Err(_) => attempt += 1,
            }
        }
    }

    async fn private_once() -> Result<Self> {
        let run = RunDirectory::create()?;
        let [port] = ports::free()?;
        let (directory, log) = (run.path().join("redis"), run.path().join("redis.log"));
        let mut redis = Self::start_in(directory, log, port).await?;
        redis._run = Some(run);
        Ok(redis)
    }

    pub(crate) async fn start_in(directory: PathBuf, log: PathBuf, port: u16) -> Result<Self> {
        let (proxy, files) = (FaultProxy::start(port)?, directory.clone());
        let redis = Self::of(port, proxy, directory, move || plain(&files, &log, port));
        redis.start().await?;
        Ok(redis)
    }

    /// One that isn't started yet.
    fn of(
        port: u16,
        proxy: FaultProxy,
        directory: PathBuf,
        launch: impl Fn() -> Launch + Send + Sync + 'static,
    ) -> Self {
        let server = Server::new("redis", Signal::SIGTERM, launch);
        Self { port, proxy, server, directory, _run: None }
    }

    /// Its port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its address as clients' settings want it, past the proxy.
    #[must_use]
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// What stands between it and the clients that start at [`FaultProxy::port`]; others feel nothing of its faults.
    #[must_use]
    pub fn proxy(&self) -> &FaultProxy {
        &self.proxy
    }

    /// Starts it after its end with what its files hold (the last [`Redis::snapshot`], or nothing), and waits until it
    /// answers.
    ///
    /// # Errors
    /// When it doesn't.
    pub async fn start(&self) -> Result<()> {
        std::fs::create_dir_all(&self.directory).context("creating Redis' directory")?;
        self.server.start()?;
        wait_ready(self.port, || self.server.check()).await
    }

    /// Starts it after its end without what it knew.
    ///
    /// # Errors
    /// When its files can't be removed or it doesn't answer.
    pub async fn start_empty(&self) -> Result<()> {
        let copy = self.directory.join("dump.rdb");
        if copy.exists() {
            std::fs::remove_file(&copy).context("removing Redis' copy")?;
        }
        self.start().await
    }

    /// Ends it; connections are refused from now on.
    ///
    /// # Errors
    /// When the wait for its end breaks.
    pub async fn stop(&self) -> Result<()> {
        self.server.stop().await
    }

    /// Ends it as a power cut would (SIGKILL) and waits until it is gone.
    pub fn kill(&self) {
        self.server.kill(Signal::SIGKILL);
    }

    /// Whether its process lives; a frozen one does.
    #[must_use]
    pub fn running(&self) -> bool {
        self.server.check().is_ok()
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
        self.ask::<()>(&["FLUSHALL"]).await.context("wiping Redis")
    }

    /// Writes what it holds to a file, from which a later [`Redis::start`] begins.
    ///
    /// # Errors
    /// When Redis refuses.
    pub async fn snapshot(&self) -> Result<()> {
        self.ask::<()>(&["SAVE"]).await.context("writing Redis' copy")
    }

    /// One command, past the proxy.
    ///
    /// # Errors
    /// When Redis refuses, is away or takes longer than two seconds.
    pub async fn ask<T: FromRedisValue>(&self, words: &[&str]) -> Result<T> {
        let told = words.join(" ");
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(ASK_LIMIT))
            .set_response_timeout(Some(ASK_LIMIT));
        let client = redis::Client::open(url(self.port)).context("reading Redis' address")?;
        let mut connection = client
            .get_multiplexed_async_connection_with_config(&config)
            .await
            .with_context(|| format!("connecting to Redis for {told}"))?;
        let (name, arguments) = words.split_first().context("a command has a name")?;
        let answer = redis::cmd(name).arg(arguments).query_async(&mut connection).await;
        answer.with_context(|| format!("asking Redis {told}"))
    }
}

/// Without files of its own accord, and no longer than this process.
fn plain(directory: &Path, log: &Path, port: u16) -> Launch {
    launch(directory, log, port, false, Lifetime::WithParent(Signal::SIGKILL))
}
