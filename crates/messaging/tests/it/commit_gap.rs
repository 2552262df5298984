//! How long after its end a record is committed, judged by the history: when each record finished, and what the
//! coordinator had at each look.
//!
//! Promised is a second while the coordinator answers. So a look that takes long proves that it doesn't, and its time
//! is added to what is allowed, as is the time for which this process itself was not let run. And what one look has, all
//! later ones have: a plain commit that crosses a transaction with letters would undo it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use base64::Engine as _;
use millrace_messaging::HandlerError;
use millrace_testkit::{Stack, TestTopics, TopicSpec, wait_until};
use rdkafka::TopicPartitionList;
use rdkafka::consumer::{BaseConsumer, Consumer as _};

use crate::harness::{Depot, GROUP, Member, NO_ADDRESS, SOON, Seen, TOPIC};

const PARTITIONS: i32 = 2;
const WINDOW: Duration = Duration::from_secs(1);
const LOOK: Duration = Duration::from_millis(20);
const TICK: Duration = Duration::from_millis(5);
/// A tick that comes later than that tells of a process that was not let run.
const TICK_LATE: Duration = Duration::from_millis(25);

type Place = (i32, i64);

/// When each record finished, and which ones were given up instead.
#[derive(Debug, Clone, Default)]
struct Ends {
    finished: Arc<Mutex<BTreeMap<Place, Instant>>>,
    given_up: Arc<Mutex<BTreeSet<Place>>>,
}

impl Ends {
    fn finished(&self) -> BTreeMap<Place, Instant> {
        self.finished.lock().unwrap().clone()
    }

    fn given_up(&self) -> usize {
        self.given_up.lock().unwrap().len()
    }
}

/// What the coordinator had at one moment.
#[derive(Debug)]
struct Look {
    asked: Instant,
    told: Instant,
    /// By partition the offset, and from there on what is finished.
    committed: BTreeMap<i32, (i64, Vec<bool>)>,
}

impl Look {
    fn has(&self, (partition, offset): Place) -> bool {
        self.committed.get(&partition).is_some_and(|(base, map)| {
            let position = usize::try_from(offset - base);
            position.map_or(true, |position| map.get(position).copied().unwrap_or(false))
        })
    }

    /// All that it has of a partition.
    fn all(&self, partition: i32) -> impl Iterator<Item = Place> {
        let end = self
            .committed
            .get(&partition)
            .map_or(0, |(base, map)| base + i64::try_from(map.len()).unwrap());
        (0..end).map(move |offset| (partition, offset)).filter(|place| self.has(*place))
    }
}

/// When this process stood still, from and until.
type Standstills = Vec<(Instant, Instant)>;

/// Looks at what is committed, all the time; and ticks, which shows when this process stands still.
struct Watch {
    over: Arc<AtomicBool>,
    looks: JoinHandle<Vec<Look>>,
    ticks: JoinHandle<Standstills>,
}

/// Ticks until told to end. What it needs is less than what the consumer needs, so when it is late so is all else.
fn ticking(over: &Arc<AtomicBool>) -> JoinHandle<Standstills> {
    let over = Arc::clone(over);
    std::thread::spawn(move || {
        let (mut standstills, mut last) = (Standstills::new(), Instant::now());
        while !over.load(Ordering::SeqCst) {
            std::thread::park_timeout(TICK);
            let now = Instant::now();
            if now - last > TICK_LATE {
                standstills.push((last, now));
            }
            last = now;
        }
        standstills
    })
}

/// For how long this process stood still between two moments.
fn stood_still(standstills: &Standstills, from: Instant, until: Instant) -> Duration {
    let between = standstills
        .iter()
        .map(|(began, ended)| (*ended).min(until).saturating_duration_since((*began).max(from)));
    between.sum()
}

impl Watch {
    fn start(depot: &Depot) -> Self {
        Self::through(depot, depot.stack.addresses().kafka_port)
    }

    fn through(depot: &Depot, port: u16) -> Self {
        let mut config = millrace_testkit::kafka::client(port);
        config
            .set("group.id", format!("{GROUP}{}", depot.namespace.group_suffix))
            // Else the coordinator keeps back what an open transaction may change.
            .set("isolation.level", "read_uncommitted");
        let (topic, over) = (depot.topic(), Arc::new(AtomicBool::new(false)));
        let (ends, ticks) = (Arc::clone(&over), ticking(&over));
        let looks = std::thread::spawn(move || {
            let consumer: BaseConsumer = config.create().unwrap();
            let mut looks = Vec::new();
            while !ends.load(Ordering::SeqCst) {
                let mut list = TopicPartitionList::new();
                for partition in 0..PARTITIONS {
                    list.add_partition(&topic, partition);
                }
                let asked = Instant::now();
                // A broker that stands still may be given up by the client; it is asked again.
                let found = loop {
                    match consumer.committed_offsets(list.clone(), SOON) {
                        Ok(found) => break found,
                        Err(error) => assert!(asked.elapsed() < SOON, "{error}"),
                    }
                };
                let told = Instant::now();
                let known = found.elements().into_iter().filter_map(|element| {
                    let offset = element.offset().to_raw().filter(|raw| *raw >= 0)?;
                    Some((element.partition(), (offset, map(element.metadata()))))
                });
                looks.push(Look { asked, told, committed: known.collect() });
                std::thread::park_timeout(LOOK);
            }
            looks
        });
        Self { over, looks, ticks }
    }

    fn end(self) -> (Vec<Look>, Standstills) {
        self.over.store(true, Ordering::SeqCst);
        (self.looks.join().unwrap(), self.ticks.join().unwrap())
    }
}

/// Parallel Consumer's format, as docs/delivery-guarantees.md tells it.
pub(crate) fn map(metadata: &str) -> Vec<bool> {
    let bytes = base64::engine::general_purpose::STANDARD.decode(metadata).unwrap();
    let Some((magic, rest)) = bytes.split_first() else { return Vec::new() };
    let plain = match magic {
        b'p' | b's' => zstd::decode_all(rest).unwrap(),
        _ => rest.to_vec(),
    };
    let number = |bytes: &[u8]| usize::try_from(i32::from_be_bytes(bytes.try_into().unwrap()));
    if let b'e' | b'p' = magic {
        let runs = plain.chunks(4).map(|length| number(length).unwrap()).enumerate();
        return runs.flat_map(|(run, length)| vec![run % 2 == 1; length]).collect();
    }
    let (count, bits) = plain.split_at(4);
    (0..number(count).unwrap()).map(|at| bits[at / 8] >> (at % 8) & 1 == 1).collect()
}

/// Gives up what shall get a letter, and finishes all else at once.
fn member(depot: &Depot, ends: &Ends, gives_up: fn(&Seen) -> bool) -> Member {
    let ends = ends.clone();
    depot.member(move |seen| {
        let ends = ends.clone();
        async move {
            let place = (seen[0].partition, seen[0].offset);
            if gives_up(&seen[0]) {
                ends.given_up.lock().unwrap().insert(place);
                return Err(HandlerError::permanent(&NO_ADDRESS, "it has none"));
            }
            ends.finished.lock().unwrap().entry(place).or_insert_with(Instant::now);
            Ok(())
        }
    })
}

fn every_third(seen: &Seen) -> bool {
    seen.number.is_multiple_of(3)
}

/// Sends at an even rate, each record under a key of its own.
async fn feed(depot: &Depot, from: u32, beats: u32) -> u32 {
    const BEAT_RECORDS: u32 = 12;
    let mut beat = tokio::time::interval(Duration::from_millis(50));
    for at in 0..beats {
        beat.tick().await;
        let numbers = (from + at * BEAT_RECORDS)..(from + (at + 1) * BEAT_RECORDS);
        let parcels: Vec<(String, u32)> = numbers.map(|n| (format!("p{n}"), n)).collect();
        let parcels: Vec<(&str, u32)> = parcels.iter().map(|(id, n)| (id.as_str(), *n)).collect();
        depot.send(&parcels).await;
    }
    from + beats * BEAT_RECORDS
}

/// Looks for every record that finished at the first look that had it. `silence` says for how long the coordinator was
/// silent in the time between, in the partition.
fn judge(
    ends: &Ends,
    (looks, standstills): &(Vec<Look>, Standstills),
    silence: impl Fn(i32, Instant, Instant) -> Duration,
) {
    nothing_was_undone(looks);
    for (place, end) in ends.finished() {
        let first = looks.iter().find(|look| look.has(place));
        let first = first.unwrap_or_else(|| panic!("{place:?} is not committed"));
        let gap = first.told.saturating_duration_since(end);
        let silence = silence(place.0, end, first.told);
        let still = stood_still(standstills, end, first.told);
        assert!(
            gap <= WINDOW + silence + still,
            "{place:?} was committed {gap:?} after its end; the coordinator was silent for {silence:?}, and this \
             process for {still:?}"
        );
    }
}

/// The slowest answer between two moments.
fn slowest(looks: &[Look], from: Instant, until: Instant) -> Duration {
    let between = looks.iter().filter(|look| look.told >= from && look.asked <= until);
    between.map(|look| look.told - look.asked).max().unwrap_or_default()
}

fn nothing_was_undone(looks: &[Look]) {
    for pair in looks.windows(2) {
        for partition in 0..PARTITIONS {
            let undone: Vec<Place> =
                pair[0].all(partition).filter(|place| !pair[1].has(*place)).collect();
            assert_eq!(undone, [], "committed, and then not any more");
        }
    }
}

async fn everything_is_done(depot: &Depot, ends: &Ends, sent: u32) {
    let sent = usize::try_from(sent).unwrap();
    wait_until("all have come to an end", SOON, || async {
        let ended = ends.finished().len() + ends.given_up();
        if ended == sent { Ok(()) } else { Err((ended, sent)) }
    })
    .await;
    let letters = ends.given_up();
    let access = depot.stack.access();
    wait_until("every letter is there, once", SOON, || async {
        let log = access.log(&depot.dead_letter_topic(), 0).await;
        let seen = log.iter().filter(|entry| !entry.control && !entry.aborted).count();
        assert!(seen <= letters, "{seen} letters of {letters}");
        if seen == letters { Ok(()) } else { Err((seen, letters)) }
    })
    .await;
    for partition in 0..PARTITIONS {
        let end = access.log_end(&depot.topic(), partition).await.unwrap();
        wait_until("all is committed", SOON, || async {
            let committed = depot.committed(partition).await;
            if committed == Some(end) { Ok(()) } else { Err((committed, end)) }
        })
        .await;
    }
}

/// A depot whose broker nobody else uses.
async fn alone() -> (Depot, TestTopics) {
    let stack: &'static Stack = Box::leak(Box::new(Stack::private().await.unwrap()));
    let namespace = stack.namespace();
    let dead = TOPIC.dead_letter(GROUP);
    let specs = [TopicSpec::new(TOPIC.as_str(), PARTITIONS), TopicSpec::new(dead.as_str(), 1)];
    let topics = stack.topics(&namespace, &specs).await;
    (Depot::closed(stack, namespace), topics)
}

fn prepared(mut depot: Depot) -> Depot {
    depot.settings.batch_records_max = 1;
    depot.settings.commit_interval = Duration::from_millis(500);
    depot.settings.revoke_timeout = Duration::from_millis(500);
    depot
}

#[tokio::test]
async fn a_flood_of_letters_keeps_no_finished_record_from_being_committed_within_a_second() {
    let depot = prepared(Depot::open(PARTITIONS).await);
    let (ends, watch) = (Ends::default(), Watch::start(&depot));
    let member = member(&depot, &ends, every_third);
    let sent = feed(&depot, 0, 60).await;
    everything_is_done(&depot, &ends, sent).await;
    let seen = watch.end();
    // A transaction's two answers may be waited for, and then the commit's.
    judge(&ends, &seen, |_, from, until| slowest(&seen.0, from, until) * 3);
    member.leave().await;
}

#[tokio::test]
async fn a_plain_commit_never_undoes_what_a_transaction_with_letters_has_committed() {
    let mut depot = prepared(Depot::open(PARTITIONS).await);
    // As often as it goes, so that many would cross.
    depot.settings.commit_interval = Duration::from_millis(5);
    let (ends, watch) = (Ends::default(), Watch::start(&depot));
    let member = member(&depot, &ends, every_third);
    let sent = feed(&depot, 0, 60).await;
    everything_is_done(&depot, &ends, sent).await;
    nothing_was_undone(&watch.end().0);
    member.leave().await;
}

#[tokio::test]
async fn transactions_over_a_slow_network_hold_up_no_commits_of_other_partitions() {
    let (depot, _topics) = alone().await;
    let mut depot = prepared(depot);
    depot.settings.brokers = depot.stack.kafka_proxy().address();
    let (ends, watch) = (Ends::default(), Watch::start(&depot));
    let far = Watch::through(&depot, depot.stack.kafka_proxy().port());
    // Nothing but the first partition's records gets letters.
    let member = member(&depot, &ends, |seen| seen.partition == 0 && every_third(seen));
    wait_until("it owns all", SOON, || async {
        member.handle.health().partition_count == usize::try_from(PARTITIONS).unwrap()
    })
    .await;
    // Opening the letters' client and each of their transactions take six answers or more, a commit one.
    depot.stack.kafka_proxy().delay(Duration::from_millis(150));
    let sent = feed(&depot, 0, 40).await;
    depot.stack.kafka_proxy().pass();
    everything_is_done(&depot, &ends, sent).await;
    let (far, _) = far.end();
    // Where letters come from, a transaction's three answers may be waited for, behind a commit's, before the next.
    let answers = |partition| if partition == 0 { 5 } else { 1 };
    judge(&ends, &watch.end(), |partition, from, until| {
        slowest(&far, from, until) * answers(partition)
    });
    member.leave().await;
}

#[tokio::test]
async fn a_broker_that_stands_still_among_letters_delays_commits_by_no_more_than_its_silence() {
    let (depot, _topics) = alone().await;
    let stack = depot.stack;
    let depot = prepared(depot);
    let (ends, watch) = (Ends::default(), Watch::start(&depot));
    let member = member(&depot, &ends, every_third);
    let sent = feed(&depot, 0, 30).await;
    let silence = async {
        stack.kafka().pause();
        tokio::time::sleep(Duration::from_millis(2500)).await;
        stack.kafka().resume();
    };
    let (sent, ()) = tokio::join!(feed(&depot, sent, 30), silence);
    everything_is_done(&depot, &ends, sent).await;
    let seen = watch.end();
    // A look is answered from memory, a commit is written: a broker that wakes up gets to it later.
    judge(&ends, &seen, |_, from, until| slowest(&seen.0, from, until) * 2);
    member.leave().await;
}
