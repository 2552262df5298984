//! The order service on real PostgreSQL, Redis and Kafka; inventory and the payment provider are played by the tests.

#![expect(clippy::unwrap_used, reason = "a test that can't go on panics")]

mod bad_input;
mod cancel_order;
mod configuration;
mod expiry;
mod harness;
mod idempotency;
mod inventory_events;
mod openapi;
mod order_status;
mod outages;
mod outside;
mod payment_callback;
mod payment_results;
mod place_order;
mod privileges;
mod tasks;
