//! Who failed last, and until when they are left alone: aggregates, and topics as a whole.
//!
//! A failure says something about an aggregate only when it is the aggregate's own. A row that was refused in a batch
//! with others is a suspect: it travels alone next time, and what happens then counts. A transient refusal (a missing
//! topic, a missing right) is the topic's, unless the topic took other rows since this aggregate failed last.
//!
//! Held in memory only: another instance that takes the bucket tries for itself, and so does a restart. What outlives
//! both is the table `outbox_aside`, into which an aggregate goes after enough failures of its own.

use std::collections::HashMap;
use std::time::{Duration, Instant};

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

/// Waits before a topic that refused everything is tried again.
const TOPIC_WAIT: Backoff = Backoff {
    initial: Duration::from_millis(100),
    max: Duration::from_secs(2),
    factor: 2.0,
    jitter: 0.5,
};

#[derive(Debug, Default)]
pub(super) struct Holds {
    aggregates: HashMap<Ordering, Hold>,
    topics: HashMap<TopicName, TopicHold>,
}

#[derive(Debug)]
struct Hold {
    /// In a row, and its own.
    failures: u32,
    until: Instant,
    /// What the topic had taken when it failed last.
    topic_taken: u64,
}

#[derive(Debug)]
struct TopicHold {
    failures: u32,
    until: Instant,
}

impl Holds {
    /// Refused in company: it travels alone from now on, at once.
    pub(super) fn suspected(&mut self, ordering: Ordering, topic_taken: u64, now: Instant) {
        self.aggregates.entry(ordering).or_insert(Hold { failures: 0, until: now, topic_taken });
    }

    /// One more failure of its own; returns how many there were in a row.
    pub(super) fn refused(&mut self, ordering: Ordering, topic_taken: u64, now: Instant) -> u32 {
        let hold = self.aggregates.entry(ordering);
        let hold = hold.or_insert(Hold { failures: 0, until: now, topic_taken });
        hold.failures = hold.failures.saturating_add(1);
        hold.topic_taken = topic_taken;
        hold.until = now + Backoff::STANDARD.wait(hold.failures);
        hold.failures
    }

    /// A refusal that may pass. Returns the aggregate's failures in a row when it was its own, and `None` when it
    /// was the topic's: then the topic rests, and this aggregate twice as long, so that others are tried before it.
    pub(super) fn put_off(
        &mut self,
        ordering: Ordering,
        topic_taken: u64,
        now: Instant,
    ) -> Option<u32> {
        let took_others =
            self.aggregates.get(&ordering).is_some_and(|hold| hold.topic_taken < topic_taken);
        if took_others {
            return Some(self.refused(ordering, topic_taken, now));
        }
        let topic = self.topics.entry(ordering.topic.clone());
        let topic = topic.or_insert(TopicHold { failures: 0, until: now });
        topic.failures = topic.failures.saturating_add(1);
        let wait = TOPIC_WAIT.wait(topic.failures);
        topic.until = now + wait;
        let hold = self.aggregates.entry(ordering);
        let hold = hold.or_insert(Hold { failures: 0, until: now, topic_taken });
        hold.topic_taken = topic_taken;
        hold.until = now + wait * 2;
        None
    }

    /// A row of it went through.
    pub(super) fn succeeded(&mut self, ordering: &Ordering) {
        if !self.aggregates.is_empty() {
            self.aggregates.remove(ordering);
        }
        if !self.topics.is_empty() {
            self.topics.remove(&ordering.topic);
        }
    }

    /// It is set aside, and starts anew when it is released.
    pub(super) fn forget(&mut self, ordering: &Ordering) {
        self.aggregates.remove(ordering);
    }

    /// Its next row must not share a batch with others.
    pub(super) fn travels_alone(&self, ordering: &Ordering) -> bool {
        !self.aggregates.is_empty() && self.aggregates.contains_key(ordering)
    }

    /// Those to leave alone now.
    pub(super) fn held(&self, now: Instant) -> impl Iterator<Item = &Ordering> {
        self.aggregates
            .iter()
            .filter(move |(_, hold)| hold.until > now)
            .map(|(ordering, _)| ordering)
    }

    /// Topics that refused what they were given last, and topics with too many held aggregates to name each. As the
    /// waits end, the topic is tried again.
    pub(super) fn held_topics(&self, now: Instant) -> Vec<TopicName> {
        let resting = self.topics.iter().filter(|(_, hold)| hold.until > now);
        let mut held: Vec<TopicName> = resting.map(|(topic, _)| topic.clone()).collect();
        let mut by_topic: HashMap<&TopicName, usize> = HashMap::new();
        for ordering in self.held(now) {
            *by_topic.entry(&ordering.topic).or_default() += 1;
        }
        let full = by_topic.into_iter().filter(|(_, held)| *held >= TOPIC_HELD_MAX);
        held.extend(full.map(|(topic, _)| topic.clone()));
        held
    }

    /// When the next one may be tried again.
    pub(super) fn next_release(&self, now: Instant) -> Option<Instant> {
        let aggregates = self.aggregates.values().map(|hold| hold.until);
        let topics = self.topics.values().map(|hold| hold.until);
        aggregates.chain(topics).filter(|until| *until > now).min()
    }

    /// Aggregates that failed by themselves.
    pub(super) fn len(&self) -> usize {
        self.aggregates.values().filter(|hold| hold.failures > 0).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ordering(id: &str) -> Ordering {
        Ordering { topic: TopicName::from_static("t"), aggregate_id: id.into() }
    }

    #[test]
    fn a_failing_aggregate_is_left_alone_for_longer_each_time_and_forgiven_at_once() {
        let mut holds = Holds::default();
        let now = Instant::now();
        assert_eq!(holds.refused(ordering("a"), 0, now), 1);
        assert_eq!(holds.refused(ordering("a"), 0, now), 2);
        assert_eq!(holds.held(now).collect::<Vec<_>>(), [&ordering("a")]);
        let release = holds.next_release(now).unwrap();
        assert!(release > now + Duration::from_millis(99), "the second wait is at least 100 ms");
        assert_eq!(holds.held(release).count(), 0);
        assert_eq!(holds.len(), 1, "its failures are still counted");
        assert!(holds.travels_alone(&ordering("a")));
        holds.succeeded(&ordering("a"));
        assert!(!holds.travels_alone(&ordering("a")));
        assert_eq!(holds.refused(ordering("a"), 0, now), 1);
    }

    #[test]
    fn a_suspect_is_tried_at_once_and_nothing_counts_against_it_yet() {
        let mut holds = Holds::default();
        let now = Instant::now();
        holds.suspected(ordering("a"), 0, now);
        assert_eq!((holds.held(now).count(), holds.len()), (0, 0));
        assert!(holds.travels_alone(&ordering("a")));
    }

    #[test]
    fn what_a_topic_refuses_is_held_against_an_aggregate_only_when_the_topic_took_others() {
        let mut holds = Holds::default();
        let now = Instant::now();
        assert_eq!(holds.put_off(ordering("a"), 7, now), None);
        assert_eq!(holds.held_topics(now), [TopicName::from_static("t")]);
        assert_eq!(holds.put_off(ordering("a"), 7, now), None, "nothing went through since");
        assert_eq!(holds.len(), 0);
        assert_eq!(holds.put_off(ordering("a"), 8, now), Some(1), "another one did");
        assert_eq!(holds.put_off(ordering("b"), 8, now), None, "it never failed before");
        holds.succeeded(&ordering("c"));
        assert!(holds.held_topics(now).is_empty());
    }
}
