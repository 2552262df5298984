use millrace_resilience::Class;
use proptest::prelude::*;

use super::*;
use crate::codes;

const TOPIC: TopicName = TopicName::from_static("order-events");
const GROUP: ConsumerGroup = ConsumerGroup::from_static("inventory.reserve");
const NOW_MS: i64 = 1_700_000_000_123;

type Headers = Vec<(String, Option<Vec<u8>>)>;

fn source<'a>(headers: &[HeaderRef<'a>]) -> Source<'a> {
    Source {
        topic: "order-events",
        group: "inventory.reserve",
        partition: 3,
        offset: 258,
        timestamp: Timestamp::CreateTime(NOW_MS),
        key: None,
        payload: Some(b"\xff\x00raw"),
        headers: headers.to_vec(),
    }
}

fn failure(text: &str) -> Failure {
    Failure::unreadable(&crate::codes::UNDECODABLE, text.to_owned())
}

fn write(letter: Letter, source: &Source<'_>, failure: &Failure, detail: Detail) -> RawOutgoing {
    let verdict = Verdict { failure, attempts: 1, first_failure_ms: 77, now_ms: NOW_MS };
    compose(letter.topic(&TOPIC, GROUP), letter, source, &verdict, detail)
}

fn value<'a>(headers: &'a Headers, name: &str) -> &'a [u8] {
    let found: Vec<_> = headers.iter().filter(|(key, _)| key == name).collect();
    assert_eq!(found.len(), 1, "{name} stands once in {headers:?}");
    found[0].1.as_deref().unwrap()
}

fn trail(letter: &RawOutgoing) -> Trail {
    read(letter.headers.iter().map(|(name, value)| (name.as_str(), value.as_deref())))
}

#[test]
fn letters_go_to_the_topics_of_their_group() {
    let names = [Letter::Dead]
        .into_iter()
        .chain(RetryTier::ALL.map(Letter::Tier))
        .map(|letter| letter.topic(&TOPIC, GROUP).to_string());
    assert_eq!(
        names.collect::<Vec<_>>(),
        [
            "order-events.inventory.reserve.dlt",
            "order-events.inventory.reserve.retry.1s",
            "order-events.inventory.reserve.retry.10s",
            "order-events.inventory.reserve.retry.60s",
        ]
    );
}

#[test]
fn key_value_timestamp_and_foreign_headers_are_untouched_and_in_order() {
    let foreign: [HeaderRef<'_>; 4] =
        [("a", Some(b"1")), ("b", None), ("a", Some(b"\xff")), ("", Some(b""))];
    let letter = write(Letter::Dead, &source(&foreign), &failure("x"), Detail::Full);
    assert_eq!(letter.key, None);
    assert_eq!(letter.payload.as_deref(), Some(&b"\xff\x00raw"[..]));
    assert_eq!(letter.timestamp_ms, Some(NOW_MS));
    let kept = letter.headers.iter().map(|(name, value)| (name.as_str(), value.as_deref()));
    assert_eq!(kept.take(4).collect::<Vec<_>>(), foreign);
}

/// The bytes on the right were written by spring-kafka 3.3.4's own classes for the same record and failure time.
#[test]
fn the_headers_are_springs_to_the_byte() {
    let failure = failure("the value is null");
    let letter = write(Letter::Tier(RetryTier::TenSeconds), &source(&[]), &failure, Detail::Full);
    let headers = letter.headers;
    for (name, bytes) in [
        ("retry_topic-attempts", &[0, 0, 0, 2][..]),
        ("retry_topic-original-timestamp", &[0x01, 0x8b, 0xcf, 0xe5, 0x68, 0x7b]),
        ("retry_topic-backoff-timestamp", &[0x01, 0x8b, 0xcf, 0xe5, 0x8f, 0x8b]),
        ("kafka_dlt-original-topic", b"order-events"),
        ("kafka_dlt-original-partition", &[0, 0, 0, 3]),
        ("kafka_dlt-original-offset", &[0, 0, 0, 0, 0, 0, 1, 2]),
        ("kafka_dlt-original-timestamp", &[0x00, 0x00, 0x01, 0x8b, 0xcf, 0xe5, 0x68, 0x7b]),
        ("kafka_dlt-original-timestamp-type", b"CreateTime"),
        ("kafka_dlt-original-consumer-group", b"inventory.reserve"),
        // Ours in Spring's places.
        ("kafka_dlt-exception-fqcn", b"messaging.undecodable"),
        ("kafka_dlt-exception-message", b"the value is null"),
        ("x-retry", b"1"),
        ("x-reason-class", b"permanent"),
        ("x-first-failure-ms", b"77"),
        ("x-retry-since-ms", b"77"),
        ("x-redrive-count", b"0"),
    ] {
        assert_eq!(value(&headers, name), bytes, "{name}");
    }
}

#[test]
fn what_is_written_is_read_back() {
    let letter =
        write(Letter::Tier(RetryTier::OneSecond), &source(&[]), &failure("x"), Detail::Full);
    let trail = trail(&letter);
    assert_eq!(trail.attempt, Some(2));
    assert_eq!(trail.due_ms, Some(NOW_MS + 1_000));
    assert_eq!(trail.original_timestamp_ms, Some(NOW_MS));
    assert_eq!(trail.first_failure_ms, Some(77));
    assert_eq!(trail.redrives, Some(0));
    let origin = trail.origin.unwrap();
    assert_eq!((origin.topic.as_str(), origin.partition, origin.offset), ("order-events", 3, 258));
}

#[test]
fn a_second_letter_keeps_the_first_origin_and_tells_the_last_failure() {
    let dead_before = source(&[
        ("kafka_dlt-original-topic", Some(b"first-topic")),
        ("kafka_dlt-original-offset", Some(&[0, 0, 0, 0, 0, 0, 0, 9])),
        ("kafka_dlt-exception-fqcn", Some(b"old.code")),
        ("kafka_dlt-exception-message", Some(b"old")),
        ("kafka_dlt-exception-message", Some(b"older")),
        ("retry_topic-original-timestamp", Some(&[5])),
        ("retry_topic-attempts", Some(&[0, 0, 0, 9])),
        ("x-first-failure-ms", Some(b"5")),
        ("x-retry-since-ms", Some(b"6")),
        ("x-redrive-count", Some(b"4")),
    ]);
    let headers = write(Letter::Dead, &dead_before, &failure("new"), Detail::Full).headers;
    assert_eq!(value(&headers, "kafka_dlt-original-topic"), b"first-topic");
    assert_eq!(value(&headers, "kafka_dlt-original-offset"), [0, 0, 0, 0, 0, 0, 0, 9]);
    assert!(!headers.iter().any(|(key, _)| key == "kafka_dlt-original-partition"));
    assert_eq!(value(&headers, "kafka_dlt-exception-fqcn"), b"messaging.undecodable");
    assert_eq!(value(&headers, "kafka_dlt-exception-message"), b"new");
    assert_eq!(value(&headers, "retry_topic-original-timestamp"), [5]);
    assert_eq!(value(&headers, "retry_topic-attempts"), [0, 0, 0, 2]);
    assert_eq!(value(&headers, "x-first-failure-ms"), b"5");
    assert_eq!(value(&headers, "x-retry-since-ms"), b"77");
    assert_eq!(value(&headers, "x-redrive-count"), b"4");
}

#[test]
fn long_texts_are_cut_between_characters_and_left_out_where_there_is_no_room() {
    let failure = Failure {
        class: Class::Permanent,
        code: &codes::UNDECODABLE,
        message: "ä".repeat(5_000),
        chain: "x".repeat(50_000),
    };
    let headers = write(Letter::Dead, &source(&[]), &failure, Detail::Full).headers;
    let message = value(&headers, "kafka_dlt-exception-message");
    assert_eq!(message.len(), headers::MESSAGE_BYTES_MAX);
    assert!(std::str::from_utf8(message).is_ok());
    let chain = value(&headers, "kafka_dlt-exception-stacktrace");
    assert_eq!(chain.len(), headers::CHAIN_BYTES_MAX);
    let short = write(Letter::Dead, &source(&[]), &failure, Detail::CodeOnly).headers;
    assert_eq!(value(&short, "kafka_dlt-exception-stacktrace"), b"");
    assert_eq!(value(&short, "kafka_dlt-exception-fqcn"), b"messaging.undecodable");
}

proptest! {
    #[test]
    fn the_first_origin_survives_any_number_of_letters(hops in 1_usize..6, offset in 1_i64..1_000_000) {
        let mut letter = write(Letter::Tier(RetryTier::OneSecond), &source(&[]), &failure("x"), Detail::Full);
        let first = trail(&letter);
        for hop in 0..hops {
            let headers: Vec<HeaderRef<'_>> =
                letter.headers.iter().map(|(name, value)| (name.as_str(), value.as_deref())).collect();
            let later = Source { topic: "elsewhere", partition: 1, offset, ..source(&headers) };
            let failure = failure("x");
            let attempts = u32::try_from(hop).unwrap() + 2;
            let verdict = Verdict { failure: &failure, attempts, first_failure_ms: 78, now_ms: NOW_MS };
            letter = compose(TOPIC, Letter::Dead, &later, &verdict, Detail::Full);
        }
        let last = trail(&letter);
        prop_assert_eq!(&last.origin, &first.origin);
        prop_assert_eq!(last.original_timestamp_ms, first.original_timestamp_ms);
        prop_assert_eq!(last.attempt, Some(u32::try_from(hops).unwrap() + 2));
        let names: std::collections::BTreeSet<&String> = letter.headers.iter().map(|(name, _)| name).collect();
        prop_assert_eq!(names.len(), letter.headers.len(), "each header stands once");
    }
}
