//! The measuring process: reads its job, does it once, writes down what it found.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use millrace_common::telemetry;
use tokio::time::timeout;

use crate::job::{Fetch, HandlerKind, Job, Measured, Ready, Telemetry, Work};
use crate::ledger::{Ledger, Marks};
use crate::records::{RecordSet, TOPIC};
use crate::settings::Settings;
use crate::usage::{Mark, resident_bytes_max};
use crate::{bare, http_path, path, produce, product_consumer, relay_backlog, traffic};

/// A measurement that comes to no end is broken, not slow.
pub(crate) const PATIENCE: Duration = Duration::from_secs(240);
/// Before this share of a set is done, connections and caches are still cold.
const WARM_UP_SHARE: u32 = 10;

/// Does the job in the first file and writes what was measured to the second.
pub(crate) async fn run(job: PathBuf, answer: PathBuf, ready: PathBuf) -> Result<()> {
    let job = std::fs::read(&job).with_context(|| format!("reading {}", job.display()))?;
    let job: Job = serde_json::from_slice(&job).context("reading the job")?;
    Mark::check()?;
    let settings = Settings::read(&job.settings)?;
    let telemetry = match job.telemetry {
        Telemetry::Off => None,
        Telemetry::On => Some(telemetry::init("bench", &settings.telemetry)?),
    };
    let measured = measure(&settings, job.work, &Ready(ready)).await?;
    if let Some(telemetry) = telemetry {
        tokio::task::spawn_blocking(move || telemetry.shutdown())
            .await
            .context("ending telemetry")?;
    }
    let text = serde_json::to_vec(&measured).context("writing the answer")?;
    std::fs::write(&answer, text).with_context(|| format!("writing {}", answer.display()))
}

pub(crate) async fn measure(settings: &Settings, work: Work, ready: &Ready) -> Result<Measured> {
    match work {
        Work::ConsumeBare { set, fetch } => consume_bare(settings, &set, fetch).await,
        Work::Consume { set, handler, in_flight } => {
            consume(settings, &set, handler, in_flight).await
        }
        Work::Sleep { in_flight, sleep, span } => {
            sleep_again_and_again(in_flight, sleep, span).await
        }
        Work::Produce { set, by } => produce::measure(&settings.kafka, &set, by).await,
        Work::Relay { set, by, database_url } => {
            relay_backlog::measure(settings, &set, by, &database_url).await
        }
        Work::CommitToConsumer { rate, span, by, database_url } => {
            path::commit_to_consumer(settings, rate, span, by, &database_url).await
        }
        Work::HttpToHandler { rate, span, by, database_url } => {
            http_path::measure(settings, rate, span, by, &database_url).await
        }
        Work::LeaderLost { set, interval, bare_topic } => {
            traffic::leader_lost(settings, &set, interval, &bare_topic, ready).await
        }
        Work::SecondMember { set, interval } => {
            traffic::second_member(settings, &set, interval).await
        }
    }
}

/// The records of a set that are handled before measuring begins.
pub(crate) fn warm_up(set: &RecordSet) -> u32 {
    set.count / WARM_UP_SHARE
}

/// The topic's name on the broker.
pub(crate) fn broker_topic(settings: &Settings) -> String {
    format!("{}{TOPIC}", settings.kafka.topic_prefix)
}

async fn consume_bare(settings: &Settings, set: &RecordSet, fetch: Fetch) -> Result<Measured> {
    let ledger = Ledger::new(set, warm_up(set));
    let consumer = bare::consumer(&settings.kafka, &broker_topic(settings), fetch)?;
    let marks = tokio::select! {
        marks = timeout(PATIENCE, ledger.all_handled()) => marks,
        ended = bare::consume(&consumer, set.form, &ledger) => {
            return Err(ended.err().context("the bare consumer ended")?);
        }
    };
    Ok(measured(marks.ok(), ledger.promise()))
}

async fn consume(
    settings: &Settings,
    set: &RecordSet,
    handler: HandlerKind,
    in_flight: usize,
) -> Result<Measured> {
    let ledger = Arc::new(Ledger::new(set, warm_up(set)));
    let consumption =
        product_consumer::start(&settings.kafka, handler, in_flight, Arc::clone(&ledger))?;
    let marks = timeout(PATIENCE, ledger.all_handled()).await.ok();
    // What would come twice comes before the end of the group's membership at the latest.
    let handler_seconds = consumption.handler_seconds();
    consumption.close().await?;
    let committed = product_consumer::committed(&settings.kafka, &broker_topic(settings)).await?;
    let promise = ledger.promise().and(if committed == u64::from(set.count) {
        Ok(())
    } else {
        Err(format!("{committed} of {} records are committed", set.count))
    });
    Ok(Measured { handler_seconds, ..measured(marks, promise) })
}

/// The books' marks as figures; without marks not everything came.
pub(crate) fn measured(marks: Option<Marks>, promise: Result<(), String>) -> Measured {
    let Some(Marks { start, middle, end, records }) = marks else {
        let broken = promise.err().unwrap_or_else(|| format!("nothing new for {PATIENCE:?}"));
        return Measured { broken: Some(broken), ..Measured::default() };
    };
    Measured {
        messages: records,
        seconds: (end.at - start.at).as_secs_f64(),
        processor_seconds: (end.processor - start.processor).as_secs_f64(),
        resident_bytes: [
            start.resident_bytes,
            middle.resident_bytes,
            end.resident_bytes,
            resident_bytes_max(),
        ],
        broken: promise.err(),
        ..Measured::default()
    }
}

/// A handler without a consumer: what a sleep of that length takes on this runtime when so many run side by side.
async fn sleep_again_and_again(
    in_flight: u32,
    sleep: Duration,
    span: Duration,
) -> Result<Measured> {
    let (tasks, start) = (millrace_common::runtime::Tasks::new(), Mark::now());
    let sleepers = (0..in_flight).map(|number| {
        let (ended, count) = tokio::sync::oneshot::channel();
        tasks.spawn(format!("sleeper {number}"), async move {
            let started = Instant::now();
            let mut sleeps = 0_u64;
            while started.elapsed() < span {
                tokio::time::sleep(sleep).await;
                sleeps += 1;
            }
            // The receiver waits below; nobody is left to tell when it is gone.
            ended.send(sleeps).ok();
        });
        count
    });
    let counts = futures::future::try_join_all(sleepers).await.context("a sleeper ended")?;
    let end = Mark::now();
    let messages: u64 = counts.iter().sum();
    let marks = Marks { start, middle: start, end, records: messages };
    let mut found = measured(Some(marks), Ok(()));
    found.handler_seconds = f64::from(in_flight) / found.rate();
    Ok(found)
}
