//! A topic that is deleted and made again under a working consumer is another topic with the same name: none of its
//! records may be left out for what was done in the one before.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use millrace_messaging::{Producer, ProducerProfile};
use millrace_testkit::wait_until;
use tokio::sync::Semaphore;

use super::Yard;
use crate::harness::{Member, SOON, record};

impl Yard {
    /// Another topic of the same name, and the first record of it.
    async fn make_again(&self, number: u32) {
        self.topics.delete(&self.topic).await;
        self.topics.create_again(&self.topic).await;
        self.insist("p", number, &self.hasty()).await;
    }

    /// A client that has sent to the old topic may not know the new one at once, so this one gives up soon.
    fn hasty(&self) -> Producer {
        Producer::new(&self.depot.settings, ProducerProfile::Durable).unwrap()
    }

    /// Sends it until it is acknowledged; it may come twice.
    async fn insist(&self, parcel: &str, number: u32, producer: &Producer) {
        wait_until("it is acknowledged", SOON, || async {
            let sent = producer.publish(&record(parcel, number)).await;
            sent.map(drop).map_err(|error| error.to_string())
        })
        .await;
    }

    async fn committed_to_the_end(&self) {
        let end = self.access().log_end(&self.topic, 0).await.unwrap();
        self.committed(end).await;
    }

    /// All of these, in order; repeats of the last one don't count.
    async fn new_ones_done(&self, expected: std::ops::Range<u32>) {
        let expected: Vec<u32> = expected.collect();
        wait_until("the new topic is done", SOON, || async {
            let mut numbers = self.depot.numbers("p");
            numbers.retain(|number| *number >= 100);
            numbers.dedup();
            if numbers == expected { Ok(()) } else { Err(numbers) }
        })
        .await;
    }

    /// A member that stops at this number until it is let go, and by then has no room for more.
    fn member_held_at(&mut self, stop_at: u32) -> (Member, Arc<Semaphore>) {
        // It learns of nothing that it doesn't ask for itself.
        self.depot.settings.metadata_refresh = Duration::from_secs(3600);
        self.depot.settings.in_flight_records_max = 1;
        self.depot.settings.batch_records_max = 1;
        let gate = Arc::new(Semaphore::new(0));
        let held = Arc::clone(&gate);
        let member = self.depot.member(move |seen| {
            let held = Arc::clone(&held);
            async move {
                if seen.iter().any(|seen| seen.number == stop_at) {
                    drop(held.acquire().await.unwrap());
                }
                Ok(())
            }
        });
        (member, gate)
    }
}

#[tokio::test]
async fn a_position_in_the_old_topic_leaves_nothing_of_the_new_one_out() {
    let mut yard = Yard::plain(1).await;
    yard.depot.settings.lag_interval = Duration::from_secs(3600);
    let (member, gate) = yard.member_held_at(4);
    yard.send(0..5).await;
    yard.done(&[0, 1, 2, 3]).await;
    yard.committed(4).await;
    // Nothing is read meanwhile, and the new log grows past the position.
    yard.make_again(100).await;
    yard.send(101..110).await;
    gate.add_permits(1);
    yard.new_ones_done(100..110).await;
    yard.committed_to_the_end().await;
    member.leave().await;
}

#[tokio::test]
async fn a_member_that_can_read_nothing_hears_all_the_same_that_its_topic_was_made_again() {
    let mut yard = Yard::plain(1).await;
    let (member, gate) = yard.member_held_at(4);
    yard.send(0..5).await;
    yard.done(&[0, 1, 2, 3]).await;
    yard.make_again(100).await;
    yard.send(101..110).await;
    // The record in hand is never let go, and is dropped with its topic.
    yard.new_ones_done(100..110).await;
    yard.committed_to_the_end().await;
    drop(gate);
    member.leave().await;
}

#[tokio::test]
async fn an_offset_of_the_old_topic_that_lands_on_the_new_one_is_not_believed() {
    let mut yard = Yard::plain(1).await;
    // Late enough for the offset to be there, and soon enough for a rebalance in which the topic was missing.
    yard.depot.settings.lag_interval = Duration::from_secs(3);
    let other = yard.other_topic().await;
    let (member, gate) = yard.member_held_at(4);
    yard.send(0..5).await;
    yard.done(&[0, 1, 2, 3]).await;
    yard.committed(4).await;
    let intruder = yard.intruder(&other).await;
    yard.make_again(100).await;
    yard.send(101..110).await;
    // As a commit does that was on its way when the topic was deleted.
    yard.commit_as(intruder.as_ref(), 7).await;
    if let Some(intruder) = intruder {
        intruder.leave().await;
    }
    gate.add_permits(1);
    yard.new_ones_done(100..110).await;
    member.leave().await;
}

#[tokio::test]
async fn a_topic_deleted_and_made_again_is_read_from_its_beginning() {
    let yard = Yard::plain(1).await;
    let member = yard.member();
    yard.send(0..5).await;
    yard.done(&[0, 1, 2, 3, 4]).await;
    yard.committed(5).await;
    // More than there were: a position of the old topic's would lie inside the new one's log.
    yard.make_again(100).await;
    yard.send(101..110).await;
    yard.new_ones_done(100..110).await;
    yard.committed_to_the_end().await;
    member.leave().await;
}

#[tokio::test]
async fn two_topics_of_one_name_in_turn_keep_the_order_of_each_key() {
    let yard = Yard::plain(2).await;
    let member = yard.member();
    let ids = yard.depot.ids_by_partition(2).await;
    yard.topics.delete(&yard.topic).await;
    yard.topics.create_again(&yard.topic).await;
    let mut expected: BTreeMap<&str, Vec<u32>> = BTreeMap::new();
    let producer = yard.hasty();
    for number in 1..20 {
        for id in ids.values() {
            yard.insist(id, number, &producer).await;
            expected.entry(id).or_default().push(number);
        }
    }
    for (id, expected) in expected {
        wait_until("all are done", SOON, || async {
            let mut numbers = yard.depot.numbers(id);
            numbers.retain(|number| *number > 0);
            numbers.dedup();
            if numbers == expected { Ok(()) } else { Err((id, numbers)) }
        })
        .await;
    }
    member.leave().await;
}
