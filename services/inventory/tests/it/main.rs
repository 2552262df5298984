//! The inventory service as it runs in production, on real PostgreSQL and Kafka.

mod adjustments;
mod bad_input;
mod configuration;
mod faults;
mod harness;
mod no_oversell;
mod openapi;
mod overdue;
mod products;
mod reconcile;
mod redelivery;
mod reserve;
mod schema;
