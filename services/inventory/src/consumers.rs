//! Envelopes in, commands to the use cases.

pub(crate) mod order_events;
