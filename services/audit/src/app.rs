//! The use cases: append and search. Each is one statement, so neither opens a transaction.

mod append_records;
mod search_records;

pub(crate) use append_records::{Appended, append_records};
pub(crate) use search_records::search_records;
