//! Records that fail for now: in place by key, through the retry topics where order doesn't matter, and never lost.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use millrace_envelope::{Envelope, RetryTier};
use millrace_messaging::{
    Consumer, Delivery, HandlerError, Mode, Outcome, RetryPolicy, Route, each,
};
use millrace_resilience::Backoff;
use millrace_testkit::{RawOutgoing, TestTopics, TopicSpec, wait_until};

use crate::harness::{BROKEN_BELT, Depot, GROUP, NO_ADDRESS, ParcelEvent, SOON, TOPIC, record};

/// One hand-over.
#[derive(Debug, Clone)]
struct Handed {
    parcel: String,
    number: u32,
    attempt: u32,
    partition: i32,
    at: Instant,
}

type Book = Arc<Mutex<Vec<Handed>>>;

fn transient() -> Outcome {
    Outcome::Retry(HandlerError::transient(&BROKEN_BELT, "the belt stands still"))
}

fn consumer<A>(
    book: &Book,
    mode: Mode,
    act: A,
) -> Consumer<impl millrace_messaging::Handler + use<A>>
where
    A: Fn(&Handed) -> Outcome + Send + Sync + 'static,
{
    let book = Arc::clone(book);
    let handler = each(move |delivery: Delivery<Envelope<ParcelEvent>>| {
        let ParcelEvent::Sent(parcel) = delivery.message.payload.clone();
        assert_eq!(delivery.topic, TOPIC, "the topic of its first publication");
        let handed = Handed {
            parcel: parcel.parcel_id,
            number: parcel.number,
            attempt: delivery.attempt,
            partition: delivery.partition,
            at: Instant::now(),
        };
        let outcome = act(&handed);
        book.lock().unwrap().push(handed);
        async move { outcome }
    });
    Consumer::new(GROUP, TOPIC, handler).mode(mode)
}

fn of(book: &Book, parcel: &str) -> Vec<Handed> {
    book.lock().unwrap().iter().filter(|handed| handed.parcel == parcel).cloned().collect()
}

fn attempts(book: &Book, parcel: &str) -> Vec<u32> {
    of(book, parcel).iter().map(|handed| handed.attempt).collect()
}

async fn tiers(depot: &Depot, partitions: i32) -> TestTopics {
    let specs =
        RetryTier::ALL.map(|tier| TopicSpec::new(TOPIC.retry(GROUP, tier).as_str(), partitions));
    depot.stack.topics(&depot.namespace, &specs).await
}

fn tier_topic(depot: &Depot, tier: RetryTier) -> String {
    depot.namespace.topic(TOPIC.retry(GROUP, tier).as_str())
}

/// A time as Java's big integers write it.
fn moment(bytes: &[u8]) -> i64 {
    bytes.iter().fold(0, |number, byte| number << 8 | i64::from(*byte))
}

fn counted(metric: &str) -> f64 {
    let text = millrace_telemetry::metrics::render();
    let lines = text.lines().filter(|line| line.starts_with(metric));
    lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
}

async fn wait_committed(depot: &Depot, offset: i64) {
    wait_until("all is committed", SOON, || async {
        let at = depot.committed(0).await;
        if at == Some(offset) { Ok(()) } else { Err(at) }
    })
    .await;
}

#[tokio::test]
async fn a_key_that_fails_waits_in_place_and_all_others_pass_it() {
    let depot = Depot::open(1).await;
    let mut parcels = vec![("bad", 0), ("bad", 1)];
    let others: Vec<String> = (0..50).map(|id| format!("p{id}")).collect();
    parcels.extend(others.iter().map(|id| (id.as_str(), 0)));
    parcels.push(("bad", 2));
    depot.send(&parcels).await;
    let (book, mended) = (Book::default(), Arc::new(AtomicBool::new(false)));
    let before = counted("messaging_retries_total");
    let member = {
        let mended = Arc::clone(&mended);
        depot.start(consumer(&book, Mode::KeyShared, move |handed| {
            let fails = handed.parcel == "bad" && handed.number == 0;
            if fails && !mended.load(Ordering::SeqCst) { transient() } else { Outcome::Done }
        }))
    };
    wait_until("the others are done", SOON, || async {
        let all = book.lock().unwrap().len();
        let bad = of(&book, "bad").len();
        if others.iter().all(|id| !attempts(&book, id).is_empty()) && bad >= 5 {
            Ok(())
        } else {
            Err((all, bad))
        }
    })
    .await;
    assert!(others.iter().all(|id| attempts(&book, id) == [1]), "each of them once");
    assert!(of(&book, "bad").iter().all(|handed| handed.number == 0), "its successors wait");
    assert_eq!(depot.committed(0).await.unwrap_or(0), 0);
    assert!(!member.handle.health().stalled);
    mended.store(true, Ordering::SeqCst);
    wait_committed(&depot, 53).await;
    let bad = of(&book, "bad");
    let first: Vec<u32> = bad.iter().filter(|h| h.number == 0).map(|h| h.attempt).collect();
    let counted_up: Vec<u32> = (1..=u32::try_from(first.len()).unwrap()).collect();
    assert_eq!(first, counted_up, "each repeat is counted");
    let order: Vec<u32> = bad.iter().map(|handed| handed.number).collect();
    assert!(order.is_sorted(), "{order:?}");
    assert_eq!(bad.len(), first.len() + 2);
    assert!(counted("messaging_retries_total") >= before + 4.0);
    member.leave().await;
}

#[tokio::test]
async fn without_an_order_a_record_goes_three_times_in_place_then_through_the_retry_topics() {
    let depot = Depot::open(3).await;
    let _tiers = tiers(&depot, 3).await;
    let ids = depot.ids_by_partition(3).await;
    let (partition, bad) = ids.iter().next_back().map(|(p, id)| (*p, id.clone())).unwrap();
    let book = Book::default();
    let fails = bad.clone();
    let member = depot.start(consumer(&book, Mode::Shared, move |handed| {
        if handed.parcel == fails && handed.number == 7 { transient() } else { Outcome::Done }
    }));
    wait_until("the first ones are done", SOON, || async { book.lock().unwrap().len() >= 3 }).await;
    book.lock().unwrap().clear();
    depot.send(&[(&bad, 7)]).await;
    let second = tier_topic(&depot, RetryTier::TenSeconds);
    let on_second = wait_until("it is on the second tier", SOON, || async {
        depot.stack.committed_records(&second).await.pop()
    })
    .await;
    let handed = of(&book, &bad);
    // One try and three repeats in place, then one a second later.
    assert_eq!(attempts(&book, &bad), [1, 2, 3, 4, 5]);
    assert!(handed[4].at - handed[3].at >= Duration::from_millis(950), "the tier's wait is kept");
    assert!(handed.iter().all(|handed| handed.partition == partition), "{handed:?}");

    let on_first = depot.stack.committed_records(&tier_topic(&depot, RetryTier::OneSecond)).await;
    let on_first = on_first.iter().find(|found| found.key.is_some()).unwrap();
    for (letter, next_delivery, wait_ms) in [(on_first, 5_i32, 1_000), (&on_second, 6, 10_000)] {
        assert_eq!(letter.partition, partition);
        assert_eq!(letter.key.as_deref(), Some(bad.as_bytes()));
        assert_eq!(letter.header("retry_topic-attempts"), Some(&next_delivery.to_be_bytes()[..]));
        let due = moment(letter.header("retry_topic-backoff-timestamp").unwrap());
        let since = letter.header_text("x-retry-since-ms").unwrap().parse::<i64>().unwrap();
        // Due so long after the last try, which may come late; the other tiers' waits differ by more.
        let tries = handed[usize::try_from(next_delivery).unwrap() - 2].at - handed[0].at;
        let late = i64::try_from(tries.as_millis()).unwrap() + 8_000;
        assert!((since + wait_ms..since + wait_ms + late).contains(&due), "{since} {due} {late}");
        assert_eq!(letter.header_text("kafka_dlt-original-topic"), Some(depot.topic()));
        let origin = partition.to_be_bytes();
        assert_eq!(letter.header("kafka_dlt-original-partition"), Some(&origin[..]));
        assert_eq!(
            letter.header_text("kafka_dlt-exception-fqcn").as_deref(),
            Some(BROKEN_BELT.code)
        );
    }
    // Settled where it came from: what failed is on its way, and its partition is not held up.
    let source = depot.stack.access().log_end(&depot.topic(), partition).await.unwrap();
    wait_until("its offset is committed", SOON, || async {
        depot.committed(partition).await == Some(source)
    })
    .await;
    member.leave().await;
}

/// Puts a record on a retry topic as if it had failed so often, due at once.
async fn plant(depot: &Depot, tier: RetryTier, parcel: &str, attempts: i32) {
    let record = record(parcel, 0);
    let mut headers: Vec<(Vec<u8>, Option<Vec<u8>>)> = record
        .headers
        .iter()
        .map(|(name, value)| (name.clone().into_bytes(), Some(value.clone())))
        .collect();
    let due = millrace_runtime::Clock::system().now_ms().to_be_bytes()[2..].to_vec();
    headers.push((b"retry_topic-attempts".to_vec(), Some(attempts.to_be_bytes().to_vec())));
    headers.push((b"retry_topic-backoff-timestamp".to_vec(), Some(due)));
    headers.push((b"kafka_dlt-original-topic".to_vec(), Some(b"long-ago".to_vec())));
    let raw = RawOutgoing {
        key: Some(record.key.clone()),
        payload: record.payload.clone(),
        headers,
        timestamp_ms: 1_700_000_000_000,
    };
    depot.stack.access().write_raw(&tier_topic(depot, tier), 0, &[raw]).await;
}

#[tokio::test]
async fn after_the_last_tier_comes_the_dead_letter_and_success_on_any_tier_ends_it() {
    let depot = Depot::open(1).await;
    let _tiers = tiers(&depot, 1).await;
    plant(&depot, RetryTier::OneMinute, "hopeless", 7).await;
    plant(&depot, RetryTier::OneMinute, "mended", 7).await;
    plant(&depot, RetryTier::TenSeconds, "next", 6).await;
    let book = Book::default();
    let member = depot.start(consumer(&book, Mode::Shared, |handed| {
        if handed.parcel == "mended" { Outcome::Done } else { transient() }
    }));
    let dead = wait_until("it is given up", SOON, || async {
        depot.stack.committed_records(&depot.dead_letter_topic()).await.pop()
    })
    .await;
    assert_eq!(dead.key.as_deref(), Some(&b"hopeless"[..]));
    assert_eq!(attempts(&book, "hopeless"), [7]);
    assert_eq!(dead.header_text("x-retry").as_deref(), Some("7"));
    assert_eq!(dead.header_text("kafka_dlt-original-topic").as_deref(), Some("long-ago"));
    assert_eq!(dead.timestamp_ms, Some(1_700_000_000_000), "its own time");
    let last = tier_topic(&depot, RetryTier::OneMinute);
    wait_until("the next one is on the last tier", SOON, || async {
        let records = depot.stack.committed_records(&last).await;
        records.iter().any(|record| record.key.as_deref() == Some(b"next"))
    })
    .await;
    wait_until("the mended one is done", SOON, || async { attempts(&book, "mended") == [7] }).await;
    assert_eq!(attempts(&book, "next"), [6]);
    wait_until("it is counted", SOON, || async { member.handle.health().dead_lettered == 1 }).await;
    member.leave().await;
}

#[tokio::test]
async fn a_record_is_given_up_when_its_time_is_over_and_its_key_goes_on() {
    let depot = Depot::open(1).await;
    depot.send(&[("p", 0), ("p", 1)]).await;
    let book = Book::default();
    let policy = RetryPolicy {
        give_up_after: Some(Duration::from_millis(600)),
        backoff: Backoff {
            initial: Duration::from_millis(20),
            max: Duration::from_millis(100),
            ..Backoff::STANDARD
        },
        ..RetryPolicy::default()
    };
    let failing = consumer(&book, Mode::KeyShared, |handed| {
        if handed.number == 0 { transient() } else { Outcome::Done }
    });
    let member = depot.start(failing.retries(policy));
    wait_committed(&depot, 2).await;
    let handed = of(&book, "p");
    let tries = handed.iter().filter(|handed| handed.number == 0).count();
    assert!(tries >= 2, "{tries} tries");
    let last = handed.last().unwrap();
    assert_eq!(last.number, 1);
    // The last wait ends at the limit, give or take what two clocks make of it.
    let kept = last.at - handed[0].at;
    assert!(kept >= Duration::from_millis(550), "given up after {kept:?} and {tries} tries");
    let dead = depot.stack.committed_records(&depot.dead_letter_topic()).await;
    assert_eq!(dead.len(), 1);
    assert_eq!(dead[0].header_text("x-retry"), Some(tries.to_string()));
    assert_eq!(dead[0].header_text("x-reason-class").as_deref(), Some("transient"));
    member.leave().await;
}

#[tokio::test]
async fn codes_go_their_own_way() {
    let depot = Depot::open(1).await;
    let _tiers = tiers(&depot, 1).await;
    let book = Book::default();
    let routes = vec![
        (&NO_ADDRESS, Route::InPlace),
        (&BROKEN_BELT, Route::Tier(RetryTier::TenSeconds)),
        (&millrace_messaging::codes::HANDLER_FAILED, Route::DeadLetter),
    ];
    let failing = consumer(&book, Mode::Shared, |handed| match handed.parcel.as_str() {
        "tier" => transient(),
        "dead" => Outcome::retry(&millrace_messaging::codes::HANDLER_FAILED, "never again"),
        // Permanent by its class, tried in place by its route.
        _ if handed.attempt < 8 => Outcome::dead(&NO_ADDRESS, "no address yet"),
        _ => Outcome::Done,
    });
    let member = depot.start(failing.retries(RetryPolicy { routes, ..depot_policy() }));
    depot.send(&[("tier", 0), ("dead", 0), ("place", 0)]).await;
    wait_committed(&depot, 3).await;
    assert_eq!(attempts(&book, "place"), [1, 2, 3, 4, 5, 6, 7, 8]);
    assert_eq!(attempts(&book, "dead"), [1]);
    assert_eq!(attempts(&book, "tier"), [1]);
    let dead = depot.stack.committed_records(&depot.dead_letter_topic()).await;
    let waits = depot.stack.committed_records(&tier_topic(&depot, RetryTier::TenSeconds)).await;
    assert_eq!((dead.len(), waits.len()), (1, 1));
    assert_eq!(dead[0].key.as_deref(), Some(&b"dead"[..]));
    assert_eq!(waits[0].key.as_deref(), Some(&b"tier"[..]));
    member.leave().await;
}

fn depot_policy() -> RetryPolicy {
    let initial = Duration::from_millis(10);
    let max = Duration::from_millis(50);
    RetryPolicy { backoff: Backoff { initial, max, ..Backoff::STANDARD }, ..RetryPolicy::default() }
}

#[tokio::test]
async fn a_retry_topic_that_is_missing_keeps_the_record_and_holds_up_no_dead_letter() {
    let depot = Depot::open(1).await;
    let book = Book::default();
    let mended = Arc::new(AtomicBool::new(false));
    let failing = {
        let mended = Arc::clone(&mended);
        consumer(&book, Mode::Shared, move |handed| match handed.parcel.as_str() {
            "bad" if !mended.load(Ordering::SeqCst) => transient(),
            "dead" => Outcome::dead(&NO_ADDRESS, "no address"),
            _ => Outcome::Done,
        })
    };
    let member = depot.start(failing.retries(depot_policy()));
    depot.send(&[("bad", 0)]).await;
    let reason = wait_until("the health says that letters wait", SOON, || async {
        member.handle.health().reason.filter(|reason| reason.contains("letters"))
    })
    .await;
    assert!(reason.contains("not published"), "{reason}");
    depot.send(&[("dead", 0), ("good", 0), ("dead", 1)]).await;
    wait_until("the dead letters pass it", SOON, || async {
        let dead = depot.stack.committed_records(&depot.dead_letter_topic()).await.len();
        if dead == 2 { Ok(()) } else { Err(dead) }
    })
    .await;
    wait_until("the good one, too", SOON, || async { attempts(&book, "good") == [1] }).await;
    assert_eq!(depot.committed(0).await.unwrap_or(0), 0, "the record is kept");
    mended.store(true, Ordering::SeqCst);
    let _tiers = tiers(&depot, 1).await;
    wait_committed(&depot, 4).await;
    wait_until("it was handled on its retry topic", SOON, || async {
        attempts(&book, "bad") == [1, 2, 3, 4, 5]
    })
    .await;
    member.leave().await;
}

#[tokio::test]
async fn a_flood_of_failures_never_stops_the_good_ones() {
    let mut depot = Depot::open(1).await;
    depot.settings.flood_failures = 5;
    let bad: Vec<String> = (0..200).map(|id| format!("bad{id}")).collect();
    let mut parcels: Vec<(&str, u32)> = bad.iter().map(|id| (id.as_str(), 0)).collect();
    parcels.push(("good", 0));
    depot.send(&parcels).await;
    let (book, mended) = (Book::default(), Arc::new(AtomicBool::new(false)));
    let member = {
        let mended = Arc::clone(&mended);
        depot.start(consumer(&book, Mode::KeyShared, move |handed| {
            let fails = handed.parcel != "good" && !mended.load(Ordering::SeqCst);
            if fails { transient() } else { Outcome::Done }
        }))
    };
    wait_until("the good one is done", SOON, || async { attempts(&book, "good") == [1] }).await;
    depot.send(&[("good", 1)]).await;
    wait_until("the next good one too", SOON, || async { of(&book, "good").len() == 2 }).await;
    assert!(!member.handle.health().stalled);
    mended.store(true, Ordering::SeqCst);
    wait_committed(&depot, 202).await;
    let mut counts: BTreeMap<String, Vec<u32>> = BTreeMap::new();
    for handed in book.lock().unwrap().iter() {
        counts.entry(handed.parcel.clone()).or_default().push(handed.attempt);
    }
    for id in &bad {
        let attempts = &counts[id];
        let counted_up: Vec<u32> = (1..=u32::try_from(attempts.len()).unwrap()).collect();
        assert_eq!(attempts, &counted_up, "{id} is counted by itself");
    }
    member.leave().await;
}
