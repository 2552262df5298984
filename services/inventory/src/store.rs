//! SQL and rows. Functions take the caller's connection: the use case opens and ends the transaction.
//!
//! Whoever locks both kinds of row locks reservations first, by order, then stock, by SKU. Everybody keeps to that
//! sequence, so two batches wait for each other and never for one another in a ring.

pub(crate) mod products;
pub(crate) mod reconciliation;
pub(crate) mod reservations;
pub(crate) mod stock;

use millrace_common::outbox::StoreError;

/// A stored value that the table's constraints should have kept out: somebody wrote around them.
fn unreadable(column: &'static str, value: &str) -> StoreError {
    let source = format!("`{value}` is no value of {column}").into();
    StoreError(sqlx::Error::ColumnDecode { index: column.to_owned(), source })
}
