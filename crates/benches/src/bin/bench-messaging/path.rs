//! From a committed row to whoever consumes it, at a steady rate.
//!
//! Open loop: each row has a moment at which it is due, whether or not earlier ones have arrived. The first row of
//! each key is the warm-up: all of them must have arrived before the clock starts, so both members of the path have
//! joined, connected and carried something.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use futures::future::try_join_all;
use millrace_common::envelope::Envelope;
use millrace_common::outbox::{OutboxRecord, Relay, RelayWaker, append};
use millrace_common::runtime::{CancellationToken, Clock, Tasks};
use millrace_testkit::try_wait_until;
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};
use uuid::Uuid;

use crate::bare;
use crate::job::{Fetch, HandlerKind, Measured, Side};
use crate::ledger::{Ledger, Marks, Sink};
use crate::poller::Poller;
use crate::product_consumer::{self, Consumption};
use crate::records::{Form, RecordSet, Spread, context, note};
use crate::settings::Settings;
use crate::target::{broker_topic, measured};
use crate::usage::Mark;

/// Keys that take turns; a lane has its own, so each key's rows are committed one after the other.
pub(crate) const KEYS: u32 = 1000;
/// Connections that commit rows side by side.
const LANES: u32 = 8;
const IN_FLIGHT: usize = 64;
const PATIENCE: Duration = Duration::from_secs(60);
const STOP_PATIENCE: Duration = Duration::from_secs(10);

/// The records of one measurement: a turn of all keys to warm up, then `rate` a second.
pub(crate) fn set_of(rate: u32, span: Duration) -> Result<RecordSet> {
    let count = KEYS + rate * u32::try_from(span.as_secs())?;
    Ok(RecordSet { count, keys: KEYS, form: Form::Enveloped, spread: Spread::Turns, seed: 0 })
}

/// When each record arrived, and whether all did.
#[derive(Debug)]
pub(crate) struct Arrivals {
    set: RecordSet,
    ledger: Ledger,
    at: Vec<OnceLock<Instant>>,
}

impl Arrivals {
    pub(crate) fn new(set: RecordSet) -> Arc<Self> {
        let at = (0..set.count).map(|_| OnceLock::new()).collect();
        Arc::new(Self { ledger: Ledger::new(&set, KEYS), at, set })
    }

    /// Waits until the first `count` records have arrived.
    pub(crate) async fn reached(&self, count: u32) -> Result<()> {
        try_wait_until(PATIENCE, || async {
            let arrived = self.ledger.count();
            if arrived >= u64::from(count) { Ok(()) } else { Err(arrived) }
        })
        .await
        .map_err(|arrived| anyhow::anyhow!("{arrived} of {count} records arrived"))
    }

    /// Milliseconds from each moment to the arrival of its record.
    pub(crate) fn latencies_ms(&self, since: &[(u32, Instant)]) -> Vec<f64> {
        let arrived = since.iter().filter_map(|(place, since)| {
            let at = self.at.get(*place as usize)?.get()?;
            Some(at.saturating_duration_since(*since).as_secs_f64() * 1000.0)
        });
        arrived.collect()
    }

    /// What the books say.
    pub(crate) fn promise(&self) -> Result<(), String> {
        self.ledger.promise()
    }
}

impl Sink for Arrivals {
    fn enter(&self, partition: i32, numbers: Result<(u32, u32)>) {
        if let Ok((key, number)) = numbers {
            let place = self.set.place_of_turn(key, number) as usize;
            if let Some(at) = self.at.get(place) {
                at.get_or_init(Instant::now);
            }
        }
        self.ledger.enter(partition, numbers);
    }

    fn handled(&self, records: u64) {
        self.ledger.handled(records);
    }
}

/// What carries rows from the outbox to [`Arrivals`], running.
pub(crate) struct Carriage {
    tasks: Tasks,
    stop: CancellationToken,
    waker: Waker,
    consumption: Option<Consumption>,
}

/// Tells whoever carries rows that there are some.
#[derive(Debug, Clone)]
pub(crate) enum Waker {
    Relay(RelayWaker),
    Poller(Arc<Notify>),
}

impl Waker {
    pub(crate) fn wake(&self) {
        match self {
            Self::Relay(waker) => waker.wake(),
            Self::Poller(waker) => waker.notify_one(),
        }
    }
}

impl Carriage {
    pub(crate) async fn start(
        settings: &Settings,
        by: Side,
        pool: &PgPool,
        database_url: &str,
        arrivals: &Arc<Arrivals>,
    ) -> Result<Self> {
        let (tasks, stop) = (Tasks::new(), CancellationToken::new());
        let arrivals = Arc::clone(arrivals);
        let topic = broker_topic(settings);
        match by {
            Side::Product => {
                let relay = Relay::new(pool, &settings.kafka, settings.outbox.clone(), "bench");
                let waker = Waker::Relay(relay.waker());
                tasks.spawn("relay", relay.run(stop.clone()));
                let handler = HandlerKind::NoOp(Form::Enveloped);
                let consumption =
                    product_consumer::start(&settings.kafka, handler, IN_FLIGHT, arrivals)?;
                Ok(Self { tasks, stop, waker, consumption: Some(consumption) })
            }
            Side::Bare => {
                let poller = Poller::open(&settings.kafka, topic.clone(), database_url).await?;
                let consumer = bare::consumer(&settings.kafka, &topic, Fetch::AsProduct)?;
                let wake = Arc::new(Notify::new());
                let waker = Waker::Poller(Arc::clone(&wake));
                let carrying = stop.clone();
                tasks.spawn("poller", async move {
                    let ended = carrying.run_until_cancelled(poller.run(&wake)).await;
                    assert!(ended.is_none(), "the poller ended: {ended:?}");
                });
                let reading = stop.clone();
                tasks.spawn("bare consumer", async move {
                    let read = bare::consume(&consumer, Form::Enveloped, &*arrivals);
                    let ended = reading.run_until_cancelled(read).await;
                    assert!(ended.is_none(), "the bare consumer ended: {ended:?}");
                });
                Ok(Self { tasks, stop, waker, consumption: None })
            }
        }
    }

    pub(crate) fn waker(&self) -> Waker {
        self.waker.clone()
    }

    /// Ends everything; fails when something did not end well.
    pub(crate) async fn close(self) -> Result<()> {
        if let Some(consumption) = self.consumption {
            consumption.close().await?;
        }
        self.stop.cancel();
        let left = self.tasks.wait(STOP_PATIENCE).await;
        ensure!(left.is_empty(), "tasks did not end: {left:?}");
        ensure!(self.tasks.panicked().is_empty(), "tasks panicked: {:?}", self.tasks.panicked());
        Ok(())
    }
}

/// Connections for those who write rows, all open before the clock starts.
pub(crate) async fn pool(database_url: &str, connections: u32) -> Result<PgPool> {
    let options = PgPoolOptions::new().max_connections(connections).min_connections(connections);
    let pool = options.connect(database_url).await.context("connecting")?;
    let held = try_join_all((0..connections).map(|_| pool.acquire())).await;
    drop(held.context("opening all connections")?);
    Ok(pool)
}

/// The outbox row of one record.
pub(crate) fn row(key: u32, number: u32) -> Result<OutboxRecord> {
    let now_ms = Clock::system().now_ms();
    let envelope = Envelope::new(Uuid::now_v7(), "bench", now_ms, note(key, number));
    OutboxRecord::of_envelope(&envelope, &context(key, number)).context("making a row")
}

/// Runs `act` for the place of each record from `places` that belongs to `lane` of `lanes`, when it is due.
pub(crate) async fn lane<F>(
    set: RecordSet,
    (lane, lanes): (u32, u32),
    start: Instant,
    rate: u32,
    mut act: impl FnMut(u32, u32, u32, Instant) -> F,
) -> Result<Vec<(u32, Instant)>>
where
    F: Future<Output = Result<Instant>>,
{
    let mut moments = Vec::new();
    let records = (0..set.count).zip(set.numbered());
    for (place, (key, number)) in records.skip(KEYS as usize) {
        if key % lanes == lane {
            let due = start + Duration::from_secs(1) / rate * (place - KEYS);
            sleep_until(due).await;
            moments.push((place, act(place, key, number, due).await?));
        }
    }
    Ok(moments)
}

/// Rows are committed at `rate`; latency counts from the commit's answer.
pub(crate) async fn commit_to_consumer(
    settings: &Settings,
    rate: u32,
    span: Duration,
    by: Side,
    database_url: &str,
) -> Result<Measured> {
    let set = set_of(rate, span)?;
    let arrivals = Arrivals::new(set);
    let pool = pool(database_url, LANES).await?;
    let carriage = Carriage::start(settings, by, &pool, database_url, &arrivals).await?;
    let waker = carriage.waker();
    let commit = |key: u32, number: u32| {
        let (pool, waker) = (&pool, &waker);
        async move {
            let row = row(key, number)?;
            let mut connection = pool.acquire().await.context("taking a connection")?;
            append(&mut connection, &[row]).await.context("committing a row")?;
            let committed = Instant::now();
            waker.wake();
            anyhow::Ok(committed)
        }
    };
    for (key, number) in set.numbered().take(KEYS as usize) {
        commit(key, number).await?;
    }
    arrivals.reached(KEYS).await?;
    let (start, start_mark) = (Instant::now(), Mark::now());
    let lanes = (0..LANES).map(|number| {
        lane(set, (number, LANES), start, rate, |_, key, number, _| commit(key, number))
    });
    let committed = try_join_all(lanes).await?.concat();
    arrivals.reached(set.count).await?;
    let end = Mark::now();
    carriage.close().await?;
    let records = u64::from(set.count - KEYS);
    let marks = Marks { start: start_mark, middle: start_mark, end, records };
    let latencies_ms = arrivals.latencies_ms(&committed);
    Ok(Measured { latencies_ms, ..measured(Some(marks), arrivals.promise()) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_latency_counts_from_the_moment_given_to_the_arrival() {
        let set = set_of(1000, Duration::from_secs(1)).unwrap();
        let arrivals = Arrivals::new(set);
        let before = Instant::now();
        for numbers in set.numbered() {
            arrivals.enter(0, Ok(numbers));
            arrivals.handled(1);
        }
        assert_eq!(arrivals.promise(), Ok(()));
        let since = [(KEYS, before), (KEYS + 1, before + Duration::from_secs(60))];
        let latencies = arrivals.latencies_ms(&since);
        assert!(latencies[0] > 0.0 && latencies[1].abs() < f64::EPSILON, "{latencies:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn every_record_behind_the_warm_up_is_acted_on_once_by_its_lane() {
        let set = set_of(1000, Duration::from_secs(2)).unwrap();
        let start = Instant::now();
        let lanes = (0..LANES).map(|number| {
            lane(set, (number, LANES), start, 1000, |_, _, _, due| async move { Ok(due) })
        });
        let mut moments = try_join_all(lanes).await.unwrap().concat();
        moments.sort();
        let places: Vec<u32> = moments.iter().map(|(place, _)| *place).collect();
        assert_eq!(places, (KEYS..set.count).collect::<Vec<_>>());
        assert_eq!(moments.last().unwrap().1 - start, Duration::from_micros(1_999_000));
    }
}
