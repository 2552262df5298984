//! A stop while an assignment waits for its offsets: nothing of it is begun, and the group is left as soon as the
//! question that is on its way is over, not when the session ends.
//!
//! The offsets are those of somebody's open transaction, and until it ends the coordinator tells none.

use std::time::Duration;

use millrace_messaging::GroupProtocol;
use millrace_testkit::wait_until;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::producer::{DefaultProducerContext, Producer as _, ThreadedProducer};
use rdkafka::{Offset, TopicPartitionList};
use uuid::Uuid;

use crate::harness::{Depot, GROUP, SOON};

type Withholder = ThreadedProducer<DefaultProducerContext>;

fn group(depot: &Depot) -> String {
    format!("{GROUP}{}", depot.namespace.group_suffix)
}

/// Puts an offset of the group into a transaction that stays open.
async fn withhold_offsets(depot: &Depot) -> Withholder {
    let config = millrace_testkit::kafka::client(depot.stack.addresses().kafka_port);
    let (group, topic) = (group(depot), depot.topic());
    let withheld = tokio::task::spawn_blocking(move || {
        let outsider: BaseConsumer = config.clone().set("group.id", group).create().unwrap();
        let id = format!("withholder-{}", Uuid::now_v7());
        let producer: Withholder = config.clone().set("transactional.id", id).create().unwrap();
        producer.init_transactions(SOON).unwrap();
        producer.begin_transaction().unwrap();
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(&topic, 0, Offset::Offset(1)).unwrap();
        let nobody = outsider.group_metadata().unwrap();
        producer.send_offsets_to_transaction(&list, &nobody, SOON).unwrap();
        producer
    });
    withheld.await.unwrap()
}

async fn stops(protocol: GroupProtocol) {
    let mut depot = Depot::open(1).await;
    depot.settings.group_protocol = protocol;
    // Longer than this test waits: who doesn't leave by himself is still there.
    depot.settings.session_timeout = Duration::from_secs(45);
    depot.settings.revoke_timeout = Duration::from_secs(1);
    // A question for offsets that is on its way is waited for.
    depot.settings.close_timeout = Duration::from_secs(10);
    let group = group(&depot);
    let members = async || {
        let found = depot.stack.access().group(&group).await;
        found.map_or_else(Vec::new, |found| found.members)
    };
    depot.send(&[("p", 0), ("p", 1)]).await;
    let withholder = withhold_offsets(&depot).await;

    let waiting = depot.member(|_| async { Ok(()) });
    wait_until("the broker has assigned it the partition", SOON, || async {
        let members = members().await;
        let owns = |partitions: &Vec<i32>| partitions.as_slice() == [0];
        if members.iter().any(|it| it.assigned.values().any(owns)) { Ok(()) } else { Err(members) }
    })
    .await;
    waiting.turned().await;
    assert_eq!(waiting.handle.health().partition_count, 0, "nothing is begun without offsets");
    waiting.leave().await;
    assert_eq!(members().await, [], "it has left");
    assert_eq!(depot.done(), []);

    let aborted = tokio::task::spawn_blocking(move || withholder.abort_transaction(SOON));
    aborted.await.unwrap().unwrap();
    let next = depot.member(|_| async { Ok(()) });
    wait_until("all is done", SOON, || async { depot.numbers("p").len() >= 2 }).await;
    next.leave().await;
    assert_eq!(depot.numbers("p"), [0, 1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_waits_for_its_offsets_leaves_when_it_is_stopped() {
    stops(GroupProtocol::Classic).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_waits_for_its_offsets_leaves_when_it_is_stopped_under_kip_848() {
    stops(GroupProtocol::Consumer).await;
}
