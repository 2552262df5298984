//! What this service does by the clock.

pub(crate) mod partition_upkeep;
