//! From a batch of envelopes to rows: each line is accepted or dropped with a reason ([`batch`]), the accepted
//! ones are written as PostgreSQL's COPY text ([`copy_text`]) and stored once each ([`store`]) in the partition
//! of their day ([`partitions`]).

pub(crate) mod batch;
mod copy_text;
pub(crate) mod line;
pub(crate) mod partitions;
pub(crate) mod store;
