//! The use cases, one a file. Transactions live here: each reads under lock, lets the domain decide, and writes state,
//! events and audit records in one commit; then the relay is woken.

pub(crate) mod adjust_stock;
pub(crate) mod apply_orders;
pub(crate) mod find_products;
mod journal;
pub(crate) mod put_product;
pub(crate) mod reconcile_stock;
pub(crate) mod report_overdue;

use millrace_common::outbox::{EncodeError, RelayWaker, StoreError};
use millrace_common::resilience::{Class, Classify};
use millrace_common::runtime::Clock;
use sqlx::PgPool;

use crate::metrics::Metrics;

/// What every use case needs. Cloning shares it.
#[derive(Debug, Clone)]
pub(crate) struct App {
    pub(crate) pool: PgPool,
    pub(crate) relay: RelayWaker,
    pub(crate) clock: Clock,
    pub(crate) metrics: Metrics,
}

/// The world broke: not a refusal, and nothing was written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error("the store failed")]
    Store(#[from] StoreError),
    #[error("an event could not be written")]
    Encode(#[from] EncodeError),
}

impl From<sqlx::Error> for Failure {
    fn from(error: sqlx::Error) -> Self {
        Self::Store(StoreError(error))
    }
}

impl Classify for Failure {
    fn class(&self) -> Class {
        match self {
            Self::Store(error) => error.class(),
            Self::Encode(error) => error.class(),
        }
    }
}
