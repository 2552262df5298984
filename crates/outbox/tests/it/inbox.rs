//! The gate that lets a message through once.

use std::time::Duration;

use millrace_envelope::ConsumerGroup;
use millrace_outbox::{INBOX_WINDOW, class_of, inbox_claim, inbox_clean};
use millrace_resilience::Class;
use millrace_runtime::CancellationToken;
use uuid::Uuid;

use crate::harness::Bench;

const GROUP: ConsumerGroup = ConsumerGroup::from_static("walks.count");
const OTHER: ConsumerGroup = ConsumerGroup::from_static("walks.map");

#[tokio::test]
async fn a_message_is_new_once_for_each_group() {
    let bench = Bench::new().await;
    let ids = [Uuid::from_u128(1), Uuid::from_u128(2), Uuid::from_u128(2)];
    let mut transaction = bench.app.begin().await.unwrap();
    assert_eq!(inbox_claim(&mut transaction, GROUP, &ids).await.unwrap().len(), 2);
    transaction.commit().await.unwrap();

    let mut conn = bench.app.acquire().await.unwrap();
    let again = [Uuid::from_u128(2), Uuid::from_u128(3)];
    let new = inbox_claim(&mut conn, GROUP, &again).await.unwrap();
    assert_eq!(new.into_iter().collect::<Vec<_>>(), [Uuid::from_u128(3)]);
    assert_eq!(inbox_claim(&mut conn, OTHER, &ids).await.unwrap().len(), 2);
}

#[tokio::test]
async fn a_rolled_back_claim_leaves_the_message_new() {
    let bench = Bench::new().await;
    let ids = [Uuid::from_u128(1)];
    let mut transaction = bench.app.begin().await.unwrap();
    assert_eq!(inbox_claim(&mut transaction, GROUP, &ids).await.unwrap().len(), 1);
    transaction.rollback().await.unwrap();
    let mut conn = bench.app.acquire().await.unwrap();
    assert_eq!(inbox_claim(&mut conn, GROUP, &ids).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_claim_behind_an_open_one_gives_up_as_transient() {
    let bench = Bench::new().await;
    let ids = [Uuid::from_u128(1)];
    let mut open = bench.app.begin().await.unwrap();
    inbox_claim(&mut open, GROUP, &ids).await.unwrap();
    let mut second = bench.app.begin().await.unwrap();
    sqlx::query("set local lock_timeout = '50ms'").execute(&mut *second).await.unwrap();
    let refused = inbox_claim(&mut second, GROUP, &ids).await.unwrap_err();
    assert_eq!(class_of(&refused), Class::Transient);
}

#[tokio::test]
async fn only_old_messages_are_forgotten_and_a_bounded_number_at_once() {
    let bench = Bench::new().await;
    sqlx::query(
        "insert into inbox (message_id, consumer_group, handled_at) \
         select gen_random_uuid(), 'walks.count', now() - make_interval(days => n % 10) \
         from generate_series(0, 99) as n",
    )
    .execute(&bench.owner)
    .await
    .unwrap();
    let mut conn = bench.app.acquire().await.unwrap();
    let week = Duration::from_secs(7 * 24 * 3600 - 60);
    assert_eq!(inbox_clean(&mut conn, week, 20).await.unwrap(), 20);
    assert_eq!(inbox_clean(&mut conn, week, 20).await.unwrap(), 10);
    assert_eq!(inbox_clean(&mut conn, week, 20).await.unwrap(), 0);
    let left: i64 =
        sqlx::query_scalar("select count(*) from inbox").fetch_one(&bench.owner).await.unwrap();
    assert_eq!(left, 70);
}

#[tokio::test]
async fn upkeep_forgets_all_that_is_due_and_nothing_else() {
    let bench = Bench::new().await;
    for (days, rows) in [(8, 2500), (1, 3)] {
        sqlx::query(
            "insert into inbox (message_id, consumer_group, handled_at) \
             select gen_random_uuid(), 'walks.count', now() - make_interval(days => $1) \
             from generate_series(1, $2)",
        )
        .bind(days)
        .bind(rows)
        .execute(&bench.owner)
        .await
        .unwrap();
    }
    millrace_outbox::upkeep::clean(&bench.app).await.unwrap();
    let left: i64 =
        sqlx::query_scalar("select count(*) from inbox").fetch_one(&bench.owner).await.unwrap();
    assert_eq!(left, 3);
}

#[tokio::test]
async fn a_repeat_beyond_the_window_is_handled_again() {
    let bench = Bench::new().await;
    let (late, recent) = (Uuid::from_u128(1), Uuid::from_u128(2));
    let mut conn = bench.app.acquire().await.unwrap();
    assert_eq!(inbox_claim(&mut conn, GROUP, &[late, recent]).await.unwrap().len(), 2);
    for (id, beyond) in [(late, 60.0), (recent, -60.0)] {
        sqlx::query(
            "update inbox set handled_at = now() - make_interval(secs => $2) where message_id = $1",
        )
        .bind(id)
        .bind(INBOX_WINDOW.as_secs_f64() + beyond)
        .execute(&bench.owner)
        .await
        .unwrap();
    }
    millrace_outbox::upkeep::clean(&bench.app).await.unwrap();
    let new = inbox_claim(&mut conn, GROUP, &[late, recent]).await.unwrap();
    assert_eq!(new.into_iter().collect::<Vec<_>>(), [late]);
}

/// The upkeep deletes tens of thousands of rows while consumers claim: its statements are small, so nobody waits.
#[tokio::test]
async fn cleaning_a_large_table_keeps_no_consumer_waiting() {
    let bench = Bench::new().await;
    sqlx::query(
        "insert into inbox (message_id, consumer_group, handled_at) \
         select gen_random_uuid(), 'walks.count', now() - interval '8 days' from generate_series(1, 30000)",
    )
    .execute(&bench.owner)
    .await
    .unwrap();
    let cleaned = CancellationToken::new();
    let claiming = async {
        let mut conn = bench.app.acquire().await.unwrap();
        // The server says who waits for the cleaning and not merely for the machine.
        sqlx::query("set lock_timeout = '20ms'").execute(&mut *conn).await.unwrap();
        while !cleaned.is_cancelled() {
            let ids: Vec<Uuid> = (0..50).map(|_| Uuid::now_v7()).collect();
            assert_eq!(inbox_claim(&mut conn, GROUP, &ids).await.unwrap().len(), 50);
        }
    };
    let cleaning = async {
        millrace_outbox::upkeep::clean(&bench.app).await.unwrap();
        cleaned.cancel();
    };
    tokio::join!(claiming, cleaning);
    assert_eq!(
        bench
            .count("select count(*) from inbox where handled_at < now() - interval '7 days'")
            .await,
        0
    );
}
