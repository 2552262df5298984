//! The one table of topics: names, partitions, replication, retention, cleanup. docs/topics.md is made from it.

use millrace_envelope::{RetryTier, TopicName};

const DAY_MS: i64 = 24 * 60 * 60 * 1000;
/// The broker's own default: 1 MiB and a batch's head.
const RECORD_BYTES_MAX: u32 = 1_048_588;
/// A dead letter is its record and the headers that say what was wrong with it: without this room, a record at the
/// limit could not be put aside and would hold up its partition for good.
const DEAD_LETTER_ROOM_BYTES: u32 = 65_536;

/// Every topic of Millrace. Nobody publishes to a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Topic {
    /// What the order service decided.
    OrderEvents,
    /// What became of reservations.
    InventoryEvents,
    /// Products and prices.
    ProductChanges,
    /// Every movement of stock.
    StockChanges,
    /// The last stock level of each SKU.
    StockLevels,
    /// What the payment provider told.
    PaymentResults,
    /// Who did what.
    AuditTopic,
    /// One line a request.
    RequestLogs,
    /// What scheduled tasks have to do.
    Tasks,
}

/// How many partitions a topic gets: fixed at creation, because keys move when the count changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Profile {
    /// 24 partitions, 3 replicas, 2 of them in sync.
    Production,
    /// 6 partitions on one broker.
    Local,
    /// 2 partitions on one broker.
    Test,
}

impl Profile {
    /// Partitions of a topic.
    #[must_use]
    pub const fn partitions(self) -> i32 {
        match self {
            Self::Production => 24,
            Self::Local => 6,
            Self::Test => 2,
        }
    }

    /// Copies of each partition.
    #[must_use]
    pub const fn replication(self) -> i32 {
        match self {
            Self::Production => 3,
            Self::Local | Self::Test => 1,
        }
    }

    /// Copies that must have a record before it counts as written.
    #[must_use]
    pub const fn min_in_sync(self) -> i32 {
        match self {
            Self::Production => 2,
            Self::Local | Self::Test => 1,
        }
    }
}

/// What the broker does with old records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cleanup {
    /// Deletes them after the retention.
    Delete,
    /// Keeps the last of each key.
    Compact,
}

/// One row of the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicSpec {
    /// The logical name.
    pub name: TopicName,
    /// What its key is.
    pub key: &'static str,
    /// How long records stay, milliseconds; without meaning for compacted topics.
    pub retention_ms: i64,
    /// What happens to old records.
    pub cleanup: Cleanup,
    /// The largest record, bytes.
    pub record_bytes_max: u32,
    /// What it carries, one sentence.
    pub purpose: &'static str,
}

impl Topic {
    /// All topics, in the order of the docs.
    pub const ALL: [Self; 9] = [
        Self::OrderEvents,
        Self::InventoryEvents,
        Self::ProductChanges,
        Self::StockChanges,
        Self::StockLevels,
        Self::PaymentResults,
        Self::AuditTopic,
        Self::RequestLogs,
        Self::Tasks,
    ];

    /// This topic's row.
    #[must_use]
    pub fn spec(self) -> TopicSpec {
        let (key, days, cleanup, purpose) = match self {
            Self::OrderEvents => {
                ("order id", 14, Cleanup::Delete, "What the order service decided.")
            }
            Self::InventoryEvents => {
                ("order id", 14, Cleanup::Delete, "What became of reservations.")
            }
            Self::ProductChanges => {
                ("SKU", 0, Cleanup::Compact, "Products and prices, last state kept.")
            }
            Self::StockChanges => ("SKU", 14, Cleanup::Delete, "Every movement of stock."),
            Self::StockLevels => ("SKU", 0, Cleanup::Compact, "Stock levels, last state kept."),
            Self::PaymentResults => {
                ("order id", 14, Cleanup::Delete, "What the payment provider told.")
            }
            // Longer than any outage of the audit service: what expires here is lost for good.
            Self::AuditTopic => {
                ("resource", 30, Cleanup::Delete, "Who did what to which resource.")
            }
            Self::RequestLogs => {
                ("record id", 3, Cleanup::Delete, "One line a request; may be lost.")
            }
            Self::Tasks => {
                ("task's key", 14, Cleanup::Delete, "Attempts of scheduled tasks that are due.")
            }
        };
        let name = millrace_envelope::Topic::topic_name(&self);
        TopicSpec {
            name,
            key,
            retention_ms: days * DAY_MS,
            cleanup,
            record_bytes_max: RECORD_BYTES_MAX,
            purpose,
        }
    }
}

impl millrace_envelope::Topic for Topic {
    fn topic_name(&self) -> TopicName {
        TopicName::from_static(match self {
            Self::OrderEvents => "order-events",
            Self::InventoryEvents => "inventory-events",
            Self::ProductChanges => "product-changes",
            Self::StockChanges => "stock-changes",
            Self::StockLevels => "stock-levels",
            Self::PaymentResults => "payment-results",
            Self::AuditTopic => "audit-topic",
            Self::RequestLogs => "request-logs",
            Self::Tasks => "tasks",
        })
    }
}

/// Every topic that must exist: those above, a dead-letter topic for each consumer group, and retry topics for those
/// groups to which order doesn't matter. All have the partitions of the profile, as the source has: a letter to a retry
/// topic keeps its partition.
#[must_use]
pub fn all_specs() -> Vec<TopicSpec> {
    let mut specs: Vec<TopicSpec> = Topic::ALL.iter().map(|topic| topic.spec()).collect();
    for (group, topic) in crate::groups::ALL {
        let origin = topic.spec();
        specs.push(TopicSpec {
            name: origin.name.dead_letter(*group),
            key: origin.key,
            retention_ms: 14 * DAY_MS,
            cleanup: Cleanup::Delete,
            record_bytes_max: RECORD_BYTES_MAX + DEAD_LETTER_ROOM_BYTES,
            purpose: "What that group could not handle.",
        });
        if !crate::groups::ORDER_FREE.contains(group) {
            continue;
        }
        for tier in RetryTier::ALL {
            specs.push(TopicSpec {
                name: origin.name.retry(*group, tier),
                key: origin.key,
                // A record waits seconds here, unless its group is away: then it must outlast the outage.
                retention_ms: origin.retention_ms.max(14 * DAY_MS),
                cleanup: Cleanup::Delete,
                record_bytes_max: RECORD_BYTES_MAX + DEAD_LETTER_ROOM_BYTES,
                purpose: "What that group tries again after the time in its name.",
            });
        }
    }
    specs
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use millrace_envelope::Event;

    use super::*;
    use crate::events;

    #[test]
    fn only_groups_to_which_order_does_not_matter_have_retry_topics() {
        let names: Vec<String> = all_specs().iter().map(|spec| spec.name.to_string()).collect();
        let retries = names.iter().filter(|name| name.contains(".retry."));
        assert_eq!(
            retries.collect::<Vec<_>>(),
            [
                "audit-topic.audit.record.retry.1s",
                "audit-topic.audit.record.retry.10s",
                "audit-topic.audit.record.retry.60s",
                "request-logs.log-ingest.store.retry.1s",
                "request-logs.log-ingest.store.retry.10s",
                "request-logs.log-ingest.store.retry.60s",
            ]
        );
    }

    #[test]
    fn names_are_unique_and_every_event_travels_on_a_topic_of_the_table() {
        let specs = all_specs();
        let names: HashSet<&TopicName> = specs.iter().map(|spec| &spec.name).collect();
        assert_eq!(names.len(), specs.len());
        for topic in [
            events::OrderEvent::TOPIC,
            events::InventoryEvent::TOPIC,
            events::ProductEvent::TOPIC,
            events::StockChangeEvent::TOPIC,
            events::StockLevelEvent::TOPIC,
            events::PaymentEvent::TOPIC,
            events::AuditEvent::TOPIC,
        ] {
            assert!(names.contains(&topic), "{topic}");
        }
    }
}
