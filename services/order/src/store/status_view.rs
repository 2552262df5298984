//! The read view: what is told about orders.

use chrono::{DateTime, Utc};
use millrace_common::telemetry::db_span;
use serde::Deserialize;
use sqlx::types::Json;
use sqlx::{FromRow, PgPool};
use tracing::Instrument as _;
use uuid::Uuid;

use crate::domain::{Customer, OrderId};

/// One order as its customer sees it.
#[derive(Debug, Clone, FromRow)]
pub(crate) struct OrderView {
    pub(crate) order_id: Uuid,
    pub(crate) status: String,
    pub(crate) reason: Option<String>,
    pub(crate) currency: String,
    pub(crate) total_minor: i64,
    pub(crate) placed_at: DateTime<Utc>,
    pub(crate) pay_until: Option<DateTime<Utc>>,
    pub(crate) payment_id: Option<String>,
    pub(crate) version: i64,
    pub(crate) updated_at: DateTime<Utc>,
    pub(crate) lines: Json<Vec<LineView>>,
}

/// One line as its customer sees it.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct LineView {
    pub(crate) sku: String,
    pub(crate) quantity: i32,
    pub(crate) unit_price_minor: i64,
}

/// One order in a list.
#[derive(Debug, Clone, FromRow)]
pub(crate) struct OrderSummary {
    pub(crate) order_id: Uuid,
    pub(crate) status: String,
    pub(crate) reason: Option<String>,
    pub(crate) currency: String,
    pub(crate) total_minor: i64,
    pub(crate) placed_at: DateTime<Utc>,
}

/// Where a page of the list begins: behind this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Position {
    pub(crate) placed_at: DateTime<Utc>,
    pub(crate) order_id: Uuid,
}

/// The order, if it is `owner`'s; without an owner, whoever's it is.
pub(crate) async fn order_view_find(
    pool: &PgPool,
    id: OrderId,
    owner: Option<&Customer>,
) -> Result<Option<OrderView>, sqlx::Error> {
    sqlx::query_as(
        "select order_id, status, reason, currency, total_minor, placed_at, pay_until, payment_id, version,
                updated_at, lines
         from status_view
         where order_id = $1 and ($2::text is null or (customer_id = $2 and tenant is not distinct from $3))",
    )
    .bind(id.0)
    .bind(owner.map(|owner| owner.id.as_str()))
    .bind(owner.and_then(|owner| owner.tenant.as_deref()))
    .fetch_optional(pool)
    .instrument(db_span("SELECT", "status_view"))
    .await
}

/// The owner's newest orders.
pub(crate) async fn order_view_first(
    pool: &PgPool,
    owner: &Customer,
    rows_max: u32,
) -> Result<Vec<OrderSummary>, sqlx::Error> {
    sqlx::query_as(
        "select order_id, status, reason, currency, total_minor, placed_at
         from status_view
         where customer_id = $1 and tenant is not distinct from $2
         order by placed_at desc, order_id desc
         limit $3",
    )
    .bind(&owner.id)
    .bind(&owner.tenant)
    .bind(i64::from(rows_max))
    .fetch_all(pool)
    .instrument(db_span("SELECT", "status_view"))
    .await
}

/// The owner's orders behind `after`, newest first. A statement of its own, because a condition that may be
/// absent would keep the planner from starting in the middle of the index.
pub(crate) async fn order_view_next(
    pool: &PgPool,
    owner: &Customer,
    after: Position,
    rows_max: u32,
) -> Result<Vec<OrderSummary>, sqlx::Error> {
    sqlx::query_as(
        "select order_id, status, reason, currency, total_minor, placed_at
         from status_view
         where customer_id = $1 and tenant is not distinct from $2 and (placed_at, order_id) < ($3, $4)
         order by placed_at desc, order_id desc
         limit $5",
    )
    .bind(&owner.id)
    .bind(&owner.tenant)
    .bind(after.placed_at)
    .bind(after.order_id)
    .bind(i64::from(rows_max))
    .fetch_all(pool)
    .instrument(db_span("SELECT", "status_view"))
    .await
}
