//! Steady traffic while something happens to it, and the longest time in which nothing arrived.
//!
//! A leader's loss: records are sent one after the other through the product to a topic of one partition, and the
//! product's consumer receives them; beside it a bare producer sends to a partition that the same broker leads. Whoever
//! measures breaks the broker once both flow. A second member: one consumer owns all partitions of a flowing topic
//! when another joins its group; what counts are the partitions that stay where they are.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use millrace_common::messaging::{
    OverflowPolicy, Producer, ProducerProfile, ProducerQueue, QueueOptions,
};
use millrace_common::runtime::{CancellationToken, Clock};
use millrace_testkit::try_wait_until;
use rdkafka::ClientContext;
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{ProducerContext, ThreadedProducer};
use tokio::time::Instant;

use crate::bare::{self, BareMessage};
use crate::job::{HandlerKind, Measured, Ready};
use crate::ledger::{Ledger, Sink};
use crate::product_consumer::{self, Consumption};
use crate::records::{Form, RecordSet, enveloped, key_text, raw_value};
use crate::settings::Settings;

/// The longest that a fault may stop the traffic before the measurement is given up.
const PATIENCE: Duration = Duration::from_secs(120);
/// How long both sides must flow before the fault, and go on after it.
const CALM: Duration = Duration::from_secs(2);
const IN_FLIGHT: usize = 64;

/// When records arrived, by partition.
#[derive(Debug)]
pub(crate) struct Log {
    ledger: Arc<Ledger>,
    arrivals: Mutex<Vec<(i32, Instant)>>,
}

impl Log {
    /// A log beside books that other logs share.
    fn new(ledger: &Arc<Ledger>) -> Arc<Self> {
        Arc::new(Self { ledger: Arc::clone(ledger), arrivals: Mutex::default() })
    }

    fn arrivals(&self) -> Vec<(i32, Instant)> {
        self.arrivals.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Sink for Log {
    fn enter(&self, partition: i32, numbers: Result<(u32, u32)>) {
        self.arrivals
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push((partition, Instant::now()));
        self.ledger.enter(partition, numbers);
    }

    fn handled(&self, records: u64) {
        self.ledger.handled(records);
    }
}

/// Sends the set at a steady rate through the product's queue until it is sent; looks at each tick whether something
/// was acknowledged.
async fn send_set(
    settings: &Settings,
    set: RecordSet,
    interval: Duration,
    acknowledged: &Acknowledged,
    sent: &CancellationToken,
) -> Result<()> {
    let producer = Producer::new(&settings.kafka, ProducerProfile::Durable)?;
    let policy = OverflowPolicy::Block { deadline: PATIENCE };
    let options = QueueOptions::new("bench", policy, &settings.kafka);
    let queue = ProducerQueue::start(&producer, options, drop).context("starting the queue")?;
    let clock = Clock::system();
    let (mut ticks, mut delivered) = (tokio::time::interval(interval), 0);
    for (key, number) in set.numbered() {
        ticks.tick().await;
        let now_delivered = queue.counts().delivered;
        if std::mem::replace(&mut delivered, now_delivered) < now_delivered {
            acknowledged.now();
        }
        let record = enveloped(key, number, clock.now_ms())?;
        queue.offer_within(record, PATIENCE).await?;
    }
    ensure!(queue.flush(PATIENCE).await, "not all was delivered: {:?}", queue.counts());
    let counts = queue.counts();
    ensure!(counts.delivered == counts.accepted, "not all was delivered: {counts:?}");
    acknowledged.now();
    sent.cancel();
    Ok(())
}

/// A leader's loss: `latencies_ms` are the longest gap of the product's consumption, of the bare producer's
/// acknowledgements and of the product's, in this order.
pub(crate) async fn leader_lost(
    settings: &Settings,
    set: &RecordSet,
    interval: Duration,
    bare_topic: &str,
    ready: &Ready,
) -> Result<Measured> {
    let ledger = Arc::new(Ledger::new(set, 1));
    let log = Log::new(&ledger);
    let handler = HandlerKind::NoOp(Form::Enveloped);
    let consumption =
        product_consumer::start(&settings.kafka, handler, IN_FLIGHT, Arc::clone(&log))?;
    consumption.joined().await?;
    let sent = CancellationToken::new();
    let (acknowledged, product_acknowledged) = (Acknowledged::default(), Acknowledged::default());
    let broken = async {
        flowing(&log, Instant::now()).await?;
        tokio::time::sleep(CALM).await;
        ready.say()?;
        anyhow::Ok(Instant::now())
    };
    // Each of them would go on for ever beside one that failed.
    let ((), (), since) = tokio::try_join!(
        send_set(settings, *set, interval, &product_acknowledged, &sent),
        send_bare(settings, bare_topic, interval, &acknowledged, &sent),
        broken,
    )?;
    all_arrived(&ledger).await;
    consumption.close().await?;
    let gaps = [
        longest_gap(log.arrivals().into_iter().map(|(_, at)| at), since),
        longest_gap(acknowledged.times(), since),
        longest_gap(product_acknowledged.times(), since),
    ];
    ensure!(gaps[1] > 20 * interval, "the loss came when everything was sent: {gaps:?}");
    Ok(in_milliseconds(&gaps, &ledger))
}

/// A second member joins: `latencies_ms` are the longest gaps of the partitions that stayed with the first.
pub(crate) async fn second_member(
    settings: &Settings,
    set: &RecordSet,
    interval: Duration,
) -> Result<Measured> {
    let ledger = Arc::new(Ledger::new(set, 1));
    let (first_log, second_log) = (Log::new(&ledger), Log::new(&ledger));
    let start = |log: &Arc<Log>| -> Result<Consumption> {
        let handler = HandlerKind::NoOp(Form::Enveloped);
        product_consumer::start(&settings.kafka, handler, IN_FLIGHT, Arc::clone(log))
    };
    let first = start(&first_log)?;
    let (acknowledged, sent) = (Acknowledged::default(), CancellationToken::new());
    let joined = async {
        flowing(&first_log, Instant::now()).await?;
        tokio::time::sleep(CALM).await;
        let since = Instant::now();
        let second = start(&second_log)?;
        flowing(&second_log, since).await?;
        anyhow::Ok((second, since))
    };
    let ((), (second, since)) =
        tokio::try_join!(send_set(settings, *set, interval, &acknowledged, &sent), joined)?;
    all_arrived(&ledger).await;
    let (first_arrivals, second_arrivals) = (first_log.arrivals(), second_log.arrivals());
    first.close().await?;
    second.close().await?;
    let gaps = untouched_gaps(&first_arrivals, &second_arrivals, since);
    ensure!(!gaps.is_empty(), "no partition stayed with the first member");
    Ok(in_milliseconds(&gaps, &ledger))
}

/// Waits until something has arrived since then.
async fn flowing(log: &Log, since: Instant) -> Result<()> {
    try_wait_until(PATIENCE, || async { log.arrivals().last().is_some_and(|(_, at)| *at > since) })
        .await
        .map_err(|_| anyhow::anyhow!("nothing arrived within {PATIENCE:?}"))
}

/// Waits for the last record of every key; what is missing is told by the books.
async fn all_arrived(ledger: &Ledger) {
    drop(try_wait_until(PATIENCE, || async { ledger.unfinished_keys() == 0 }).await);
}

fn in_milliseconds(gaps: &[Duration], ledger: &Ledger) -> Measured {
    Measured {
        messages: ledger.count(),
        repeats: ledger.repeats(),
        latencies_ms: gaps.iter().map(|gap| gap.as_secs_f64() * 1000.0).collect(),
        broken: ledger.promise_at_least_once().err(),
        ..Measured::default()
    }
}

/// The longest time between two arrivals of which the later is behind `since`.
fn longest_gap(times: impl IntoIterator<Item = Instant>, since: Instant) -> Duration {
    let mut times: Vec<Instant> = times.into_iter().collect();
    times.sort();
    let pairs = times.windows(2).filter(|pair| pair[1] > since);
    pairs.map(|pair| pair[1] - pair[0]).max().unwrap_or_default()
}

/// The longest gap of each partition that the second member never had.
fn untouched_gaps(
    first: &[(i32, Instant)],
    second: &[(i32, Instant)],
    since: Instant,
) -> Vec<Duration> {
    let mut stayed: Vec<i32> = first.iter().map(|(partition, _)| *partition).collect();
    stayed.sort_unstable();
    stayed.dedup();
    stayed.retain(|partition| second.iter().all(|(taken, _)| taken != partition));
    let times = |wanted: i32| {
        first.iter().filter(move |(partition, _)| *partition == wanted).map(|(_, at)| *at)
    };
    stayed.into_iter().map(|partition| longest_gap(times(partition), since)).collect()
}

/// When a producer's records were acknowledged.
#[derive(Debug, Clone, Default)]
struct Acknowledged(Arc<Mutex<Vec<Instant>>>);

impl Acknowledged {
    fn times(&self) -> Vec<Instant> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn now(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(Instant::now());
    }
}

impl ClientContext for Acknowledged {}

impl ProducerContext for Acknowledged {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        // A record that fails is a gap that goes on.
        if result.is_ok() {
            self.now();
        }
    }
}

/// Sends raw records at a steady rate until the product's side has sent all.
async fn send_bare(
    settings: &Settings,
    topic: &str,
    interval: Duration,
    acknowledged: &Acknowledged,
    sent: &CancellationToken,
) -> Result<()> {
    let producer: ThreadedProducer<Acknowledged> =
        bare::producer_with(&settings.kafka, acknowledged.clone())?;
    let (mut ticks, key) = (tokio::time::interval(interval), key_text(0));
    for number in 1.. {
        if sent.run_until_cancelled(ticks.tick()).await.is_none() {
            break;
        }
        let value = raw_value(0, number);
        let message = BareMessage { topic, key: key.as_bytes(), value: &value, headers: &[] };
        bare::send(&producer, message).await?;
    }
    // Cut off here, its last gap is at least so long.
    acknowledged.now();
    // Its drop waits for its thread.
    tokio::task::spawn_blocking(move || drop(producer)).await.context("closing the producer")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(start: Instant, milliseconds: u64) -> Instant {
        start + Duration::from_millis(milliseconds)
    }

    #[tokio::test]
    async fn the_longest_gap_ends_behind_the_fault() {
        let start = Instant::now();
        let times = [0, 900, 1000, 1010, 1410, 1420].map(|ms| at(start, ms));
        // The longest of all was over before.
        assert_eq!(longest_gap(times, at(start, 1000)), Duration::from_millis(400));
        assert_eq!(longest_gap(times, at(start, 5000)), Duration::ZERO);
    }

    #[tokio::test]
    async fn only_partitions_that_stayed_count() {
        let start = Instant::now();
        let first: Vec<_> = [(0, 0), (0, 100), (0, 350), (1, 0), (1, 2000)]
            .map(|(p, ms)| (p, at(start, ms)))
            .into();
        let second = [(1, at(start, 500))];
        assert_eq!(untouched_gaps(&first, &second, start), [Duration::from_millis(250)]);
    }

    #[tokio::test]
    async fn a_log_keeps_the_books_too() {
        let spread = crate::records::Spread::Even;
        let set = RecordSet { count: 10, keys: 2, form: Form::Enveloped, spread, seed: 1 };
        let ledger = Arc::new(Ledger::new(&set, 1));
        let log = Log::new(&ledger);
        for numbers in set.numbered() {
            log.enter(3, Ok(numbers));
            log.handled(1);
        }
        assert_eq!(ledger.promise(), Ok(()));
        assert!(log.arrivals().len() == 10 && log.arrivals().iter().all(|(p, _)| *p == 3));
    }
}
