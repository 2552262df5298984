//! The headers of letters: Spring's, so that tools that read those work, and ours beside them as text.
//!
//! Spring's forms, read from its `DeadLetterPublishingRecoverer` and `DeadLetterPublishingRecovererFactory` and held
//! by tests with bytes that its own classes wrote: texts are UTF-8; a partition and the count of attempts are
//! big-endian int32, an offset and the origin's timestamp big-endian int64; the two timestamps of retry topics are the
//! shortest big-endian two's complement (`BigInteger.toByteArray`). Spring counts the delivery that is to come: a
//! record that failed once carries a 2.
//!
//! What is known of the first publication stays for good; what failed last replaces what failed before. Headers are
//! what others wrote, so nothing that is read here is trusted: a value that is no value counts as absent.

use millrace_envelope::{ErrorCode, RetryTier};
use millrace_resilience::Class;
use rdkafka::Timestamp;
use std::time::Duration;

use super::{Detail, HeaderRef, Letter, Source, Verdict};
use crate::consumer::failure::Failure;

/// Longest exception message that is kept.
pub(super) const MESSAGE_BYTES_MAX: usize = 1024;
/// Longest error chain that is kept.
pub(super) const CHAIN_BYTES_MAX: usize = 8 * 1024;

const ORIGIN_TOPIC: &str = "kafka_dlt-original-topic";
const ORIGIN_PARTITION: &str = "kafka_dlt-original-partition";
const ORIGIN_OFFSET: &str = "kafka_dlt-original-offset";
const ORIGIN_TIMESTAMP: &str = "kafka_dlt-original-timestamp";
const ORIGIN_TIMESTAMP_TYPE: &str = "kafka_dlt-original-timestamp-type";
const ORIGIN_GROUP: &str = "kafka_dlt-original-consumer-group";
const EXCEPTION_CODE: &str = "kafka_dlt-exception-fqcn";
const EXCEPTION_MESSAGE: &str = "kafka_dlt-exception-message";
const EXCEPTION_CHAIN: &str = "kafka_dlt-exception-stacktrace";
const RETRY_ATTEMPTS: &str = "retry_topic-attempts";
const RETRY_DUE: &str = "retry_topic-backoff-timestamp";
const RETRY_ORIGINAL_TIMESTAMP: &str = "retry_topic-original-timestamp";
/// Times it was handed over so far.
const ATTEMPTS: &str = "x-retry";
const REASON_CLASS: &str = "x-reason-class";
/// The first failure ever.
const FIRST_FAILURE: &str = "x-first-failure-ms";
/// The first failure since it was last published to its first topic: a record that was redriven starts anew, and its
/// time to give up must not be over before it begins.
const FAILING_SINCE: &str = "x-retry-since-ms";
const REDRIVES: &str = "x-redrive-count";

type Header = (&'static str, Vec<u8>);

/// All headers that this letter gets or replaces.
pub(super) fn ours(
    letter: Letter,
    source: &Source<'_>,
    verdict: &Verdict<'_>,
    detail: Detail,
) -> Vec<Header> {
    let before = read(source.headers.iter().copied());
    let Failure { class, code, message, chain } = verdict.failure;
    let mut headers = exception(*class, code, message, chain, detail);
    headers.extend(retry(letter, source, verdict, &before));
    let text = |number: i64| number.to_string().into_bytes();
    headers.push((ATTEMPTS, text(verdict.attempts.into())));
    headers.push((FAILING_SINCE, text(verdict.first_failure_ms)));
    if before.first_failure_ever_ms.is_none() {
        headers.push((FIRST_FAILURE, text(verdict.first_failure_ms)));
    }
    if before.redrives.is_none() {
        headers.push((REDRIVES, text(0)));
    }
    // Whatever is there already, be it torn, is somebody's account of the first origin, and ours would be another one.
    if !source.headers.iter().any(|(name, value)| *name == ORIGIN_TOPIC && value.is_some()) {
        headers.extend(origin(source));
    }
    headers
}

fn retry(
    letter: Letter,
    source: &Source<'_>,
    verdict: &Verdict<'_>,
    before: &Trail,
) -> Vec<Header> {
    let wait = match letter {
        Letter::Dead => Duration::ZERO,
        Letter::Tier(tier) => tier.wait(),
    };
    let wait_ms = i64::try_from(wait.as_millis()).unwrap_or(i64::MAX);
    let next = i32::try_from(verdict.attempts).unwrap_or(i32::MAX).saturating_add(1);
    let mut headers = vec![
        (RETRY_ATTEMPTS, next.to_be_bytes().to_vec()),
        (RETRY_DUE, shortest(verdict.now_ms.saturating_add(wait_ms))),
    ];
    if before.original_timestamp_ms.is_none() {
        headers
            .push((RETRY_ORIGINAL_TIMESTAMP, shortest(source.timestamp.to_millis().unwrap_or(-1))));
    }
    headers
}

fn origin(source: &Source<'_>) -> [Header; 6] {
    let kind = match source.timestamp {
        Timestamp::CreateTime(_) => "CreateTime",
        Timestamp::LogAppendTime(_) => "LogAppendTime",
        Timestamp::NotAvailable => "NoTimestampType",
    };
    let timestamp_ms = source.timestamp.to_millis().unwrap_or(-1);
    [
        (ORIGIN_TOPIC, source.topic.as_bytes().to_vec()),
        (ORIGIN_PARTITION, source.partition.to_be_bytes().to_vec()),
        (ORIGIN_OFFSET, source.offset.to_be_bytes().to_vec()),
        (ORIGIN_TIMESTAMP, timestamp_ms.to_be_bytes().to_vec()),
        (ORIGIN_TIMESTAMP_TYPE, kind.as_bytes().to_vec()),
        (ORIGIN_GROUP, source.group.as_bytes().to_vec()),
    ]
}

fn exception(
    class: Class,
    code: &ErrorCode,
    message: &str,
    chain: &str,
    detail: Detail,
) -> Vec<Header> {
    // Both texts are always replaced, so that none of an earlier failure stands beside the code of this one.
    let (message, chain) = match detail {
        Detail::Full => (capped(message, MESSAGE_BYTES_MAX), capped(chain, CHAIN_BYTES_MAX)),
        Detail::CodeOnly => (Vec::new(), Vec::new()),
    };
    vec![
        (EXCEPTION_CODE, code.code.as_bytes().to_vec()),
        (REASON_CLASS, class.as_str().as_bytes().to_vec()),
        (EXCEPTION_MESSAGE, message),
        (EXCEPTION_CHAIN, chain),
    ]
}

/// The text, cut at a character's border when it is too long.
fn capped(text: &str, bytes_max: usize) -> Vec<u8> {
    text.as_bytes()[..text.floor_char_boundary(bytes_max)].to_vec()
}

/// Where a record was published first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::consumer) struct Origin {
    /// The topic's name on the broker.
    pub(in crate::consumer) topic: String,
    pub(in crate::consumer) partition: i32,
    pub(in crate::consumer) offset: i64,
}

/// What a record's headers tell of its way so far.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::consumer) struct Trail {
    /// Which delivery this one is, from 1.
    pub(in crate::consumer) attempt: Option<u32>,
    /// Not to be handed over before.
    pub(in crate::consumer) due_ms: Option<i64>,
    pub(in crate::consumer) original_timestamp_ms: Option<i64>,
    /// The first failure since it was last published to its first topic.
    pub(in crate::consumer) first_failure_ms: Option<i64>,
    first_failure_ever_ms: Option<i64>,
    pub(in crate::consumer) redrives: Option<u32>,
    pub(in crate::consumer) origin: Option<Origin>,
}

impl Trail {
    /// How long a record on this tier still waits: never longer than the tier itself, because the due time was written
    /// by another machine's clock, or by anybody. Without a due time there is nothing to wait for.
    pub(in crate::consumer) fn wait(&self, tier: RetryTier, now_ms: i64) -> Duration {
        let left_ms = self.due_ms.map_or(0, |due| due.saturating_sub(now_ms).max(0));
        Duration::from_millis(left_ms.unsigned_abs()).min(tier.wait())
    }
}

/// Reads the trail. Of a header that stands more than once the last good one counts, as in Spring.
pub(in crate::consumer) fn read<'a>(headers: impl IntoIterator<Item = HeaderRef<'a>>) -> Trail {
    let mut trail = Trail::default();
    let (mut attempts, mut since) = (None, None);
    let (mut topic, mut partition, mut offset) = (None, None, None);
    for (name, value) in headers {
        let Some(value) = value else { continue };
        match name {
            RETRY_ATTEMPTS => keep(&mut trail.attempt, delivery(value)),
            RETRY_DUE => keep(&mut trail.due_ms, moment(value)),
            RETRY_ORIGINAL_TIMESTAMP => keep(&mut trail.original_timestamp_ms, moment(value)),
            ATTEMPTS => keep(&mut attempts, number::<u32>(value)),
            FIRST_FAILURE => keep(&mut trail.first_failure_ever_ms, instant(value)),
            FAILING_SINCE => keep(&mut since, instant(value)),
            REDRIVES => keep(&mut trail.redrives, number(value)),
            ORIGIN_TOPIC => keep(&mut topic, str::from_utf8(value).ok().map(str::to_owned)),
            ORIGIN_PARTITION => keep(&mut partition, value.try_into().ok().map(i32::from_be_bytes)),
            ORIGIN_OFFSET => keep(&mut offset, value.try_into().ok().map(i64::from_be_bytes)),
            _ => {}
        }
    }
    trail.attempt = trail.attempt.or(attempts.and_then(|so_far| so_far.checked_add(1)));
    trail.first_failure_ms = since.or(trail.first_failure_ever_ms);
    trail.origin = match (topic, partition, offset) {
        (Some(topic), Some(partition @ 0..), Some(offset @ 0..)) if !topic.is_empty() => {
            Some(Origin { topic, partition, offset })
        }
        _ => None,
    };
    trail
}

fn keep<T>(place: &mut Option<T>, found: Option<T>) {
    if found.is_some() {
        *place = found;
    }
}

/// Four bytes, or the single one of Spring before 2.8.
fn delivery(value: &[u8]) -> Option<u32> {
    let number = match value {
        [single] => i32::from(i8::from_be_bytes([*single])),
        _ => i32::from_be_bytes(value.try_into().ok()?),
    };
    u32::try_from(number).ok().filter(|number| *number > 0)
}

/// A time since 1970 in `BigInteger`'s form.
fn moment(value: &[u8]) -> Option<i64> {
    let padding = 8_usize.checked_sub(value.len()).filter(|padding| *padding < 8)?;
    let sign = if value[0] & 0x80 == 0 { 0x00 } else { 0xff };
    let mut bytes = [sign; 8];
    bytes[padding..].copy_from_slice(value);
    Some(i64::from_be_bytes(bytes)).filter(|ms| *ms >= 0)
}

/// The number in the fewest bytes that keep its sign.
fn shortest(number: i64) -> Vec<u8> {
    let bytes = number.to_be_bytes();
    let sign = if number < 0 { 0xff } else { 0x00 };
    let needless = |at: &usize| bytes[*at] == sign && (bytes[*at + 1] ^ sign) & 0x80 == 0;
    let from = (0..bytes.len() - 1).take_while(needless).count();
    bytes[from..].to_vec()
}

fn number<N: std::str::FromStr>(value: &[u8]) -> Option<N> {
    str::from_utf8(value).ok()?.parse().ok()
}

fn instant(value: &[u8]) -> Option<i64> {
    number(value).filter(|ms| *ms >= 0)
}

#[cfg(test)]
mod tests;
