//! What befalls a topic and a group's offsets behind the consumer's back: nothing that still lies in the log is left
//! out, nothing that was aborted is handled, and the consumer goes on by itself.

use std::sync::Arc;
use std::time::Duration;

use millrace_testkit::{
    CommittedOffset, GroupProtocol, KafkaAccess, Stack, TestTopics, TopicSpec, wait_until,
};
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _};
use rdkafka::{Offset, TopicPartitionList};
use tokio::sync::Semaphore;

use crate::harness::{Depot, GROUP, Member, SOON, TOPIC, assert_no_stall, record};

mod remade;

/// A depot whose topic can be broken.
struct Yard {
    depot: Depot,
    topics: TestTopics,
    topic: String,
}

impl Yard {
    async fn open(spec: TopicSpec) -> Self {
        let stack = Stack::shared().await;
        let depot = Depot::closed(stack, stack.namespace());
        let dead = TopicSpec::new(TOPIC.dead_letter(GROUP).as_str(), 1);
        let topics = stack.topics(&depot.namespace, &[spec, dead]).await;
        let topic = depot.topic();
        Self { depot, topics, topic }
    }

    async fn plain(partitions: i32) -> Self {
        Self::open(TopicSpec::new(TOPIC.as_str(), partitions)).await
    }

    fn access(&self) -> &KafkaAccess {
        self.depot.stack.access()
    }

    fn group(&self) -> String {
        format!("{GROUP}{}", self.depot.namespace.group_suffix)
    }

    fn member(&self) -> Member {
        self.depot.member(|_| async { Ok(()) })
    }

    async fn send(&self, numbers: std::ops::Range<u32>) {
        let parcels: Vec<(&str, u32)> = numbers.map(|number| ("p", number)).collect();
        self.depot.send(&parcels).await;
    }

    async fn done(&self, expected: &[u32]) {
        wait_until("these are done", SOON, || async {
            let numbers = self.depot.numbers("p");
            if numbers == expected { Ok(()) } else { Err(numbers) }
        })
        .await;
    }

    async fn committed(&self, offset: i64) {
        wait_until("it is committed", SOON, || async {
            let committed = self.depot.committed(0).await;
            if committed == Some(offset) { Ok(()) } else { Err(committed) }
        })
        .await;
    }

    async fn set_committed(&self, offset: i64, metadata: &str) {
        let committed = CommittedOffset { offset, metadata: metadata.to_owned() };
        // The members of a stopped consumer are gone from the group a moment after it has closed.
        wait_until("the group lets itself be set", SOON, || async {
            let set = self.access().set_committed(&self.group(), &self.topic, 0, &committed).await;
            set.map_err(|error| format!("{error:#}"))
        })
        .await;
    }

    /// A topic for members of the group that are none of ours.
    async fn other_topic(&self) -> TestTopics {
        let spec = TopicSpec::new("other-events", 1);
        self.depot.stack.topics(&self.depot.namespace, &[spec]).await
    }

    /// Somebody who commits offsets as another member of the group, where that takes one.
    async fn intruder(&self, other: &TestTopics) -> Option<Intruder> {
        let described = self.access().group(&self.group()).await.unwrap();
        match described.protocol {
            GroupProtocol::Classic => Some(Intruder::join(self, &other.names()[0]).await),
            GroupProtocol::Consumer => None,
        }
    }

    async fn commit_as(&self, intruder: Option<&Intruder>, offset: i64) {
        match intruder {
            Some(intruder) => intruder.commit(&self.topic, offset).await,
            None => {
                let moved = CommittedOffset { offset, metadata: String::new() };
                let (access, group) = (self.access(), self.group());
                access.set_committed_as_member(&group, &self.topic, 0, &moved).await.unwrap();
            }
        }
    }
}

fn bytes(number: u32) -> Vec<u8> {
    record("p", number).payload.unwrap()
}

#[tokio::test]
async fn added_partitions_are_read_from_their_beginning() {
    let yard = Yard::plain(1).await;
    let member = yard.member();
    yard.send(0..3).await;
    yard.done(&[0, 1, 2]).await;
    yard.topics.grow(&yard.topic, 4).await;
    // Written before the consumer can know the partition.
    for partition in 1..4 {
        let id = format!("in-{partition}");
        let raw = millrace_testkit::RawOutgoing {
            key: Some(id.clone().into_bytes()),
            payload: record(&id, 7).payload,
            headers: Vec::new(),
            timestamp_ms: millrace_runtime::Clock::system().now_ms(),
        };
        yard.access().write_raw(&yard.topic, partition, &[raw]).await;
    }
    for partition in 1..4 {
        wait_until("the new partition is read", SOON, || async {
            let numbers = yard.depot.numbers(&format!("in-{partition}"));
            if numbers == [7] { Ok(()) } else { Err((partition, numbers)) }
        })
        .await;
    }
    assert_eq!(member.handle.health().partition_count, 4);
    assert_eq!(yard.depot.numbers("p"), [0, 1, 2], "the old one was not read again");
    member.leave().await;
}

#[tokio::test]
async fn a_log_truncated_past_the_committed_offset_is_read_from_what_is_left() {
    let yard = Yard::plain(1).await;
    yard.send(0..10).await;
    yard.set_committed(2, "").await;
    yard.topics.truncate(&yard.topic, 0, 6).await;
    let member = yard.member();
    yard.done(&[6, 7, 8, 9]).await;
    yard.committed(10).await;
    member.leave().await;
}

#[tokio::test]
async fn a_log_truncated_under_a_working_consumer_costs_only_what_was_cut_off() {
    let mut yard = Yard::plain(1).await;
    yard.depot.settings.in_flight_records_max = 10;
    yard.depot.settings.batch_records_max = 5;
    yard.send(0..200).await;
    let gate = Arc::new(Semaphore::new(0));
    let held = Arc::clone(&gate);
    let member = yard.depot.member(move |_| {
        let held = Arc::clone(&held);
        async move {
            drop(held.acquire().await.unwrap());
            Ok(())
        }
    });
    wait_until("it works", SOON, || async { member.handle.health().lag == 200 }).await;
    yard.topics.truncate(&yard.topic, 0, 150).await;
    gate.add_permits(1);
    wait_until("what is left is done", SOON, || async {
        let done = yard.depot.numbers("p");
        let left: Vec<u32> = done.into_iter().filter(|number| *number >= 150).collect();
        if left == (150..200).collect::<Vec<u32>>() { Ok(()) } else { Err(left) }
    })
    .await;
    yard.committed(200).await;
    member.leave().await;
}

#[tokio::test]
async fn aborted_records_are_never_handled_and_markers_hold_nothing_up() {
    let yard = Yard::plain(1).await;
    let (access, topic) = (yard.access(), yard.topic.as_str());
    let member = yard.member();
    access.write_committed(topic, &[(b"p", &bytes(0)), (b"p", &bytes(1))]).await;
    access.write_aborted(topic, &[(b"p", &bytes(66)), (b"p", &bytes(67))]).await;
    let open = access.write_open(topic, &[(b"p", &bytes(2))]).await;
    yard.send(3..4).await;
    yard.done(&[0, 1]).await;
    open.commit().await;
    yard.done(&[0, 1, 2, 3]).await;
    access.write_aborted(topic, &[(b"p", &bytes(68))]).await;
    // The last record that counts lies four offsets before the end: a marker, an aborted record and its marker follow.
    wait_until("nothing lags", SOON, || async {
        let health = member.handle.health();
        if health.lag == 0 && !health.stalled { Ok(()) } else { Err(health) }
    })
    .await;
    member.leave().await;
    let again = yard.member();
    yard.send(4..5).await;
    yard.done(&[0, 1, 2, 3, 4]).await;
    again.leave().await;
}

#[tokio::test]
async fn a_log_that_ends_in_an_aborted_transaction_is_no_stall() {
    let mut yard = Yard::plain(1).await;
    // Longer than the machine may stand still between the broker's word on the end and the reader's.
    yard.depot.settings.stall_limit = Duration::from_secs(3);
    let member = yard.member();
    yard.send(0..1).await;
    yard.done(&[0]).await;
    yard.access().write_aborted(&yard.topic, &[(b"p", &bytes(66))]).await;
    let limit = yard.depot.settings.stall_limit;
    let (mut events, watched) = (member.handle.events(), std::time::Instant::now());
    wait_until("it was watched", SOON, || async { watched.elapsed() > limit + limit / 2 }).await;
    member.turned().await;
    assert_no_stall(&mut events);
    member.leave().await;
}

#[tokio::test]
async fn compacted_holes_hold_nothing_up() {
    let yard = Yard::open(TopicSpec::new(TOPIC.as_str(), 1).compacted_soon()).await;
    let values: Vec<Vec<u8>> = (0..6).map(bytes).collect();
    let values: Vec<&[u8]> = values.iter().map(Vec::as_slice).collect();
    yard.access().write_superseded(&yard.topic, 0, b"p", &values).await;
    // Committed inside a hole: there is no record at the offset where the consumer begins.
    yard.set_committed(2, "").await;
    let member = yard.member();
    yard.done(&[5]).await;
    let end = yard.access().log_end(&yard.topic, 0).await.unwrap();
    yard.committed(end).await;
    wait_until("nothing lags", SOON, || async { member.handle.health().lag == 0 }).await;
    member.leave().await;
}

#[tokio::test]
async fn an_offset_set_back_while_it_was_away_is_obeyed() {
    let yard = Yard::plain(1).await;
    let member = yard.member();
    yard.send(0..4).await;
    yard.done(&[0, 1, 2, 3]).await;
    yard.committed(4).await;
    member.leave().await;
    yard.set_committed(1, "").await;
    let member = yard.member();
    yard.done(&[0, 1, 2, 3, 1, 2, 3]).await;
    yard.committed(4).await;
    member.leave().await;
}

#[tokio::test]
async fn foreign_metadata_beside_an_offset_moves_nothing() {
    let yard = Yard::plain(1).await;
    yard.send(0..5).await;
    for metadata in ["by hand", "!!!!", "bAAAAA==", "\u{fffd}", &"A".repeat(4096)] {
        yard.depot.done.lock().unwrap().clear();
        yard.set_committed(3, metadata).await;
        let member = yard.member();
        yard.done(&[3, 4]).await;
        yard.committed(5).await;
        member.leave().await;
    }
}

#[tokio::test]
async fn an_offset_beyond_the_end_leaves_nothing_out() {
    let yard = Yard::plain(1).await;
    yard.send(0..3).await;
    yard.set_committed(1000, "").await;
    let member = yard.member();
    // Nobody knows what was done: from the beginning, rather than to leave something out.
    yard.done(&[0, 1, 2]).await;
    yard.committed(3).await;
    member.leave().await;
}

#[tokio::test]
async fn an_offset_set_by_another_member_while_it_works_is_mended_by_its_next_commit() {
    let yard = Yard::plain(1).await;
    let other = yard.other_topic().await;
    let member = yard.member();
    yard.send(0..5).await;
    yard.done(&[0, 1, 2, 3, 4]).await;
    yard.committed(5).await;
    let intruder = yard.intruder(&other).await;
    yard.commit_as(intruder.as_ref(), 1).await;
    yard.committed(1).await;
    yard.send(5..6).await;
    yard.done(&[0, 1, 2, 3, 4, 5]).await;
    yard.committed(6).await;
    if let Some(intruder) = intruder {
        intruder.leave().await;
    }
    member.leave().await;
}

/// A bare member of the same group that reads another topic, and commits what is none of its business.
struct Intruder(Arc<BaseConsumer>);

impl Intruder {
    async fn join(yard: &Yard, topic: &str) -> Self {
        let mut config = yard.access().client();
        config.set("group.id", yard.group()).set("enable.auto.commit", "false");
        config.set("partition.assignment.strategy", "cooperative-sticky");
        config.set("session.timeout.ms", "6000");
        let consumer: BaseConsumer = config.create().unwrap();
        consumer.subscribe(&[topic]).unwrap();
        let consumer = Arc::new(consumer);
        wait_until("the intruder is in", SOON, || {
            let consumer = Arc::clone(&consumer);
            async move {
                let polled = tokio::task::spawn_blocking(move || {
                    drop(consumer.poll(Duration::from_millis(50)));
                    consumer.assignment().unwrap().count()
                });
                polled.await.unwrap() == 1
            }
        })
        .await;
        Self(consumer)
    }

    async fn commit(&self, topic: &str, offset: i64) {
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(topic, 0, Offset::Offset(offset)).unwrap();
        let consumer = Arc::clone(&self.0);
        let committed =
            tokio::task::spawn_blocking(move || consumer.commit(&list, CommitMode::Sync));
        committed.await.unwrap().unwrap();
    }

    async fn leave(self) {
        tokio::task::spawn_blocking(move || drop(self.0)).await.unwrap();
    }
}
