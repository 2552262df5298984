//! Epochs for sinks without an inbox: drawn, proved by a commit, handed over, and drawn again when a sink refuses.

use std::error::Error;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use millrace_envelope::{ConsumerGroup, Envelope, TopicName};
use millrace_messaging::{
    Consumer, Delivery, EpochStore, HandlerError, Mode, Outcome, codes, each,
};
use millrace_testkit::{Stack, TopicSpec, Way, wait_until};
use tokio::sync::Semaphore;

use crate::harness::{Depot, GROUP, Member, ParcelEvent, SOON, TOPIC};

/// Counts up, one number for all partitions.
#[derive(Debug)]
struct Numbers {
    last: Mutex<i64>,
    /// Draws that fail, then draws that panic.
    failures: AtomicU32,
    panics: AtomicU32,
    open: Semaphore,
}

impl Numbers {
    fn new() -> Arc<Self> {
        let (failures, panics) = (AtomicU32::new(0), AtomicU32::new(0));
        Arc::new(Self { last: Mutex::new(0), failures, panics, open: Semaphore::new(1) })
    }

    fn last(&self) -> i64 {
        *self.last.lock().unwrap()
    }
}

fn counted_down(counter: &AtomicU32) -> bool {
    let less = |left: u32| left.checked_sub(1);
    counter.fetch_update(Ordering::SeqCst, Ordering::SeqCst, less).is_ok()
}

impl EpochStore for Numbers {
    fn draw(
        &self,
        _: ConsumerGroup,
        _: &TopicName,
        _: i32,
    ) -> BoxFuture<'_, Result<i64, Box<dyn Error + Send + Sync>>> {
        Box::pin(async {
            let _open = self.open.acquire().await?;
            if counted_down(&self.failures) {
                return Err("the store is away".into());
            }
            assert!(!counted_down(&self.panics), "the store panics");
            let mut last = self.last.lock().unwrap();
            *last += 1;
            Ok(*last)
        })
    }
}

type Seen = Arc<Mutex<Vec<(u32, i64, u32)>>>;

/// A member that notes number, epoch and attempt, and answers as `act` says.
fn member<A, F>(depot: &Depot, store: &Arc<Numbers>, mode: Mode, act: A) -> (Member, Seen)
where
    A: Fn(u32, i64) -> F + Send + Sync + 'static,
    F: Future<Output = Outcome> + Send + 'static,
{
    let seen = Seen::default();
    let noted = Arc::clone(&seen);
    let handler = each(move |delivery: Delivery<Envelope<ParcelEvent>>| {
        let ParcelEvent::Sent(parcel) = &delivery.message.payload;
        let number = parcel.number;
        let epoch = delivery.epoch.as_ref().map_or(0, |epoch| epoch.number);
        noted.lock().unwrap().push((number, epoch, delivery.attempt));
        act(number, epoch)
    });
    let store: Arc<dyn EpochStore> = Arc::clone(store) as _;
    let consumer = Consumer::new(GROUP, TOPIC, handler).mode(mode).epochs(store);
    (depot.start(consumer), seen)
}

async fn wait_count(seen: &Seen, count: usize) {
    wait_until("so many were handed over", SOON, || async {
        let seen = seen.lock().unwrap().clone();
        if seen.len() == count { Ok(()) } else { Err(seen) }
    })
    .await;
}

#[tokio::test]
async fn each_owner_hands_over_under_a_higher_number() {
    let depot = Depot::open(1).await;
    let store = Numbers::new();
    let mut numbers = Vec::new();
    for round in 0..3 {
        depot.send(&[("p", round)]).await;
        let (member, seen) =
            member(&depot, &store, Mode::KeyShared, |_, _| async { Outcome::Done });
        wait_count(&seen, 1).await;
        assert_eq!(seen.lock().unwrap()[0].0, round);
        numbers.push(seen.lock().unwrap()[0].1);
        member.leave().await;
    }
    assert!(numbers.is_sorted_by(|a, b| a < b), "{numbers:?}");
    assert!(numbers[0] > 0);
}

#[tokio::test]
async fn nothing_is_handed_over_before_the_draw_and_a_commit_after_it() {
    let stack: &'static Stack = Box::leak(Box::new(Stack::private().await.unwrap()));
    let namespace = stack.namespace();
    let dead = TOPIC.dead_letter(GROUP);
    let specs = [TopicSpec::new(TOPIC.as_str(), 1), TopicSpec::new(dead.as_str(), 1)];
    let topics = stack.topics(&namespace, &specs).await;
    let mut depot = Depot::closed(stack, namespace);
    depot.settings.brokers = stack.kafka_proxy().address();
    // It keeps its place, however long the silence lasts.
    depot.settings.session_timeout = Duration::from_secs(30);
    depot.send(&[("p", 0)]).await;
    let store = Numbers::new();
    let closed = store.open.acquire().await.unwrap();
    let (member, seen) = member(&depot, &store, Mode::KeyShared, |_, _| async { Outcome::Done });
    wait_until("it has the record", SOON, || async { depot.committed(0).await == Some(0) }).await;
    assert_eq!(seen.lock().unwrap().len(), 0, "nothing was drawn yet");
    // Drawn, while nothing can be committed.
    stack.kafka_proxy().freeze(Way::Both);
    drop(closed);
    wait_until("it is drawn", SOON, || async { store.last() >= 1 }).await;
    let drawn = Instant::now();
    wait_until("a while", SOON, || async {
        assert_eq!(seen.lock().unwrap().len(), 0, "no commit was accepted after the draw");
        drawn.elapsed() > Duration::from_secs(1)
    })
    .await;
    stack.kafka_proxy().pass();
    wait_count(&seen, 1).await;
    wait_until("it is done", SOON, || async { depot.committed(0).await == Some(1) }).await;
    member.leave().await;
    drop(topics);
}

#[tokio::test]
async fn a_refused_number_is_drawn_again_and_the_record_handed_over_again() {
    for mode in [Mode::KeyShared, Mode::Shared] {
        for permanent in [false, true] {
            let depot = Depot::open(1).await;
            let tiers = millrace_envelope::RetryTier::ALL;
            let specs = tiers.map(|tier| TopicSpec::new(TOPIC.retry(GROUP, tier).as_str(), 1));
            let _tiers = depot.stack.topics(&depot.namespace, &specs).await;
            let store = Numbers::new();
            // The sink knows of five owners before this one.
            let (member, seen) = member(&depot, &store, mode.clone(), move |_, epoch| async move {
                let refused = match permanent {
                    true => HandlerError::permanent(&codes::STALE_EPOCH, "another owns it"),
                    false => HandlerError::transient(&codes::STALE_EPOCH, "another owns it"),
                };
                match (epoch, permanent) {
                    (6.., _) => Outcome::Done,
                    (_, true) => Outcome::Dead(refused),
                    (_, false) => Outcome::Retry(refused),
                }
            });
            depot.send(&[("p", 0)]).await;
            wait_until("it is done", SOON, || async { depot.committed(0).await == Some(1) }).await;
            let numbers: Vec<i64> =
                seen.lock().unwrap().iter().map(|(_, epoch, _)| *epoch).collect();
            assert!(numbers.is_sorted_by(|a, b| a < b), "{mode:?} {permanent}: {numbers:?}");
            assert!(*numbers.last().unwrap() >= 6, "{mode:?} {permanent}: {numbers:?}");
            assert_eq!(depot.stack.committed_records(&depot.dead_letter_topic()).await, []);
            member.leave().await;
        }
    }
}

#[tokio::test]
async fn a_store_that_fails_or_panics_is_asked_again() {
    let depot = Depot::open(2).await;
    let store = Numbers::new();
    store.failures.store(u32::MAX, Ordering::SeqCst);
    store.panics.store(2, Ordering::SeqCst);
    let (member, seen) = member(&depot, &store, Mode::KeyShared, |_, _| async { Outcome::Done });
    let parcels: Vec<String> = (0..20).map(|id| format!("p{id}")).collect();
    let parcels: Vec<(&str, u32)> = parcels.iter().map(|id| (id.as_str(), 0)).collect();
    depot.send(&parcels).await;
    wait_until("the health says so", SOON, || async {
        let reason = member.handle.health().reason.unwrap_or_default();
        if reason.contains("epochs") { Ok(()) } else { Err(reason) }
    })
    .await;
    assert_eq!(seen.lock().unwrap().len(), 0, "no number was drawn yet");
    store.failures.store(0, Ordering::SeqCst);
    wait_count(&seen, 20).await;
    assert!(store.last() >= 2);
    wait_until("it is well again", SOON, || async { member.handle.health().reason.is_none() })
        .await;
    member.leave().await;
}
