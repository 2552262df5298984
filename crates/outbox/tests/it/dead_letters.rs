//! Outcome and letter in one commit, and the letter's bytes untouched.

use std::time::Duration;

use millrace_envelope::{ConsumerGroup, TopicName};
use millrace_messaging::{DeadLetter, DeadLetterStore as _, RawOutgoing};
use millrace_outbox::{DeadLetters, inbox_claim};
use millrace_testkit::wait_until;
use uuid::Uuid;

use crate::harness::{Bench, PATIENCE};

const GROUP: ConsumerGroup = ConsumerGroup::from_static("walks.count");

fn letter(id: u128, key: Option<&[u8]>, payload: Option<&[u8]>) -> DeadLetter {
    let header = |name: &str, value: Option<&[u8]>| (name.to_owned(), value.map(<[u8]>::to_vec));
    DeadLetter {
        message_id: Uuid::from_u128(id),
        group: GROUP,
        record: RawOutgoing {
            topic: TopicName::from_static("walk-events"),
            key: key.map(<[u8]>::to_vec),
            payload: payload.map(<[u8]>::to_vec),
            headers: vec![
                header("ce_id", Some(b"of the origin")),
                header("kafka_dlt-original-partition", Some(&3_i32.to_be_bytes())),
                header("kafka_dlt-original-offset", Some(&258_i64.to_be_bytes())),
                header("odd", Some(&[0xff, 0x00, 0xfe])),
                header("odd", Some(b"twice")),
                header("none", None),
            ],
            timestamp_ms: Some(1_700_000_000_123),
        },
    }
}

async fn counts(bench: &Bench) -> (i64, i64) {
    let dead =
        "select count(*) from inbox where outcome = 'dead' and consumer_group = 'walks.count'";
    (bench.count(dead).await, bench.waiting().await)
}

#[tokio::test]
async fn a_letter_arrives_byte_for_byte_whatever_it_holds() {
    let bench = Bench::new().await;
    let store = DeadLetters::new(bench.app.clone());
    let letters = [
        letter(1, Some(&[0x00, 0xff, 0x80]), Some(b"\xff\xfenot utf-8\x00")),
        letter(2, Some(b"walk-1"), None),
        letter(3, None, Some(b"")),
        letter(4, Some(b""), Some(b"{}")),
    ];
    for letter in &letters {
        store.bury(letter.clone()).await.unwrap();
    }
    assert_eq!(counts(&bench).await, (4, 4));
    assert_eq!(bench.relay(&[]).relay_once().await.unwrap(), 4);
    let published = bench.published().await;
    assert_eq!(published.len(), 4);
    for DeadLetter { record, message_id, .. } in &letters {
        let same = |found: &&millrace_testkit::records::RawRecord| {
            found.key == record.key && found.payload == record.payload
        };
        let found =
            published.iter().find(same).unwrap_or_else(|| panic!("{message_id} is missing"));
        let expected: Vec<(String, Vec<u8>)> = record
            .headers
            .iter()
            .map(|(name, value)| (name.clone(), value.clone().unwrap_or_default()))
            .collect();
        assert_eq!(found.headers, expected);
    }
}

#[tokio::test]
async fn a_repeat_of_a_letter_or_of_a_finished_message_changes_nothing() {
    let bench = Bench::new().await;
    let store = DeadLetters::new(bench.app.clone());
    let mut conn = bench.app.acquire().await.unwrap();
    let done = [Uuid::from_u128(1)];
    assert_eq!(inbox_claim(&mut conn, GROUP, &done).await.unwrap().len(), 1);
    store.bury(letter(1, Some(b"a"), None)).await.unwrap();
    assert_eq!(counts(&bench).await, (0, 0), "it was handled, so nobody gives it up");

    store.bury(letter(2, Some(b"a"), None)).await.unwrap();
    store.bury(letter(2, Some(b"a"), None)).await.unwrap();
    assert_eq!(counts(&bench).await, (1, 1));
    let dead = [Uuid::from_u128(2)];
    assert!(inbox_claim(&mut conn, GROUP, &dead).await.unwrap().is_empty(), "it is given up");
}

#[tokio::test]
async fn letters_of_one_key_keep_the_order_in_which_they_were_given_up() {
    let bench = Bench::new().await;
    let store = DeadLetters::new(bench.app.clone());
    for id in 1..=40_u128 {
        let key: &[u8] = if id % 2 == 0 { b"\xff\x00" } else { b"walk-1" };
        store.bury(letter(id, Some(key), Some(&id.to_be_bytes()))).await.unwrap();
    }
    assert_eq!(bench.relay(&[]).relay_once().await.unwrap(), 40);
    for key in [&b"\xff\x00"[..], b"walk-1"] {
        let published = bench.published().await;
        let of_key = published.iter().filter(|record| record.key.as_deref() == Some(key));
        let ids: Vec<_> = of_key.map(|record| record.payload.clone().unwrap()).collect();
        assert_eq!(ids.len(), 20);
        assert!(ids.is_sorted());
    }
}

/// Killed while the inbox row waits for another owner's: the statement has begun, and nothing of it stays.
#[tokio::test]
async fn a_burial_that_is_killed_leaves_neither_and_its_repeat_leaves_both() {
    let bench = Bench::new().await;
    let store = DeadLetters::new(bench.app.clone());
    let mut other = bench.owner.begin().await.unwrap();
    inbox_claim(&mut other, GROUP, &[Uuid::from_u128(1)]).await.unwrap();
    let burial = tokio::time::timeout(PATIENCE, store.bury(letter(1, Some(b"a"), None)));
    let killing = wait_until("the burial waits and is killed", Duration::from_secs(10), || async {
        let killed: Option<bool> = sqlx::query_scalar(
            "select pg_terminate_backend(pid) from pg_stat_activity \
             where wait_event_type = 'Lock' and query like 'with given_up%' \
                 and datname = current_database()",
        )
        .fetch_optional(&bench.app)
        .await
        .unwrap();
        killed == Some(true)
    });
    let (buried, ()) = tokio::join!(burial, killing);
    assert!(buried.unwrap().is_err(), "nobody may take it for buried");
    other.rollback().await.unwrap();
    assert_eq!(counts(&bench).await, (0, 0));

    wait_until("the burial's repeat", PATIENCE, || async {
        store.bury(letter(1, Some(b"a"), None)).await.is_ok()
    })
    .await;
    assert_eq!(counts(&bench).await, (1, 1));
}
