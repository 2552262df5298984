//! The lease drill: processes that contend for leases, and somebody who hurts them and their referee.
//!
//! ```text
//! Ground::open -> start (holder processes) -> write the board (so many units are to be done) + faults
//!              -> done (every unit took effect) -> judge (processes stop, sinks are read, the checker speaks)
//! ```
//! A holder that gets a lease asks the sink once how far the work is, under its token, and goes by its memory from then
//! on. So one write of a stale holder that gets through is enough: its unit is done twice, because nothing else in the
//! sinks would stop it. One lease's race through one round of the board is what the verdict counts as a run.

pub mod board;
pub mod fault;
pub mod ground;
pub mod holder;
pub mod storm;
