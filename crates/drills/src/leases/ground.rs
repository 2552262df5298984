//! What one lease drill has to itself: a database with two sinks, a referee, the board, holder processes and notes.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use millrace_checker::Report;
use millrace_checker::leases::{
    LeaseFinals, LeaseHistory, LeaseLedger, LeaseNote, LeasePromises, LeaseRow, Unit, check,
};
use millrace_testkit::{
    FaultProxy, Namespace, Process, Redis, RedisSentinels, Stack, TestDatabase, try_wait_until,
};
use sqlx::PgPool;
use sqlx::migrate::Migrator;

use super::board::Board;
use crate::notes::{self, Notes};
use crate::process::{keep_output, still_runs, stopped};

/// The sink behind the fence.
pub const EFFECTS: &str = "effects";
/// The sink that compares tokens itself.
pub const REGISTER: &str = "register";

static MIGRATIONS: Migrator = sqlx::migrate!("./migrations/leases");

/// What holders are told about their surroundings: what hangs must be over soon.
const SETTINGS: [&str; 12] = [
    "DATABASE__POOL_MIN=1",
    "DATABASE__POOL_MAX=8",
    "DATABASE__ACQUIRE_TIMEOUT=5s",
    "DATABASE__LOCK_TIMEOUT=3s",
    // Who is frozen inside a transaction must not hold the sink for long.
    "DATABASE__IDLE_IN_TRANSACTION_TIMEOUT=400ms",
    "REDIS__POOL_MAX=16",
    "REDIS__CONNECT_TIMEOUT=300ms",
    "REDIS__OPERATION_TIMEOUT=300ms",
    // Of other processes that read the same sections.
    "KAFKA__BROKERS=unused:1",
    "OUTBOX__POLL_INTERVAL=1s",
    "SCHEDULER__LEASE_TTL=1s",
    "SCHEDULER__BATCH=1",
];

/// Keys of a test database that a holder is told otherwise.
const OVERRULED: [&str; 2] = ["DATABASE__POOL_MIN=", "DATABASE__PORT="];

/// How long a holder may take to stop.
const STOP_LIMIT: Duration = Duration::from_secs(20);

/// Who says who holds a lease.
pub enum Referee {
    /// One Redis; each holder has a way of its own to it.
    Single(Redis),
    /// A primary with replicas.
    Sentinels(RedisSentinels),
}

/// Everything of one drill.
pub struct Ground {
    database: TestDatabase,
    /// As the tables' owner.
    pub(super) pool: PgPool,
    /// Who says who holds a lease.
    pub referee: Referee,
    namespace: Namespace,
    seed: u64,
    leases: usize,
    notes: Notes<LeaseNote>,
    named: AtomicU32,
    // Last: the notes go when nobody writes them any more.
    directory: tempfile::TempDir,
}

/// A holder process. Dropping it kills it.
#[derive(Debug)]
pub struct Holder {
    /// Its name in notes and rows.
    pub name: String,
    /// The process.
    pub process: Process,
    /// Its own way to a single Redis.
    pub proxy: Option<FaultProxy>,
    /// Its own way to the sinks.
    pub sinks: FaultProxy,
}

impl Ground {
    /// Makes database and notes.
    ///
    /// # Errors
    /// When the notes can't be had.
    pub async fn open(stack: &Stack, referee: Referee, seed: u64, leases: usize) -> Result<Self> {
        let sets = [&millrace_coordination::MIGRATIONS, &MIGRATIONS];
        let database = stack.database("leases", &sets).await;
        let directory = tempfile::tempdir().context("making a directory for the notes")?;
        let notes = Notes::open(&directory.path().join("conductor.jsonl"), "conductor")?;
        let (pool, namespace, named) =
            (database.owner_pool(), Namespace::unique(), AtomicU32::new(0));
        Ok(Self { database, pool, referee, namespace, seed, leases, notes, named, directory })
    }

    /// Goes on with another referee; holders of the former one must have ended.
    pub fn refereed_by(mut self, referee: Referee) -> Self {
        self.note(LeaseNote::Forgot);
        self.referee = referee;
        self
    }

    /// Where the notes lie.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// A file of the drill.
    #[must_use]
    pub fn file(&self, name: &str) -> PathBuf {
        self.directory().join(name)
    }

    /// Notes that this happens now.
    pub fn note(&self, what: LeaseNote) {
        self.notes.note(what);
    }

    /// The instant that a note of now would carry.
    #[must_use]
    pub fn now_us(&self) -> i64 {
        self.notes.now_us()
    }

    /// Has holders bring each lease's work so far.
    ///
    /// # Errors
    /// When the board can't be written.
    pub fn show(&self, board: Board) -> Result<()> {
        board.show(&self.file("board.json"))
    }

    /// Starts a holder with these arguments beside the drill's.
    ///
    /// # Errors
    /// When it can't be started.
    pub fn start(&self, arguments: &[&str]) -> Result<Holder> {
        let name = format!("h{}", self.named.fetch_add(1, Ordering::Relaxed) + 1);
        let proxy = match &self.referee {
            Referee::Single(redis) => Some(FaultProxy::start(redis.port())?),
            Referee::Sentinels(_) => None,
        };
        let sinks = FaultProxy::start(self.database.port)?;
        let mut all = vec!["holder".to_owned()];
        let mut pair = |name: &str, value: String| all.extend([name.to_owned(), value]);
        pair("--name", name.clone());
        pair("--notes", self.file(&format!("{name}.jsonl")).display().to_string());
        pair("--board", self.file("board.json").display().to_string());
        pair("--seed", self.seed.to_string());
        pair("--leases", self.leases.to_string());
        for text in self.settings(proxy.as_ref(), &sinks) {
            pair("--set", text);
        }
        all.extend(arguments.iter().map(|argument| (*argument).to_owned()));
        let words: Vec<&str> = all.iter().map(String::as_str).collect();
        let process = Process::start_with("lease-drill", &words, [])?;
        Ok(Holder { name, process, proxy, sinks })
    }

    fn settings(&self, proxy: Option<&FaultProxy>, sinks: &FaultProxy) -> Vec<String> {
        let own = self.database.env("").into_iter();
        let own = own.map(|(key, value)| format!("{}={value}", key.trim_start_matches("__")));
        let mut all: Vec<String> =
            own.filter(|text| !OVERRULED.iter().any(|key| text.starts_with(key))).collect();
        all.push(format!("DATABASE__PORT={}", sinks.port()));
        all.extend(SETTINGS.map(str::to_owned));
        all.push(format!("REDIS__KEY_PREFIX={}", self.namespace.redis_prefix));
        match (&self.referee, proxy) {
            (Referee::Sentinels(sentinels), _) => {
                all.push("REDIS__MODE=sentinel".to_owned());
                all.push(format!("REDIS__NODES={}", sentinels.sentinel_addresses().join(",")));
                all.push(format!("REDIS__SENTINEL_MASTER={}", sentinels.master_name()));
            }
            (Referee::Single(redis), proxy) => {
                all.push("REDIS__HOST=127.0.0.1".to_owned());
                let port = proxy.map_or_else(|| redis.port(), FaultProxy::port);
                all.push(format!("REDIS__PORT={port}"));
            }
        }
        all
    }

    /// Freezes a holder until [`Ground::thaw`].
    pub fn freeze(&self, holder: &Holder) {
        self.note(LeaseNote::Stopped { holder: holder.name.clone() });
        holder.process.sigstop();
    }

    /// Waits until a holder has frozen itself.
    ///
    /// # Errors
    /// When it doesn't.
    pub async fn frozen(&self, holder: &Holder, patience: Duration) -> Result<()> {
        let frozen = try_wait_until(patience, || async { stopped(holder.process.pid()) }).await;
        frozen.map_err(|last| {
            let (name, output) = (&holder.name, holder.process.output());
            let ended = still_runs(name, &holder.process).err();
            ended.unwrap_or_else(|| anyhow::anyhow!("{name} doesn't stand still: {last}\n{output}"))
        })?;
        self.note(LeaseNote::Stopped { holder: holder.name.clone() });
        Ok(())
    }

    /// Lets it go on.
    pub fn thaw(&self, holder: &Holder) {
        self.note(LeaseNote::Continued { holder: holder.name.clone() });
        holder.process.sigcont();
    }

    /// Ends it as a power cut would.
    ///
    /// # Errors
    /// When it had ended by itself.
    pub fn kill(&self, holder: Holder) -> Result<()> {
        let ran = still_runs(&holder.name, &holder.process);
        holder.process.kill_9();
        keep_output(self.directory(), &holder.name, &holder.process);
        self.note(LeaseNote::Ended { holder: holder.name });
        ran
    }

    /// Asks all of them to stop, and waits until they have.
    ///
    /// # Errors
    /// When one doesn't, or ends badly.
    pub async fn stop_all(&self, holders: Vec<Holder>) -> Result<()> {
        for holder in &holders {
            holder.process.sigcont();
            holder.process.sigterm();
        }
        for Holder { name, process, .. } in holders {
            let ended = try_wait_until(STOP_LIMIT, || async { process.exited() }).await;
            keep_output(self.directory(), &name, &process);
            let ended =
                ended.map_err(|_| anyhow::anyhow!("{name} didn't stop:\n{}", process.output()))?;
            self.note(LeaseNote::Ended { holder: name.clone() });
            anyhow::ensure!(ended.success(), "{name} ended with {ended}:\n{}", process.output());
        }
        Ok(())
    }

    /// How many units of all leases have taken effect.
    ///
    /// # Errors
    /// When the database can't be asked.
    pub async fn units_done(&self) -> Result<u64> {
        let statement = "select count(distinct (lease, unit)) from effects";
        let count: i64 = sqlx::query_scalar(statement)
            .fetch_one(&self.pool)
            .await
            .context("counting the effects")?;
        Ok(count.unsigned_abs())
    }

    /// Waits until so many units of all leases have taken effect; false when they don't within `patience`.
    pub async fn done(&self, units: u64, patience: Duration) -> bool {
        let done = try_wait_until(patience, || async {
            let done = self.units_done().await?;
            anyhow::ensure!(done >= units, "{done} of {units}");
            Ok(())
        });
        done.await.is_ok()
    }

    /// All notes so far.
    ///
    /// # Errors
    /// When they can't be read.
    pub fn events(&self) -> Result<Vec<millrace_checker::Event<LeaseNote>>> {
        notes::read_all(self.directory())
    }

    /// Everything that is known about the drill in which `runs` races brought each lease's work to `units`.
    ///
    /// # Errors
    /// When notes or sinks can't be read.
    pub async fn history(&self, runs: usize, units: u64) -> Result<LeaseHistory> {
        let leases = 0..self.leases;
        let asked = leases.flat_map(|number| (0..units).map(move |unit| (number, unit)));
        let asked = asked
            .map(|(number, unit)| Unit {
                sink: EFFECTS.into(),
                lease: format!("work-{number}"),
                unit,
            })
            .collect();
        let effects = "select position, lease, unit, token, holder from effects";
        let register = "select position, lease, unit, token, holder from register_log";
        let mut rows = self.rows(EFFECTS, effects).await?;
        rows.extend(self.rows(REGISTER, register).await?);
        Ok(LeaseHistory::new(self.events()?, LeaseFinals { runs, asked, rows }))
    }

    async fn rows(&self, sink: &str, statement: &'static str) -> Result<Vec<LeaseRow>> {
        let rows: Vec<(i64, String, i64, i64, String)> = sqlx::query_as(statement)
            .fetch_all(&self.pool)
            .await
            .with_context(|| format!("reading {sink}"))?;
        Ok(rows
            .into_iter()
            .map(|(position, lease, unit, token, holder)| {
                let (sink, unit) = (sink.to_owned(), unit.unsigned_abs());
                LeaseRow { sink, position, lease, unit, token, holder }
            })
            .collect())
    }

    /// Judges it.
    ///
    /// # Errors
    /// As [`Ground::history`].
    pub async fn judge(
        &self,
        runs: usize,
        units: u64,
        promises: &LeasePromises,
    ) -> Result<Report<LeaseLedger>> {
        Ok(check(&self.history(runs, units).await?, promises))
    }
}
