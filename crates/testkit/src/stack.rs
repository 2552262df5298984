//! The three servers a test needs, started once and shared, or private to a test that breaks them.
//!
//! `devstack with-stack -- cargo test` starts one stack for the whole run and hands its address file to all
//! test programs by `MILLRACE_TEST_STACK`; a test program that runs alone starts its own at first use.
//! Isolation is by name, not by server: each test has its own database, topics, groups and keys.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use tokio::sync::OnceCell;

use crate::kafka::Kafka;
use crate::namespace::Namespace;
use crate::pid::ProcessId;
use crate::postgres::{self, Postgres, Tuning};
use crate::redis::{self, Redis};
use crate::{ports, workspace};

mod sweep;

/// Names the address file of the run's stack.
pub const STACK_VARIABLE: &str = "MILLRACE_TEST_STACK";
/// A port may be taken between the look and the bind; then the stack starts again on others.
const START_ATTEMPTS: usize = 3;

/// Where a stack's servers listen, all on 127.0.0.1.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Addresses {
    /// PostgreSQL's port.
    pub postgres_port: u16,
    /// Redis' port.
    pub redis_port: u16,
    /// The Kafka broker's port.
    pub kafka_port: u16,
    owner: ProcessId,
}

/// Running PostgreSQL, Redis and Kafka.
pub struct Stack {
    addresses: Addresses,
    servers: Option<Servers>,
}

struct Servers {
    postgres: Postgres,
    redis: Redis,
    kafka: Kafka,
    // Last: the servers end before their files go.
    directory: sweep::RunDirectory,
}

impl Stack {
    /// The stack that this run shares: the one handed to us, or one of our own that ends with the process.
    ///
    /// # Panics
    /// When it can't be started: no test could go on.
    pub async fn shared() -> &'static Self {
        static SHARED: OnceCell<Stack> = OnceCell::const_new();
        let started = SHARED.get_or_try_init(|| async {
            match handed_over() {
                Some(file) => Self::attach(&file),
                None => Self::private().await,
            }
        });
        started.await.unwrap_or_else(|error| panic!("the test stack did not start: {error:?}"))
    }

    /// A stack of one's own, for tests that stop or freeze its servers. It takes some four seconds to start and ends when
    /// dropped.
    ///
    /// # Errors
    /// When a server can't be started.
    pub async fn private() -> Result<Self> {
        Self::start(Tuning::Test).await
    }

    /// A stack of one's own whose PostgreSQL writes to the disk as production's does, for benchmarks.
    ///
    /// # Errors
    /// When a server can't be started.
    pub async fn durable() -> Result<Self> {
        Self::start(Tuning::Durable).await
    }

    async fn start(tuning: Tuning) -> Result<Self> {
        let mut attempt = 1;
        loop {
            match Self::start_once(tuning).await {
                Ok(stack) => return Ok(stack),
                Err(error) if attempt >= START_ATTEMPTS => return Err(error),
                Err(_) => attempt += 1,
            }
        }
    }

    async fn start_once(tuning: Tuning) -> Result<Self> {
        let directory = sweep::RunDirectory::create()?;
        let [postgres_port, redis_port, kafka_port, controller_port] = ports::free()?;
        let log = |name: &str| directory.path().join(name);
        let owner = ProcessId::current().context("reading this process's start time")?;
        let data = postgres::reachable(directory.path().join("postgres"), || {
            directory.outside("postgres")
        });
        let kafka_files = log("kafka");
        let (postgres, redis, kafka) = tokio::try_join!(
            Postgres::start_in(&data, log("postgres.log"), postgres_port, tuning),
            Redis::start_in(log("redis"), log("redis.log"), redis_port),
            Kafka::start_in(&kafka_files, log("kafka.log"), kafka_port, controller_port),
        )?;
        let addresses = Addresses { postgres_port, redis_port, kafka_port, owner };
        Ok(Self { addresses, servers: Some(Servers { postgres, redis, kafka, directory }) })
    }

    fn attach(file: &Path) -> Result<Self> {
        let text =
            std::fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))?;
        let addresses: Addresses =
            serde_json::from_str(&text).context("reading the stack's addresses")?;
        anyhow::ensure!(addresses.owner.alive(), "the owner of {} is gone", file.display());
        end_with(addresses.owner);
        Ok(Self { addresses, servers: None })
    }

    /// Writes the address file for other processes, and returns where it lies.
    ///
    /// # Errors
    /// When the stack is not ours or the file can't be written.
    pub fn publish(&self) -> Result<PathBuf> {
        let file = self.servers()?.directory.path().join("stack.json");
        let text =
            serde_json::to_string(&self.addresses).context("writing the stack's addresses")?;
        std::fs::write(&file, text).context("writing the stack's addresses")?;
        Ok(file)
    }

    /// Where its servers listen.
    #[must_use]
    pub fn addresses(&self) -> &Addresses {
        &self.addresses
    }

    /// Kafka's address, as clients' settings want it.
    #[must_use]
    pub fn brokers(&self) -> String {
        format!("127.0.0.1:{}", self.addresses.kafka_port)
    }

    /// Redis' address, as clients' settings want it.
    #[must_use]
    pub fn redis_url(&self) -> String {
        redis::url(self.addresses.redis_port)
    }

    /// Names that no other test has.
    #[must_use]
    pub fn namespace(&self) -> Namespace {
        Namespace::unique()
    }

    /// The Kafka server, to break.
    ///
    /// # Panics
    /// On a shared stack: breaking it would break other tests.
    #[must_use]
    pub fn kafka(&self) -> &Kafka {
        &self.breakable().kafka
    }

    /// The PostgreSQL server, to break.
    ///
    /// # Panics
    /// On a shared stack: breaking it would break other tests.
    #[must_use]
    pub fn postgres(&self) -> &Postgres {
        &self.breakable().postgres
    }

    /// The Redis server, to break.
    ///
    /// # Panics
    /// On a shared stack: breaking it would break other tests.
    #[must_use]
    pub fn redis(&self) -> &Redis {
        &self.breakable().redis
    }

    fn servers(&self) -> Result<&Servers> {
        self.servers.as_ref().context("this stack belongs to another process")
    }

    fn breakable(&self) -> &Servers {
        self.servers().expect("faults are for a stack of one's own: Stack::private()")
    }
}

#[expect(clippy::disallowed_methods, reason = "a test program has no settings of its own")]
fn handed_over() -> Option<PathBuf> {
    std::env::var(STACK_VARIABLE).ok().map(PathBuf::from)
}

/// Ends this test program when the stack's owner is killed: cargo would wait for tests that wait for servers that are gone.
fn end_with(owner: ProcessId) {
    std::thread::spawn(move || {
        while owner.alive() {
            crate::launch::pause(Duration::from_millis(500));
        }
        std::process::exit(70);
    });
}

/// The directory that holds runs' files.
fn runs() -> PathBuf {
    workspace::state_dir()
}
