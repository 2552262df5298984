//! Each section: its sides, and the figures made of them.

pub(crate) mod backlog;
pub(crate) mod brokers;
pub(crate) mod no_op;
pub(crate) mod paced;
pub(crate) mod paths;
pub(crate) mod produced;
pub(crate) mod relayed;
pub(crate) mod telemetry_tax;
