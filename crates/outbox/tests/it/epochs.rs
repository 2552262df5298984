//! Two owners of one partition, in both orders.

use std::time::Duration;

use millrace_envelope::{ConsumerGroup, TopicName};
use millrace_messaging::{Epoch, EpochStore as _};
use millrace_outbox::{Epochs, epoch};
use millrace_testkit::wait_until;

use crate::harness::{Bench, PATIENCE};

const GROUP: ConsumerGroup = ConsumerGroup::from_static("walks.tally");
const TOPIC: TopicName = TopicName::from_static("walk-events");

async fn draw(epochs: &Epochs, partition: i32) -> Epoch {
    let number = epochs.draw(GROUP, &TOPIC, partition).await.unwrap();
    Epoch { group: GROUP, topic: TOPIC, partition, number }
}

/// True when some session of this test's database waits for a lock.
async fn somebody_waits(bench: &Bench) -> bool {
    bench.sessions("wait_event_type = 'Lock'").await > 0
}

#[tokio::test]
async fn only_the_newest_epoch_of_a_partition_may_write() {
    let bench = Bench::new().await;
    let epochs = Epochs::new(bench.app.clone());
    let first = draw(&epochs, 0).await;
    let other_partition = draw(&epochs, 1).await;
    let second = draw(&epochs, 0).await;
    assert!(second.number > first.number);
    let mut conn = bench.app.acquire().await.unwrap();
    assert!(!epoch::check(&mut conn, &first).await.unwrap());
    assert!(epoch::check(&mut conn, &second).await.unwrap());
    assert!(epoch::check(&mut conn, &other_partition).await.unwrap());
    let never_drawn = Epoch { partition: 7, ..second };
    assert!(!epoch::check(&mut conn, &never_drawn).await.unwrap());
}

#[tokio::test]
async fn a_draw_waits_for_the_write_that_was_checked_before_it() {
    let bench = Bench::new().await;
    let epochs = Epochs::new(bench.app.clone());
    let old = draw(&epochs, 0).await;
    let mut sink = bench.app.begin().await.unwrap();
    assert!(epoch::check(&mut sink, &old).await.unwrap());
    let drawing = draw(&epochs, 0);
    tokio::pin!(drawing);
    tokio::select! {
        new = &mut drawing => panic!("{} was drawn over an open write", new.number),
        () = wait_until("the draw waits", PATIENCE, || somebody_waits(&bench)) => {}
    }
    sink.commit().await.unwrap();
    assert!(drawing.await.number > old.number);
}

#[tokio::test]
async fn a_write_that_is_checked_during_a_draw_waits_and_is_refused() {
    let bench = Bench::new().await;
    let epochs = Epochs::new(bench.app.clone());
    let old = draw(&epochs, 0).await;
    let mut drawing = bench.owner.begin().await.unwrap();
    epoch::reset(&mut drawing, GROUP.as_str(), TOPIC.as_str(), Some(0)).await.unwrap();
    let mut sink = bench.app.begin().await.unwrap();
    {
        let checking = epoch::check(&mut sink, &old);
        tokio::pin!(checking);
        tokio::select! {
            passed = &mut checking => panic!("the check didn't wait for the draw: {passed:?}"),
            () = wait_until("the check waits", PATIENCE, || somebody_waits(&bench)) => {}
        }
        drawing.commit().await.unwrap();
        assert!(!checking.await.unwrap());
    }
    sink.rollback().await.unwrap();
}

#[tokio::test]
async fn a_database_set_back_in_time_hands_out_no_number_twice() {
    let bench = Bench::new().await;
    let epochs = Epochs::new(bench.app.clone());
    let stale = draw(&epochs, 0).await;
    // What a backup from before the first draw looks like; then one from before the last.
    for forget in ["delete from consumer_epoch", "update consumer_epoch set epoch = 3"] {
        sqlx::query(forget).execute(&bench.owner).await.unwrap();
        wait_until("a millisecond has passed", Duration::from_secs(5), || async {
            draw(&epochs, 0).await.number > stale.number
        })
        .await;
    }
}

#[tokio::test]
async fn a_reset_refuses_every_owner_it_names_and_nobody_else() {
    let bench = Bench::new().await;
    let epochs = Epochs::new(bench.app.clone());
    let (zero, one) = (draw(&epochs, 0).await, draw(&epochs, 1).await);
    let mut conn = bench.app.acquire().await.unwrap();
    let reset = epoch::reset(&mut conn, GROUP.as_str(), TOPIC.as_str(), Some(0)).await.unwrap();
    assert_eq!(reset.len(), 1);
    assert!(!epoch::check(&mut conn, &zero).await.unwrap());
    assert!(epoch::check(&mut conn, &one).await.unwrap());
    assert_eq!(
        epoch::reset(&mut conn, GROUP.as_str(), TOPIC.as_str(), None).await.unwrap().len(),
        2
    );
    assert!(!epoch::check(&mut conn, &one).await.unwrap());
    let listed = epoch::list(&mut conn).await.unwrap();
    assert_eq!(listed.iter().map(|status| status.partition).collect::<Vec<_>>(), [0, 1]);
}
