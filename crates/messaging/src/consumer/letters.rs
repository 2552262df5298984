//! Letters: records that their consumer can't finish now, on their way to a retry topic or to the dead-letter topic.
//!
//! A letter is the record itself, key, value, timestamp and foreign headers untouched, with headers that say where it
//! came from and what went wrong ([`headers`]). This module writes letters and reads them back; whether a record
//! becomes one is decided by the retry policy, and how it is published without being lost or doubled by the
//! transaction (or, where there is a database, by the outbox).

mod headers;

use millrace_envelope::{ConsumerGroup, RetryTier, TopicName};
use rdkafka::Timestamp;

use super::failure::Failure;
use crate::RawOutgoing;

#[cfg_attr(not(test), expect(unused_imports, reason = "the new core reads trails of tiers"))]
pub(super) use headers::{Trail, read};

/// A header as it is: a name, and a value that may be null.
pub(super) type HeaderRef<'a> = (&'a str, Option<&'a [u8]>);

/// Where a record goes that is not finished.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Letter {
    /// Given up.
    Dead,
    /// Tried again later.
    Tier(RetryTier),
}

impl Letter {
    /// The topic for such letters of `group`; `first` is the topic that the group reads, not the tier of the moment.
    pub(super) fn topic(self, first: &TopicName, group: ConsumerGroup) -> TopicName {
        match self {
            Self::Dead => first.dead_letter(group),
            Self::Tier(tier) => first.retry(group, tier),
        }
    }
}

/// A record as it was read.
#[derive(Debug, Clone)]
pub(super) struct Source<'a> {
    /// The name on the broker of the topic it was read from.
    pub(super) topic: &'a str,
    /// The group's name on the broker.
    pub(super) group: &'a str,
    pub(super) partition: i32,
    pub(super) offset: i64,
    pub(super) timestamp: Timestamp,
    pub(super) key: Option<&'a [u8]>,
    pub(super) payload: Option<&'a [u8]>,
    pub(super) headers: Vec<HeaderRef<'a>>,
}

/// Why and after what a record becomes a letter.
#[derive(Debug, Clone, Copy)]
pub(super) struct Verdict<'a> {
    pub(super) failure: &'a Failure,
    /// Times it was handed over, on all topics together; 0 when it could not be read.
    pub(super) attempts: u32,
    /// The first failure since it was last published to its first topic.
    pub(super) first_failure_ms: i64,
    pub(super) now_ms: i64,
}

/// How much is said about the failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Detail {
    Full,
    /// Without texts: the record left no room for them.
    CodeOnly,
}

/// Writes the letter.
pub(super) fn compose(
    to: TopicName,
    letter: Letter,
    source: &Source<'_>,
    verdict: &Verdict<'_>,
    detail: Detail,
) -> RawOutgoing {
    let ours = headers::ours(letter, source, verdict, detail);
    let foreign =
        source.headers.iter().filter(|(name, _)| !ours.iter().any(|(our, _)| our == name));
    let foreign = foreign.map(|(name, value)| ((*name).to_owned(), value.map(<[u8]>::to_vec)));
    let headers = foreign
        .chain(ours.iter().map(|(name, value)| ((*name).to_owned(), Some(value.clone()))))
        .collect();
    RawOutgoing {
        topic: to,
        key: source.key.map(<[u8]>::to_vec),
        payload: source.payload.map(<[u8]>::to_vec),
        headers,
        timestamp_ms: source.timestamp.to_millis(),
    }
}

#[cfg(test)]
mod tests;
