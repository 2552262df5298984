//! What is written, and what comes out on the topic.

use std::collections::BTreeMap;

use millrace_envelope::Envelope;
use millrace_outbox::{EncodeError, OutboxRecord, OutboxRows, RECORD_BYTES_MAX, outbox_insert};
use millrace_runtime::Clock;
use uuid::Uuid;

use crate::harness::{Bench, Step, WalkEvent, context, step};

fn event(padding: usize) -> WalkEvent {
    WalkEvent::Stepped(Step {
        walk: "w\u{fc}".into(),
        number: 1,
        padding: "\\\"\u{1}".repeat(padding),
    })
}

#[tokio::test]
async fn the_relay_publishes_the_bytes_and_headers_that_the_envelope_has() {
    let bench = Bench::new().await;
    let envelope = Envelope::new(Uuid::from_u128(7), "walks", 1_700_000_000_123, event(3));
    let expected = envelope.encode(&context()).unwrap();
    bench.append(&[OutboxRecord::of_envelope(&envelope, &context()).unwrap()]).await;

    assert_eq!(bench.relay(&[]).relay_once().await.unwrap(), 1);

    let records = bench.published().await;
    let [record] = records.as_slice() else { panic!("one record, not {}", records.len()) };
    assert_eq!(record.key.as_deref(), Some(expected.key.as_slice()));
    assert_eq!(record.payload, expected.payload);
    let text = |headers: &[(String, Vec<u8>)]| -> BTreeMap<String, String> {
        let pairs = headers
            .iter()
            .map(|(name, value)| (name.clone(), String::from_utf8_lossy(value).into_owned()));
        pairs.collect()
    };
    assert_eq!(text(&record.headers), text(&expected.headers));
    assert_eq!(record.headers.len(), expected.headers.len());
    bench.drained().await;
}

/// What Debezium's router makes of a row with the settings in README.md: the same topic, key, value and headers.
#[tokio::test]
async fn a_row_has_everything_that_change_data_capture_needs() {
    let bench = Bench::new().await;
    let envelope = Envelope::new(Uuid::from_u128(9), "walks", 1_700_000_000_123, event(0));
    let expected = envelope.encode(&context()).unwrap();
    bench.append(&[OutboxRecord::of_envelope(&envelope, &context()).unwrap()]).await;

    let row: BTreeMap<String, Option<String>> = sqlx::query_as::<_, (String, Option<String>)>(
        "select key, value from outbox, jsonb_each_text(to_jsonb(outbox))",
    )
    .fetch_all(&bench.owner)
    .await
    .unwrap()
    .into_iter()
    .collect();
    let column = |name: &str| row[name].clone().unwrap_or_default();
    assert_eq!(column("topic"), expected.topic.as_str());
    assert_eq!(column("aggregateid").as_bytes(), expected.key);
    assert_eq!(column("payload").as_bytes(), expected.payload.unwrap());
    assert_eq!(column("aggregatetype"), "walk");
    for (name, value) in &expected.headers {
        let value = String::from_utf8_lossy(value).into_owned();
        let found = match name.as_str() {
            "ce_id" => column("id"),
            "ce_type" => column("type"),
            "ce_subject" => column("aggregateid"),
            "ce_specversion" | "ce_source" | "content-type" => {
                let constants: Vec<(String, String)> =
                    serde_json::from_str(&column("headers")).unwrap();
                constants.into_iter().find(|(header, _)| header == name).unwrap().1
            }
            other => column(other),
        };
        assert_eq!(found, value, "{name}");
    }
}

#[tokio::test]
async fn a_store_writes_its_state_and_its_events_in_one_statement() {
    let bench = Bench::new().await;
    sqlx::query("create table walk (id text primary key)").execute(&bench.owner).await.unwrap();
    sqlx::query("grant insert, select on walk to millrace_walks_app")
        .execute(&bench.owner)
        .await
        .unwrap();
    let records = [step("a", 1), step("a", 2)];
    let placed: String = sqlx::query_scalar(concat!(
        "with walked as (insert into walk (id) values ($1) returning id), published as (",
        outbox_insert!("$2"),
        ") select id from walked"
    ))
    .bind("a")
    .bind(OutboxRows::of(&records).as_text())
    .fetch_one(&bench.app)
    .await
    .unwrap();
    assert_eq!(placed, "a");
    let ids: Vec<Uuid> = sqlx::query_scalar("select id from outbox order by seq")
        .fetch_all(&bench.owner)
        .await
        .unwrap();
    assert_eq!(ids, records.each_ref().map(OutboxRecord::id));
}

#[test]
fn an_event_too_large_for_the_broker_is_refused_when_it_is_built() {
    let large = WalkEvent::Stepped(Step {
        walk: "a".into(),
        number: 1,
        padding: "x".repeat(RECORD_BYTES_MAX),
    });
    let refused = OutboxRecord::of("walks", &large, &context(), &Clock::system()).unwrap_err();
    assert!(matches!(refused, EncodeError::TooLarge { .. }));
    assert!(refused.to_string().contains("RECORD_BYTES_MAX is 983040"), "{refused}");
}

#[test]
fn text_that_the_database_can_not_store_never_reaches_a_statement() {
    let nul = WalkEvent::Stepped(Step { walk: "a\0".into(), number: 1, padding: String::new() });
    let refused = OutboxRecord::of("walks", &nul, &context(), &Clock::system());
    assert!(matches!(refused, Err(EncodeError::NulInKey { .. })));
}

#[tokio::test]
async fn a_callers_name_with_a_nul_does_not_stop_the_event() {
    let bench = Bench::new().await;
    let mut context = context();
    context.actor = Some("an\0n".into());
    let record = OutboxRecord::of("walks", &event(0), &context, &Clock::system()).unwrap();
    bench.append(&[record]).await;
    let actor: String =
        sqlx::query_scalar("select ce_actor from outbox").fetch_one(&bench.owner).await.unwrap();
    assert_eq!(actor, "ann");
}
