//! The consumer groups of Millrace: who reads which topic.

use millrace_envelope::ConsumerGroup;

use crate::Topic;

/// Inventory holds, confirms and releases stock by order events.
pub const INVENTORY_RESERVE: ConsumerGroup = ConsumerGroup::from_static("inventory.reserve");
/// The order service learns what became of reservations.
pub const ORDER_RESERVATIONS: ConsumerGroup = ConsumerGroup::from_static("order.reservations");
/// The order service learns what became of payments.
pub const ORDER_PAYMENTS: ConsumerGroup = ConsumerGroup::from_static("order.payments");
/// The order service keeps its copy of products and prices.
pub const ORDER_PRODUCTS: ConsumerGroup = ConsumerGroup::from_static("order.products");
/// The audit service stores records.
pub const AUDIT_RECORD: ConsumerGroup = ConsumerGroup::from_static("audit.record");
/// Log-ingest stores request logs.
pub const LOG_INGEST_STORE: ConsumerGroup = ConsumerGroup::from_static("log-ingest.store");

/// The order service works on its scheduled tasks.
pub const ORDER_TASKS: ConsumerGroup = ConsumerGroup::from_static("order.tasks");
/// Inventory works on its scheduled tasks.
pub const INVENTORY_TASKS: ConsumerGroup = ConsumerGroup::from_static("inventory.tasks");
/// Log-ingest works on its scheduled tasks.
pub const LOG_INGEST_TASKS: ConsumerGroup = ConsumerGroup::from_static("log-ingest.tasks");

/// Every group with the topic it reads.
pub const ALL: &[(ConsumerGroup, Topic)] = &[
    (INVENTORY_RESERVE, Topic::OrderEvents),
    (ORDER_RESERVATIONS, Topic::InventoryEvents),
    (ORDER_PAYMENTS, Topic::PaymentResults),
    (ORDER_PRODUCTS, Topic::ProductChanges),
    (AUDIT_RECORD, Topic::AuditTopic),
    (LOG_INGEST_STORE, Topic::RequestLogs),
    (ORDER_TASKS, Topic::Tasks),
    (INVENTORY_TASKS, Topic::Tasks),
    (LOG_INGEST_TASKS, Topic::Tasks),
];

/// The groups to which order doesn't matter: each of their records stands for itself. Only they have retry topics,
/// where a record that waits is overtaken by those behind it.
pub const ORDER_FREE: &[ConsumerGroup] = &[AUDIT_RECORD, LOG_INGEST_STORE];
