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

/// Every group with the topic it reads.
pub const ALL: &[(ConsumerGroup, Topic)] = &[
    (INVENTORY_RESERVE, Topic::OrderEvents),
    (ORDER_RESERVATIONS, Topic::InventoryEvents),
    (ORDER_PAYMENTS, Topic::PaymentResults),
    (ORDER_PRODUCTS, Topic::ProductChanges),
    (AUDIT_RECORD, Topic::AuditTopic),
    (LOG_INGEST_STORE, Topic::RequestLogs),
];

/// The groups to which order doesn't matter: each of their records stands for itself. Only they have retry topics,
/// where a record that waits is overtaken by those behind it.
pub const ORDER_FREE: &[ConsumerGroup] = &[AUDIT_RECORD, LOG_INGEST_STORE];
