//! The statements on the trail. There is none that changes or deletes a record.

#[cfg(test)]
mod plans;
mod records;
mod search;

pub(crate) use records::records_append;
pub(crate) use search::{RecordRow, records_search};
