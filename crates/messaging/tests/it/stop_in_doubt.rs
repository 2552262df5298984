//! A stop while nobody knows how a transaction ended: it is bounded, and whoever comes next loses and doubles nothing.
//!
//! The member's way to the broker goes through a proxy that delays it. As soon as the broker has the offsets of the
//! letter's transaction, what the member sends is held back: the request to commit is on its way and does not arrive.
//! Whether that came in time is seen from the broker; if it didn't, the letter is published and another one is tried.

use std::time::{Duration, Instant};

use millrace_messaging::HandlerError;
use millrace_testkit::{Stack, TopicSpec, Way, wait_until};
use rdkafka::TopicPartitionList;
use rdkafka::consumer::{BaseConsumer, Consumer as _};

use crate::harness::{Depot, GROUP, Member, NO_ADDRESS, SOON, TOPIC};

/// How much longer everything takes, each way: between the offsets' arrival and that of the commit pass two of these.
const DELAY: Duration = Duration::from_millis(100);
/// An answer about offsets that nothing holds back takes less, mostly.
const PROMPT: Duration = Duration::from_millis(60);
/// What the commit of what is finished gets after the calls.
const COMMIT_GRACE: Duration = Duration::from_secs(2);

/// Offsets as the coordinator tells them to readers of committed ones: while a transaction holds some, it tells none.
struct Looker {
    consumer: BaseConsumer,
    topic: String,
}

impl Looker {
    fn new(depot: &Depot) -> Self {
        let mut config = millrace_testkit::kafka::client(depot.stack.addresses().kafka_port);
        config.set("group.id", format!("{GROUP}{}", depot.namespace.group_suffix));
        let looker = Self { consumer: config.create().unwrap(), topic: depot.topic() };
        // Its coordinator is known from here on.
        looker.committed(SOON).unwrap();
        looker
    }

    /// `Err` while they are held.
    fn committed(&self, patience: Duration) -> Result<Option<i64>, String> {
        let mut list = TopicPartitionList::new();
        list.add_partition(&self.topic, 0);
        let told = self.consumer.committed_offsets(list, patience);
        let told = told.map_err(|error| error.to_string())?;
        let place = told.find_partition(&self.topic, 0).unwrap();
        place.error().map_err(|error| error.to_string())?;
        Ok(place.offset().to_raw().filter(|raw| *raw >= 0))
    }
}

async fn depot() -> Depot {
    let stack: &'static Stack = Box::leak(Box::new(Stack::private().await.unwrap()));
    let namespace = stack.namespace();
    let dead = TOPIC.dead_letter(GROUP);
    let specs = [TopicSpec::new(TOPIC.as_str(), 1), TopicSpec::new(dead.as_str(), 1)];
    let mut depot = Depot::closed(stack, namespace.clone());
    depot.keep(stack.topics(&namespace, &specs).await);
    // A commit that isn't answered after this is in doubt, and the stop waits longer than that.
    depot.settings.publish_timeout = Duration::from_millis(2500);
    depot.settings.revoke_timeout = Duration::from_secs(3);
    depot.settings.close_timeout = Duration::from_secs(1);
    depot
}

/// A member whose every record becomes a letter, behind the proxy.
fn behind_the_proxy(depot: &mut Depot) -> Member {
    let direct = depot.settings.brokers.clone();
    depot.settings.brokers = depot.stack.kafka_proxy().address();
    let member = depot.member(|_| async { Err(HandlerError::permanent(&NO_ADDRESS, "none")) });
    depot.settings.brokers = direct;
    member
}

/// Sends records until the letter of one of them stands before its commit, which is held back; returns its number.
async fn letter_before_its_commit(depot: &Depot, looker: &Looker) -> u32 {
    let proxy = depot.stack.kafka_proxy();
    // Its first transaction opens the client, which is none of what is waited for.
    depot.send(&[("p", 0)]).await;
    wait_until("the first letter", SOON, || async { looker.committed(PROMPT) == Ok(Some(1)) })
        .await;
    for number in 1..20 {
        let next = Ok(Some(i64::from(number) + 1));
        proxy.delay(DELAY);
        depot.send(&[("p", number)]).await;
        // The offsets are held by the transaction, or it is over already.
        wait_until("its offsets", SOON, || async {
            let told = looker.committed(PROMPT);
            if told.is_err() || told == next { Ok(()) } else { Err(told) }
        })
        .await;
        proxy.freeze(Way::ToServer);
        // A commit that got through would have been taken by then. A single look may be late for other reasons.
        if (0..2).all(|_| looker.committed(DELAY * 5).is_err()) {
            return number;
        }
        proxy.pass();
        wait_until("its letter", SOON, || async { looker.committed(PROMPT) == next }).await;
    }
    panic!("no commit was held back");
}

async fn stop_in_doubt(depot: &Depot, member: Member) {
    let asked = Instant::now();
    member.leave().await;
    let took = asked.elapsed();
    // It waited for an answer as long as it may, and no longer.
    let settings = &depot.settings;
    let least = settings.revoke_timeout + COMMIT_GRACE;
    let most = least + settings.close_timeout + Duration::from_secs(5);
    assert!(least <= took && took < most, "{took:?}");
}

/// What a reader of committed records finds: of each letter the number of its record.
async fn letters(depot: &Depot) -> Vec<u64> {
    let log = depot.stack.access().log(&depot.dead_letter_topic(), 0).await;
    let records = log.iter().filter(|entry| !entry.control && !entry.aborted);
    let number = |payload: &[u8]| {
        let envelope: serde_json::Value = serde_json::from_slice(payload).unwrap();
        envelope["payload"]["number"].as_u64().unwrap()
    };
    let mut numbers: Vec<u64> =
        records.map(|record| number(record.payload.as_deref().unwrap())).collect();
    numbers.sort_unstable();
    numbers
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_never_arrives_leaves_its_record_to_the_next_member() {
    let mut depot = depot().await;
    let looker = Looker::new(&depot);
    let member = behind_the_proxy(&mut depot);
    let last = letter_before_its_commit(&depot, &looker).await;
    stop_in_doubt(&depot, member).await;
    // What was held back is lost on the way.
    depot.stack.kafka_proxy().cut();
    let next = depot.member(|_| async { Ok(()) });
    wait_until("the record is handled", SOON, || async { depot.numbers("p") == [last] }).await;
    let all = i64::from(last) + 1;
    wait_until("it is committed", SOON, || async { looker.committed(PROMPT) == Ok(Some(all)) })
        .await;
    next.leave().await;
    assert_eq!(depot.numbers("p"), [last]);
    let before: Vec<u64> = (0..u64::from(last)).collect();
    assert_eq!(letters(&depot).await, before, "the letter of the transaction that was given up");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_was_taken_and_not_answered_is_not_repeated() {
    let mut depot = depot().await;
    let looker = Looker::new(&depot);
    let member = behind_the_proxy(&mut depot);
    let last = letter_before_its_commit(&depot, &looker).await;
    // The request goes through, and its answer doesn't.
    depot.stack.kafka_proxy().freeze(Way::ToClient);
    let all = i64::from(last) + 1;
    wait_until("the commit is taken", SOON, || async { looker.committed(PROMPT) == Ok(Some(all)) })
        .await;
    stop_in_doubt(&depot, member).await;
    depot.stack.kafka_proxy().cut();
    let next = depot.member(|_| async { Ok(()) });
    depot.send(&[("p", last + 1)]).await;
    wait_until("the next record is handled", SOON, || async { !depot.numbers("p").is_empty() })
        .await;
    next.leave().await;
    assert_eq!(depot.numbers("p"), [last + 1]);
    let each: Vec<u64> = (0..=u64::from(last)).collect();
    assert_eq!(letters(&depot).await, each, "each letter once");
}
