//! The SQL of this crate, by who needs it. Everything here takes a connection and leaves the transaction to its caller.

pub(crate) mod apply;
pub(crate) mod due;
pub(crate) mod history;
pub(crate) mod runs;
pub(crate) mod state;
pub(crate) mod tasks;
