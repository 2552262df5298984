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

use crate::disk::SmallDisk;
use crate::kafka::node::{Node, ProxiedDoor};
use crate::kafka::{Kafka, KafkaAccess};
use crate::namespace::Namespace;
use crate::pid::ProcessId;
use crate::postgres::{self, Postgres, Tuning};
use crate::proxy::FaultProxy;
use crate::redis::{self, Redis};
use crate::{ports, workspace};

pub(crate) mod sweep;

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
    access: KafkaAccess,
    servers: Option<Servers>,
}

struct Servers {
    postgres: Postgres,
    redis: Redis,
    kafka: Kafka,
    kafka_proxy: FaultProxy,
    postgres_disk: Option<SmallDisk>,
    kafka_disk: Option<SmallDisk>,
    // Last: the servers end before their files go, and the disks before the directory.
    directory: sweep::RunDirectory,
}

/// Servers whose data lies on a disk of a fixed size that a test can fill; `None` is the machine's own disk.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SmallDisks {
    /// Kafka's; 64 MiB hold a broker that does little.
    pub kafka_bytes: Option<u64>,
    /// PostgreSQL's; 256 MiB hold a few test databases.
    pub postgres_bytes: Option<u64>,
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
        Self::start(Tuning::Test, SmallDisks::default()).await
    }

    /// A stack of one's own with disks that can be full: [`Stack::kafka_disk`], [`Stack::postgres_disk`].
    ///
    /// # Errors
    /// When a disk can't be mounted (that takes root) or a server can't be started.
    pub async fn with_small_disks(disks: SmallDisks) -> Result<Self> {
        Self::start(Tuning::Test, disks).await
    }

    /// A stack of one's own whose PostgreSQL writes to the disk as production's does, for benchmarks.
    ///
    /// # Errors
    /// When a server can't be started.
    pub async fn durable() -> Result<Self> {
        Self::start(Tuning::Durable, SmallDisks::default()).await
    }

    async fn start(tuning: Tuning, disks: SmallDisks) -> Result<Self> {
        let mut attempt = 1;
        loop {
            match Self::start_once(tuning, disks).await {
                Ok(stack) => return Ok(stack),
                Err(error) if attempt >= START_ATTEMPTS => return Err(error),
                Err(_) => attempt += 1,
            }
        }
    }

    async fn start_once(tuning: Tuning, disks: SmallDisks) -> Result<Self> {
        let directory = sweep::RunDirectory::create()?;
        let [postgres_port, redis_port, kafka_port, controller_port, proxied_port] = ports::free()?;
        let log = |name: &str| directory.path().join(name);
        let owner = ProcessId::current().context("reading this process's start time")?;
        let data = postgres::reachable(directory.path().join("postgres"), || {
            directory.outside("postgres")
        });
        let kafka_files = log("kafka");
        let mount = |path: &Path, bytes: Option<u64>| {
            bytes.map(|bytes| SmallDisk::mount(path, bytes)).transpose()
        };
        let kafka_disk = mount(&kafka_files, disks.kafka_bytes)?;
        let postgres_disk = mount(&data, disks.postgres_bytes)?;
        let kafka_proxy = FaultProxy::start(proxied_port)?;
        let door = ProxiedDoor { port: proxied_port, advertised_port: kafka_proxy.port() };
        let node = Node::alone(kafka_port, controller_port, Some(door));
        let (postgres, redis, kafka) = tokio::try_join!(
            Postgres::start_in(&data, log("postgres.log"), postgres_port, tuning),
            Redis::start_in(log("redis"), log("redis.log"), redis_port),
            Kafka::start_in(&kafka_files, log("kafka.log"), &node),
        )?;
        let addresses = Addresses { postgres_port, redis_port, kafka_port, owner };
        let servers =
            Servers { postgres, redis, kafka, kafka_proxy, postgres_disk, kafka_disk, directory };
        Ok(Self { access: KafkaAccess::new(&[kafka_port]), addresses, servers: Some(servers) })
    }

    fn attach(file: &Path) -> Result<Self> {
        let text =
            std::fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))?;
        let addresses: Addresses =
            serde_json::from_str(&text).context("reading the stack's addresses")?;
        anyhow::ensure!(addresses.owner.alive(), "the owner of {} is gone", file.display());
        end_with(addresses.owner);
        let access = KafkaAccess::new(&[addresses.kafka_port]);
        Ok(Self { addresses, access, servers: None })
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

    /// What tests ask of a Kafka from outside.
    #[must_use]
    pub fn access(&self) -> &KafkaAccess {
        &self.access
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

    /// What stands between Kafka and the clients that start at [`FaultProxy::address`]; they stay behind it, and nobody
    /// else does.
    ///
    /// # Panics
    /// On a shared stack: breaking it would break other tests.
    #[must_use]
    pub fn kafka_proxy(&self) -> &FaultProxy {
        &self.breakable().kafka_proxy
    }

    /// Kafka's disk.
    ///
    /// # Panics
    /// Unless the stack was started with one.
    #[must_use]
    pub fn kafka_disk(&self) -> &SmallDisk {
        self.breakable().kafka_disk.as_ref().expect("Kafka was started with a small disk")
    }

    /// PostgreSQL's disk.
    ///
    /// # Panics
    /// Unless the stack was started with one.
    #[must_use]
    pub fn postgres_disk(&self) -> &SmallDisk {
        self.breakable().postgres_disk.as_ref().expect("PostgreSQL was started with a small disk")
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
