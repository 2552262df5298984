//! What one measuring process is told to do, and what it answers.
//!
//! Each side of each round runs in a process of its own: telemetry starts once per process, peak memory belongs to one
//! measurement, and no thread of the side before is left over. The job travels as a file, the answer as another,
//! because standard output belongs to the log lines.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use millrace_testkit::launch::{Launch, Lifetime, Running};
use millrace_testkit::try_wait_until;
use nix::sys::signal::Signal;
use serde::{Deserialize, Serialize};

use crate::records::{Form, RecordSet};

/// The word on the command line that makes this program a measuring process.
pub(crate) const TARGET_COMMAND: &str = "target";
const LOG_LINES_TOLD: usize = 20;

/// One measurement.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Job {
    /// Settings that differ from the defaults, as `(KAFKA__BROKERS, value)`.
    pub(crate) settings: Vec<(String, String)>,
    pub(crate) telemetry: Telemetry,
    pub(crate) work: Work,
}

/// Whether the process logs and traces.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Telemetry {
    /// Never started: spans have no subscriber.
    Off,
    /// Started with the settings.
    On,
}

/// What is measured.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum Work {
    /// A bare stream consumer reads a set from the topic.
    ConsumeBare { set: RecordSet, fetch: Fetch },
    /// The product's consumer hands a set to a handler.
    Consume { set: RecordSet, handler: HandlerKind, in_flight: usize },
    /// So many tasks sleep again and again: what a handler of that length takes when nothing is around it.
    Sleep { in_flight: u32, sleep: Duration, span: Duration },
    /// A set is produced.
    Produce { set: RecordSet, by: ProducedBy },
    /// The outbox's rows are carried to the broker until it is empty.
    Relay { set: RecordSet, by: Side, database_url: String },
    /// Rows are committed at a steady rate and received from the broker.
    CommitToConsumer { rate: u32, span: Duration, by: Side, database_url: String },
    /// Requests come at a steady rate, each writes a row, and a handler receives its record.
    HttpToHandler { rate: u32, span: Duration, by: Side, database_url: String },
    /// Records flow while their leader is lost; a bare producer's flow beside them.
    LeaderLost { set: RecordSet, interval: Duration, bare_topic: String },
    /// Records flow while a second member joins.
    SecondMember { set: RecordSet, interval: Duration },
}

/// Which side of a ratio.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Side {
    Product,
    Bare,
}

/// How a bare consumer fetches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Fetch {
    /// As the product's consumer does.
    AsProduct,
    /// As the client library does by itself.
    AsLibrary,
}

/// What is done with a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum HandlerKind {
    /// Nothing but the check, a call for each record.
    NoOp(Form),
    /// Nothing but the check, a call for each batch.
    NoOpBatch(Form),
    /// It sleeps.
    Sleep(Duration),
}

impl HandlerKind {
    /// How the records look that it takes.
    pub(crate) fn form(self) -> Form {
        match self {
            Self::NoOp(form) | Self::NoOpBatch(form) => form,
            Self::Sleep(_) => Form::Enveloped,
        }
    }
}

/// Who produces.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum ProducedBy {
    /// The bare threaded producer, whose callback counts.
    BareThreaded,
    /// The product's queue.
    Queue,
    /// The bare future producer, whose futures are awaited one by one.
    BareFutures,
    /// The product's awaited batches.
    Awaited,
}

/// What was measured between the end of the warm-up and the last record.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Measured {
    pub(crate) messages: u64,
    pub(crate) seconds: f64,
    pub(crate) processor_seconds: f64,
    /// Memory when the warm-up ended, half-way, at the last record, and the most ever.
    pub(crate) resident_bytes: [u64; 4],
    /// What one handler call took at the mean; 0 where nobody asked.
    pub(crate) handler_seconds: f64,
    /// One of each message, where latency is what is measured.
    pub(crate) latencies_ms: Vec<f64>,
    /// Records that came again, where a fault allows it.
    pub(crate) repeats: u64,
    /// The promise that did not hold.
    pub(crate) broken: Option<String>,
}

impl Measured {
    pub(crate) fn rate(&self) -> f64 {
        count(self.messages) / self.seconds
    }

    pub(crate) fn processor_micros_per_message(&self) -> f64 {
        self.processor_seconds * 1e6 / count(self.messages)
    }
}

/// A count as a number to divide by.
pub(crate) fn count(records: u64) -> f64 {
    millrace_benches::statistics::of(usize::try_from(records).unwrap_or(usize::MAX))
}

/// How long a measuring process may take; longer than its own patience, so that it says itself what is wrong.
const ANSWER_LIMIT: Duration = Duration::from_secs(300);

/// A measuring process at work. Dropping it ends it.
pub(crate) struct Process {
    running: Mutex<Running>,
    files: Files,
}

/// Starts this program as the job's process.
pub(crate) fn start(job: &Job, directory: &Path) -> Result<Process> {
    let files = Files::in_directory(directory);
    std::fs::write(&files.job, serde_json::to_vec(job).context("writing the job")?)
        .context("writing the job")?;
    for old in [&files.answer, &files.ready, &files.log] {
        // Left by the measurement before.
        if old.exists() {
            std::fs::remove_file(old).context("removing what the last measurement left")?;
        }
    }
    let program = std::env::current_exe().context("asking for this program's own path")?;
    let running = Launch::new(program, &files.log, Lifetime::WithParent(Signal::SIGKILL))
        .arg(TARGET_COMMAND)
        .args(files.arguments().map(|file| file.display().to_string()))
        .start()?;
    Ok(Process { running: Mutex::new(running), files })
}

impl Process {
    /// Waits until the process says that the fault may come.
    pub(crate) async fn ready(&self) -> Result<()> {
        self.wait("readiness", || self.files.ready.exists()).await
    }

    /// Waits for the process's end and its answer.
    pub(crate) async fn answer(&self) -> Result<Measured> {
        self.wait("answer", || false).await?;
        let answer = std::fs::read(&self.files.answer).context("reading the answer")?;
        serde_json::from_slice(&answer).context("reading the answer")
    }

    /// Waits until `seen`, or until the process has ended well.
    async fn wait(&self, what: &str, seen: impl Fn() -> bool) -> Result<()> {
        let waited = try_wait_until(ANSWER_LIMIT, || async {
            if seen() { Some(None) } else { self.lock().ended().map(Some) }
        });
        match waited.await {
            Ok(None) => Ok(()),
            Ok(Some(status)) if status.success() => Ok(()),
            Ok(Some(status)) => bail!("the process ended with {status}:\n{}", self.tail()),
            Err(_) => bail!("no {what} within {ANSWER_LIMIT:?}:\n{}", self.tail()),
        }
    }

    fn tail(&self) -> String {
        self.lock().log_tail(LOG_LINES_TOLD)
    }

    // A std mutex: held for a look, never over an await.
    fn lock(&self) -> MutexGuard<'_, Running> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.lock().stop(Signal::SIGKILL, Duration::ZERO);
    }
}

/// Where a measuring process says that it is ready.
#[derive(Debug)]
pub(crate) struct Ready(pub(crate) PathBuf);

impl Ready {
    pub(crate) fn say(&self) -> Result<()> {
        std::fs::write(&self.0, "").with_context(|| format!("writing {}", self.0.display()))
    }
}

struct Files {
    job: PathBuf,
    answer: PathBuf,
    ready: PathBuf,
    log: PathBuf,
}

impl Files {
    fn in_directory(directory: &Path) -> Self {
        let file = |name: &str| directory.join(name);
        Self {
            job: file("job.json"),
            answer: file("answer.json"),
            ready: file("ready"),
            log: file("process.log"),
        }
    }

    /// In the order of the command line.
    fn arguments(&self) -> [&PathBuf; 3] {
        [&self.job, &self.answer, &self.ready]
    }
}
