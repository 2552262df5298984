//! Dead letters: the raw record on `<topic>.<group>.dlt` with headers that Spring's tools read, and ours beside them.
//!
//! Spring's forms: texts are UTF-8; a partition is a big-endian int32, an offset and a timestamp a big-endian int64
//! (`DeadLetterPublishingRecoverer` of spring-kafka). A record that was dead before and redriven keeps its first
//! origin; what failed last replaces what failed before.

use millrace_envelope::ErrorCode;
use millrace_resilience::Class;
use rdkafka::Timestamp;
use rdkafka::message::{Header, OwnedHeaders};

use super::failure::Failure;
use super::identity::Identity;
use super::record::{HeaderRef, Record};
use crate::producer::Outgoing;
use crate::settings::DEAD_LETTER_ROOM_BYTES;

/// Longest exception message that is kept.
const MESSAGE_BYTES_MAX: usize = 1024;
/// Longest error chain that is kept.
const CHAIN_BYTES_MAX: usize = 8 * 1024;

const ORIGIN_TOPIC: &str = "kafka_dlt-original-topic";
const ORIGIN: [&str; 6] = [
    ORIGIN_TOPIC,
    "kafka_dlt-original-partition",
    "kafka_dlt-original-offset",
    "kafka_dlt-original-timestamp",
    "kafka_dlt-original-timestamp-type",
    "kafka_dlt-original-consumer-group",
];
const EXCEPTION_CODE: &str = "kafka_dlt-exception-fqcn";
const EXCEPTION_MESSAGE: &str = "kafka_dlt-exception-message";
const EXCEPTION_CHAIN: &str = "kafka_dlt-exception-stacktrace";
const ATTEMPTS: &str = "x-retry";
const REASON_CLASS: &str = "x-reason-class";
const FIRST_FAILURE: &str = "x-first-failure-ms";
const REDRIVES: &str = "x-redrive-count";

/// Why and after what a record is given up.
pub(super) struct Verdict<'a> {
    pub(super) failure: &'a Failure,
    /// Times it was handed over, 0 when it could not be.
    pub(super) attempts: u32,
    pub(super) first_failure_ms: i64,
}

/// How much is said about the failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Detail {
    Full,
    /// Without texts: the record left no room for them.
    CodeOnly,
}

/// The record as it goes to the dead-letter topic. Key, value, timestamp and foreign headers are untouched.
pub(super) fn letter<'a>(
    identity: &Identity,
    record: &'a Record,
    verdict: &Verdict<'_>,
    detail: Detail,
    message_bytes_max: u64,
) -> Outgoing<'a> {
    let existing = record.headers();
    let ours = our_headers(identity, record, verdict, detail, existing.as_deref());
    let mut headers;
    let mut header_bytes = 0;
    if let Some(existing) = existing {
        headers = OwnedHeaders::new_with_capacity(existing.len() + ours.len());
        for (key, value) in existing {
            if !ours.iter().any(|(name, _)| *name == key) {
                headers = headers.insert(Header { key, value });
                header_bytes += key.len() + value.map_or(0, <[u8]>::len);
            }
        }
    } else {
        // Headers that can't be read are passed on as they are, and ours put behind them.
        headers = record.headers.clone();
    }
    for (key, value) in &ours {
        headers = headers.insert(Header { key, value: Some(value) });
        header_bytes += key.len() + value.len();
    }
    Outgoing {
        topic: identity.broker_dead_letter_topic.clone(),
        key: record.key.as_deref(),
        payload: record.payload.as_deref(),
        headers,
        header_bytes,
        timestamp_ms: record.timestamp_ms(),
        bytes_max: message_bytes_max + DEAD_LETTER_ROOM_BYTES,
    }
}

fn our_headers(
    identity: &Identity,
    record: &Record,
    verdict: &Verdict<'_>,
    detail: Detail,
    existing: Option<&[HeaderRef<'_>]>,
) -> Vec<(&'static str, Vec<u8>)> {
    let existing = existing.unwrap_or_default();
    let has = |name: &str| existing.iter().any(|(key, value)| *key == name && value.is_some());
    let Failure { class, code, message, chain } = verdict.failure;
    let mut headers = exception(*class, code, message, chain, detail);
    headers.push((ATTEMPTS, verdict.attempts.to_string().into_bytes()));
    if !has(FIRST_FAILURE) {
        headers.push((FIRST_FAILURE, verdict.first_failure_ms.to_string().into_bytes()));
    }
    if !has(REDRIVES) {
        headers.push((REDRIVES, b"0".to_vec()));
    }
    if !has(ORIGIN_TOPIC) {
        let kind = match record.timestamp {
            Timestamp::CreateTime(_) => "CreateTime",
            Timestamp::LogAppendTime(_) => "LogAppendTime",
            Timestamp::NotAvailable => "NoTimestampType",
        };
        let values: [Vec<u8>; 6] = [
            identity.broker_topic.clone().into_bytes(),
            record.partition.to_be_bytes().to_vec(),
            record.offset.to_be_bytes().to_vec(),
            record.timestamp_ms().unwrap_or(-1).to_be_bytes().to_vec(),
            kind.as_bytes().to_vec(),
            identity.broker_group.clone().into_bytes(),
        ];
        headers.extend(ORIGIN.into_iter().zip(values));
    }
    headers
}

fn exception(
    class: Class,
    code: &ErrorCode,
    message: &str,
    chain: &str,
    detail: Detail,
) -> Vec<(&'static str, Vec<u8>)> {
    let mut headers = vec![
        (EXCEPTION_CODE, code.code.as_bytes().to_vec()),
        (REASON_CLASS, class.as_str().as_bytes().to_vec()),
    ];
    // Both are always replaced, so that no text of an earlier failure stands beside the code of this one.
    let texts = match detail {
        Detail::Full => (capped(message, MESSAGE_BYTES_MAX), capped(chain, CHAIN_BYTES_MAX)),
        Detail::CodeOnly => (Vec::new(), Vec::new()),
    };
    headers.push((EXCEPTION_MESSAGE, texts.0));
    headers.push((EXCEPTION_CHAIN, texts.1));
    headers
}

/// The text, cut at a character's border when it is too long.
fn capped(text: &str, bytes_max: usize) -> Vec<u8> {
    text.as_bytes()[..text.floor_char_boundary(bytes_max)].to_vec()
}

#[cfg(test)]
mod tests {
    use millrace_envelope::{ConsumerGroup, TopicName};
    use rdkafka::message::Headers as _;

    use super::*;
    use crate::codes;

    fn identity() -> Identity {
        Identity {
            group: "inventory.reserve",
            topic: "order-events".into(),
            broker_group: "inventory.reserve".into(),
            broker_topic: "order-events".into(),
            broker_dead_letter_topic: TopicName::from_static("order-events")
                .dead_letter(ConsumerGroup::from_static("inventory.reserve"))
                .to_string(),
        }
    }

    fn record(headers: &[(&str, &[u8])]) -> Record {
        let headers = headers.iter().fold(OwnedHeaders::new(), |all, (key, value)| {
            all.insert(Header { key, value: Some(*value) })
        });
        Record {
            partition: 3,
            offset: 258,
            timestamp: Timestamp::CreateTime(1_700_000_000_123),
            key: None,
            payload: Some(b"\xff\x00raw".to_vec()),
            headers,
            bytes: 5,
        }
    }

    fn headers_of(record: &Record, failure: &Failure, detail: Detail) -> Vec<(String, Vec<u8>)> {
        let verdict = Verdict { failure, attempts: 2, first_failure_ms: 77 };
        let identity = identity();
        let letter = letter(&identity, record, &verdict, detail, 1_000_000);
        assert_eq!(letter.topic, "order-events.inventory.reserve.dlt");
        assert_eq!(letter.key, None);
        assert_eq!(letter.payload, Some(&b"\xff\x00raw"[..]));
        assert_eq!(letter.timestamp_ms, Some(1_700_000_000_123));
        let read = |header: Header<'_, &[u8]>| {
            (header.key.to_owned(), header.value.unwrap_or_default().to_vec())
        };
        letter.headers.iter().map(read).collect()
    }

    fn value<'a>(headers: &'a [(String, Vec<u8>)], name: &str) -> &'a [u8] {
        let found: Vec<_> = headers.iter().filter(|(key, _)| key == name).collect();
        assert_eq!(found.len(), 1, "{name} stands once in {headers:?}");
        &found[0].1
    }

    #[test]
    fn the_headers_are_springs_to_the_byte() {
        let failure = Failure::undecodable("the value is null");
        let headers = headers_of(&record(&[("ce_id", b"1")]), &failure, Detail::Full);
        assert_eq!(value(&headers, "ce_id"), b"1");
        assert_eq!(value(&headers, "kafka_dlt-original-topic"), b"order-events");
        assert_eq!(value(&headers, "kafka_dlt-original-partition"), [0, 0, 0, 3]);
        assert_eq!(value(&headers, "kafka_dlt-original-offset"), [0, 0, 0, 0, 0, 0, 1, 2]);
        assert_eq!(
            value(&headers, "kafka_dlt-original-timestamp"),
            [0x00, 0x00, 0x01, 0x8b, 0xcf, 0xe5, 0x68, 0x7b]
        );
        assert_eq!(value(&headers, "kafka_dlt-original-timestamp-type"), b"CreateTime");
        assert_eq!(value(&headers, "kafka_dlt-original-consumer-group"), b"inventory.reserve");
        assert_eq!(value(&headers, "kafka_dlt-exception-fqcn"), b"messaging.undecodable");
        assert_eq!(value(&headers, "kafka_dlt-exception-message"), b"the value is null");
        assert_eq!(value(&headers, "x-retry"), b"2");
        assert_eq!(value(&headers, "x-reason-class"), b"permanent");
        assert_eq!(value(&headers, "x-first-failure-ms"), b"77");
        assert_eq!(value(&headers, "x-redrive-count"), b"0");
    }

    #[test]
    fn a_second_death_keeps_the_first_origin_and_tells_the_last_failure() {
        let dead_before = record(&[
            ("kafka_dlt-original-topic", b"first-topic"),
            ("kafka_dlt-original-offset", &[0, 0, 0, 0, 0, 0, 0, 9]),
            ("kafka_dlt-exception-fqcn", b"old.code"),
            ("kafka_dlt-exception-message", b"old"),
            ("x-first-failure-ms", b"5"),
            ("x-redrive-count", b"4"),
        ]);
        let headers = headers_of(&dead_before, &Failure::undecodable("new"), Detail::Full);
        assert_eq!(value(&headers, "kafka_dlt-original-topic"), b"first-topic");
        assert_eq!(value(&headers, "kafka_dlt-original-offset"), [0, 0, 0, 0, 0, 0, 0, 9]);
        assert!(!headers.iter().any(|(key, _)| key == "kafka_dlt-original-partition"));
        assert_eq!(value(&headers, "kafka_dlt-exception-fqcn"), b"messaging.undecodable");
        assert_eq!(value(&headers, "kafka_dlt-exception-message"), b"new");
        assert_eq!(value(&headers, "x-first-failure-ms"), b"5");
        assert_eq!(value(&headers, "x-redrive-count"), b"4");
    }

    #[test]
    fn long_texts_are_cut_between_characters() {
        let failure = Failure {
            class: Class::Permanent,
            code: &codes::UNDECODABLE,
            message: "ä".repeat(5000),
            chain: "x".repeat(50_000),
        };
        let headers = headers_of(&record(&[]), &failure, Detail::Full);
        assert_eq!(value(&headers, "kafka_dlt-exception-message").len(), MESSAGE_BYTES_MAX);
        assert!(std::str::from_utf8(value(&headers, "kafka_dlt-exception-message")).is_ok());
        assert_eq!(value(&headers, "kafka_dlt-exception-stacktrace").len(), CHAIN_BYTES_MAX);
        let short = headers_of(&record(&[]), &failure, Detail::CodeOnly);
        assert_eq!(value(&short, "kafka_dlt-exception-stacktrace"), b"");
    }
}
