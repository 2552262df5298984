//! Dead letters: once over restarts, kept while they can't be kept elsewhere, small enough, and never from a zombie.

use std::collections::BTreeSet;
use std::error::Error;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::future::BoxFuture;
use millrace_messaging::{DeadLetter, DeadLetterStore, HandlerError};
use millrace_testkit::{LogEntry, Stack, TopicSpec, Way, wait_until};
use tokio::sync::Semaphore;

use crate::harness::{Depot, GROUP, NO_ADDRESS, SOON, TOPIC};

/// What a reader of committed records sees.
async fn letters(depot: &Depot) -> Vec<LogEntry> {
    let log = depot.stack.access().log(&depot.dead_letter_topic(), 0).await;
    log.into_iter().filter(|entry| !entry.control && !entry.aborted).collect()
}

fn keys(letters: &[LogEntry]) -> Vec<String> {
    let key = |letter: &LogEntry| String::from_utf8(letter.key.clone().unwrap()).unwrap();
    letters.iter().map(key).collect()
}

fn no_address(reason: impl Into<String>) -> HandlerError {
    HandlerError::permanent(&NO_ADDRESS, reason.into())
}

async fn send(depot: &Depot, numbers: std::ops::Range<u32>) {
    let parcels: Vec<(String, u32)> = numbers.map(|n| (format!("p{n}"), n)).collect();
    let parcels: Vec<(&str, u32)> = parcels.iter().map(|(id, n)| (id.as_str(), *n)).collect();
    depot.send(&parcels).await;
}

#[tokio::test]
async fn a_letter_is_seen_once_however_often_its_consumer_restarts() {
    let mut depot = Depot::open(1).await;
    depot.settings.revoke_timeout = Duration::from_millis(200);
    let depot = depot;
    for round in 0..6_u32 {
        send(&depot, round * 50..(round + 1) * 50).await;
        let handled = Arc::new(AtomicUsize::new(0));
        let seen = Arc::clone(&handled);
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .worker_threads(2)
            .build()
            .unwrap();
        let member = {
            let _inside = runtime.enter();
            depot.member(move |batch| {
                let seen = Arc::clone(&seen);
                async move {
                    seen.fetch_add(batch.len(), Ordering::SeqCst);
                    if batch.iter().any(|record| record.number % 3 == 0) {
                        return Err(no_address("every third has none"));
                    }
                    Ok(())
                }
            })
        };
        let enough = 10 + usize::try_from(round).unwrap() * 8;
        wait_until("some were handed over", SOON, || async {
            handled.load(Ordering::SeqCst) >= enough
        })
        .await;
        if round % 2 == 0 {
            // The tasks vanish between two awaits, as in a process that ends.
            runtime.shutdown_background();
            wait_until("the loop ended", SOON, || async { !member.handle.health().running }).await;
        } else {
            member.stop.cancel();
            tokio::time::timeout(SOON, member.handle.closed()).await.unwrap();
            runtime.shutdown_background();
        }
    }
    let member = depot.member(|batch| async move {
        if batch.iter().any(|record| record.number % 3 == 0) {
            return Err(no_address("every third has none"));
        }
        Ok(())
    });
    wait_until("all is committed", SOON, || async { depot.committed(0).await == Some(300) }).await;
    let mut keys = keys(&letters(&depot).await);
    keys.sort_unstable();
    let mut expected: Vec<String> = (0..300).step_by(3).map(|n| format!("p{n}")).collect();
    expected.sort_unstable();
    assert_eq!(keys, expected, "each letter once");
    member.leave().await;
}

/// Keeps letters in memory, when it does.
#[derive(Debug, Default)]
struct Shelf {
    fails: AtomicBool,
    panics: AtomicBool,
    asked: AtomicUsize,
    letters: Mutex<Vec<DeadLetter>>,
}

impl DeadLetterStore for Shelf {
    fn bury(&self, letter: DeadLetter) -> BoxFuture<'_, Result<(), Box<dyn Error + Send + Sync>>> {
        Box::pin(async move {
            self.asked.fetch_add(1, Ordering::SeqCst);
            assert!(!self.panics.load(Ordering::SeqCst), "the shelf panics");
            if self.fails.load(Ordering::SeqCst) {
                return Err("the shelf is full".into());
            }
            self.letters.lock().unwrap().push(letter);
            Ok(())
        })
    }
}

#[tokio::test]
async fn a_letter_that_its_store_refuses_keeps_its_record_and_is_stored_once_later() {
    let depot = Depot::open(1).await;
    let shelf = Arc::new(Shelf::default());
    shelf.fails.store(true, Ordering::SeqCst);
    let store: Arc<dyn DeadLetterStore> = Arc::clone(&shelf) as _;
    let consumer = depot.consumer(|seen| async move {
        match seen[0].parcel.as_str() {
            "bad" => Err(no_address("it has none")),
            _ => Ok(()),
        }
    });
    let mut events = {
        let member = depot.start(consumer.dead_letters(store));
        let events = member.handle.events();
        depot.send(&[("bad", 0), ("good", 0)]).await;
        let asked = |count: usize| {
            let shelf = &shelf;
            wait_until("it was asked again", SOON, move || async move {
                let asked = shelf.asked.load(Ordering::SeqCst);
                if asked >= count { Ok(()) } else { Err(asked) }
            })
        };
        asked(3).await;
        wait_until("another key passes", SOON, || async { depot.numbers("good") == [0] }).await;
        shelf.panics.store(true, Ordering::SeqCst);
        asked(8).await;
        assert!(depot.committed(0).await.unwrap_or(0) == 0, "the record is kept");
        assert_eq!(member.handle.health().dead_lettered, 0);
        shelf.panics.store(false, Ordering::SeqCst);
        shelf.fails.store(false, Ordering::SeqCst);
        wait_until("all is committed", SOON, || async { depot.committed(0).await == Some(2) })
            .await;
        member.leave().await;
        events
    };
    let kept = std::mem::take(&mut *shelf.letters.lock().unwrap());
    assert_eq!(kept.len(), 1);
    assert_eq!((kept[0].group, kept[0].record.key.as_deref()), (GROUP, Some(&b"bad"[..])));
    assert_eq!(kept[0].record.topic, TOPIC.dead_letter(GROUP));
    assert_eq!(letters(&depot).await, [], "it is the store's to publish");
    // A store that panics costs no session.
    let told: Vec<_> = std::iter::from_fn(|| events.try_recv().ok()).collect();
    assert_eq!(told.len(), 1, "{told:?}");
}

#[tokio::test]
async fn a_letter_too_large_with_its_texts_goes_without_and_one_too_large_anyway_waits_alone() {
    let stack = Stack::shared().await;
    let namespace = stack.namespace();
    let dead = TOPIC.dead_letter(GROUP);
    let small = TopicSpec::new(dead.as_str(), 1).with("max.message.bytes", "4000");
    let specs = [TopicSpec::new(TOPIC.as_str(), 1), small];
    let _topics = stack.topics(&namespace, &specs).await;
    let depot = Depot::closed(stack, namespace);
    let huge = "x".repeat(5000);
    depot.send(&[("texts", 0)]).await;
    stack.produce(&depot.topic(), b"huge", Some(huge.as_bytes()), &[]).await;
    let member = depot.member(|_| async { Err(no_address("y".repeat(8000))) });
    depot.send(&[("later", 0), ("latest", 0)]).await;
    wait_until("the others pass the huge one", SOON, || async {
        let keys = keys(&letters(&depot).await);
        if keys.len() >= 3 { Ok(()) } else { Err(keys) }
    })
    .await;
    let letters = letters(&depot).await;
    let names: BTreeSet<String> = keys(&letters).into_iter().collect();
    assert_eq!(names, BTreeSet::from(["texts", "later", "latest"].map(str::to_owned)));
    for letter in &letters {
        let header = |name: &str| {
            let found = letter.headers.iter().find(|(key, _)| key == name.as_bytes());
            found
                .and_then(|(_, value)| value.clone())
                .map(|value| String::from_utf8(value).unwrap())
        };
        assert_eq!(header("kafka_dlt-exception-fqcn").as_deref(), Some(NO_ADDRESS.code));
        assert_eq!(header("kafka_dlt-exception-stacktrace").as_deref(), Some(""));
    }
    wait_until("what is behind it is not committed", SOON, || async {
        depot.committed(0).await == Some(1)
    })
    .await;
    member.leave().await;
}

#[tokio::test]
async fn a_member_that_was_put_out_can_not_publish_a_letter() {
    let stack: &'static Stack = Box::leak(Box::new(Stack::private().await.unwrap()));
    let namespace = stack.namespace();
    let dead = TOPIC.dead_letter(GROUP);
    let specs = [TopicSpec::new(TOPIC.as_str(), 1), TopicSpec::new(dead.as_str(), 1)];
    let topics = stack.topics(&namespace, &specs).await;
    let mut depot = Depot::closed(stack, namespace);
    depot.settings.session_timeout = Duration::from_secs(2);
    depot.settings.revoke_timeout = Duration::from_secs(1);
    let direct = depot.settings.brokers.clone();
    depot.settings.brokers = stack.kafka_proxy().address();
    let (gate, in_hand) = (Arc::new(Semaphore::new(0)), Arc::new(AtomicBool::new(false)));
    let zombie = {
        let (gate, in_hand) = (Arc::clone(&gate), Arc::clone(&in_hand));
        depot.member(move |_| {
            let (gate, in_hand) = (Arc::clone(&gate), Arc::clone(&in_hand));
            async move {
                in_hand.store(true, Ordering::SeqCst);
                drop(gate.acquire().await.unwrap());
                Err(no_address("the zombie's word"))
            }
        })
    };
    depot.send(&[("p", 0)]).await;
    wait_until("the zombie has it in hand", SOON, || async { in_hand.load(Ordering::SeqCst) })
        .await;
    stack.kafka_proxy().freeze(Way::Both);
    depot.settings.brokers = direct;
    let owner = depot.member(|_| async { Err(no_address("the owner's word")) });
    wait_until("the owner has given it up", SOON, || async { letters(&depot).await.len() == 1 })
        .await;
    wait_until("it is committed", SOON, || async { depot.committed(0).await == Some(1) }).await;
    // Only now the zombie's call comes back, and its letter goes to a broker that answers again.
    gate.add_permits(1);
    tokio::time::timeout(Duration::from_millis(300), std::future::pending::<()>())
        .await
        .unwrap_err();
    stack.kafka_proxy().pass();
    owner.leave().await;
    wait_until("the zombie lives again", SOON, || async {
        zombie.handle.health().partition_count == 1 && zombie.handle.health().lag == 0
    })
    .await;
    zombie.leave().await;
    let letters = letters(&depot).await;
    assert_eq!(letters.len(), 1, "{letters:?}");
    assert_eq!(depot.committed(0).await, Some(1));
    drop(topics);
}
