//! SQL and rows: what is written and read, and nothing about when.
//!
//! Functions take a connection, so that the app decides what shares a transaction. No function retries and none
//! decides: a conditional write returns how many rows it changed.

pub(crate) mod intake;
pub(crate) mod orders;
pub(crate) mod payments;
pub(crate) mod products;
pub(crate) mod status_view;

/// A stored text that the domain doesn't know: written by a newer release, or by hand.
fn unknown(column: &str, value: &str) -> sqlx::Error {
    sqlx::Error::Decode(format!("column `{column}` has the unknown value `{value}`").into())
}
