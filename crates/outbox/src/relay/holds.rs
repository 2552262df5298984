//! Aggregates whose last row failed, and until when they are left alone.
//!
//! Held in memory only: another instance that takes the bucket tries for itself, and so does a restart.

use std::collections::HashMap;
use std::time::Instant;

use millrace_envelope::TopicName;
use millrace_resilience::Backoff;

/// The ordering unit: events of one aggregate on one topic. Between topics there is no order to keep.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Ordering {
    pub(super) topic: TopicName,
    pub(super) aggregate_id: String,
}

/// Held aggregates of one topic beyond which the whole topic is left alone.
const TOPIC_HELD_MAX: usize = 500;

#[derive(Debug, Default)]
pub(super) struct Holds(HashMap<Ordering, Hold>);

#[derive(Debug)]
struct Hold {
    failures: u32,
    until: Instant,
}

impl Holds {
    /// One more failure of this aggregate; returns how many there were in a row.
    pub(super) fn failed(&mut self, ordering: Ordering, now: Instant) -> u32 {
        let hold = self.0.entry(ordering).or_insert(Hold { failures: 0, until: now });
        hold.failures = hold.failures.saturating_add(1);
        hold.until = now + Backoff::STANDARD.wait(hold.failures);
        hold.failures
    }

    /// A row of it went through.
    pub(super) fn succeeded(&mut self, ordering: &Ordering) {
        self.0.remove(ordering);
    }

    /// Those to leave alone now.
    pub(super) fn held(&self, now: Instant) -> impl Iterator<Item = &Ordering> {
        self.0.iter().filter(move |(_, hold)| hold.until > now).map(|(ordering, _)| ordering)
    }

    /// Topics with too many held aggregates to name each: something is wrong with the topic. As their waits end,
    /// the topic is tried again by those.
    pub(super) fn held_topics(&self, now: Instant) -> impl Iterator<Item = TopicName> {
        let mut by_topic: HashMap<&TopicName, usize> = HashMap::new();
        for ordering in self.held(now) {
            *by_topic.entry(&ordering.topic).or_default() += 1;
        }
        let full = by_topic.into_iter().filter(|(_, held)| *held >= TOPIC_HELD_MAX);
        full.map(|(topic, _)| topic.clone()).collect::<Vec<_>>().into_iter()
    }

    /// When the next one may be tried again.
    pub(super) fn next_release(&self, now: Instant) -> Option<Instant> {
        self.0.values().map(|hold| hold.until).filter(|until| *until > now).min()
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn ordering(id: &str) -> Ordering {
        Ordering { topic: TopicName::from_static("t"), aggregate_id: id.into() }
    }

    #[test]
    fn a_failing_aggregate_is_left_alone_for_longer_each_time_and_forgiven_at_once() {
        let mut holds = Holds::default();
        let now = Instant::now();
        assert_eq!(holds.failed(ordering("a"), now), 1);
        assert_eq!(holds.failed(ordering("a"), now), 2);
        assert_eq!(holds.held(now).collect::<Vec<_>>(), [&ordering("a")]);
        let release = holds.next_release(now).unwrap();
        assert!(release > now + Duration::from_millis(99), "the second wait is at least 100 ms");
        assert_eq!(holds.held(release).count(), 0);
        assert_eq!(holds.len(), 1, "its failures are still counted");
        holds.succeeded(&ordering("a"));
        assert_eq!(holds.failed(ordering("a"), now), 1);
    }
}
