//! Orders under lock, and their changes in bulk.

use chrono::{DateTime, Utc};
use millrace_common::telemetry::db_span;
use sqlx::{FromRow, PgConnection};
use tracing::Instrument as _;
use uuid::Uuid;

use super::{payments, unknown};
use crate::domain::{
    CancelReason, Currency, Customer, Money, Order, OrderId, OrderStatus, PaymentId,
};

#[derive(FromRow)]
struct OrderRow {
    id: Uuid,
    customer_id: String,
    tenant: Option<String>,
    status: String,
    reason: Option<String>,
    currency: String,
    total_minor: i64,
    placed_at: DateTime<Utc>,
    pay_until: Option<DateTime<Utc>>,
    payment_id: Option<String>,
    version: i64,
}

impl OrderRow {
    fn order(self) -> Result<Order, sqlx::Error> {
        let status = OrderStatus::parse(&self.status, self.reason.as_deref())
            .ok_or_else(|| unknown("status", &self.status))?;
        let currency =
            Currency::parse(&self.currency).ok_or_else(|| unknown("currency", &self.currency))?;
        let payment_id = self
            .payment_id
            .map(|text| PaymentId::parse(&text).ok_or_else(|| unknown("payment_id", &text)))
            .transpose()?;
        Ok(Order {
            id: OrderId(self.id),
            customer: Customer { id: self.customer_id, tenant: self.tenant },
            status,
            total: Money { minor: self.total_minor, currency },
            placed_at: self.placed_at,
            pay_until: self.pay_until,
            payment_id,
            payments: Vec::new(),
            version: self.version,
        })
    }
}

/// Locks the orders in the order of their ids, so that overlapping batches wait instead of deadlocking, and
/// reads them with their payments. An id that isn't there is not in the result.
pub(crate) async fn orders_lock(
    conn: &mut PgConnection,
    ids: &[Uuid],
) -> Result<Vec<Order>, sqlx::Error> {
    let rows: Vec<OrderRow> = sqlx::query_as(
        "select id, customer_id, tenant, status, reason, currency, total_minor, placed_at, pay_until,
                payment_id, version
         from orders where id = any($1) order by id for update",
    )
    .bind(ids)
    .fetch_all(&mut *conn)
    .instrument(db_span("SELECT", "orders"))
    .await?;
    with_payments(conn, rows).await
}

/// Locks at most `rows_max` orders whose time to pay is over, those that wait longest first. Rows that somebody
/// else has locked are passed over: they are being settled or expired right now.
pub(crate) async fn orders_unpaid_lock(
    conn: &mut PgConnection,
    now: DateTime<Utc>,
    rows_max: u32,
) -> Result<Vec<Order>, sqlx::Error> {
    let rows: Vec<OrderRow> = sqlx::query_as(
        "select id, customer_id, tenant, status, reason, currency, total_minor, placed_at, pay_until,
                payment_id, version
         from orders where status = 'awaiting_payment' and pay_until <= $1
         order by pay_until limit $2 for update skip locked",
    )
    .bind(now)
    .bind(i64::from(rows_max))
    .fetch_all(&mut *conn)
    .instrument(db_span("SELECT", "orders"))
    .await?;
    with_payments(conn, rows).await
}

/// Locks at most `rows_max` orders that were placed by then and still wait for inventory, those that wait longest
/// first. Rows that somebody else has locked are passed over.
pub(crate) async fn orders_placed_lock(
    conn: &mut PgConnection,
    placed_by: DateTime<Utc>,
    rows_max: u32,
) -> Result<Vec<Order>, sqlx::Error> {
    let rows: Vec<OrderRow> = sqlx::query_as(
        "select id, customer_id, tenant, status, reason, currency, total_minor, placed_at, pay_until,
                payment_id, version
         from orders where status = 'placed' and placed_at <= $1
         order by placed_at limit $2 for update skip locked",
    )
    .bind(placed_by)
    .bind(i64::from(rows_max))
    .fetch_all(&mut *conn)
    .instrument(db_span("SELECT", "orders"))
    .await?;
    with_payments(conn, rows).await
}

/// Writes the changed orders, each on condition that it still has the version it was read with (`from`); returns
/// how many were.
pub(crate) async fn orders_update(
    conn: &mut PgConnection,
    changed: &[(&Order, i64)],
    now: DateTime<Utc>,
) -> Result<u64, sqlx::Error> {
    let orders = || changed.iter().map(|(order, _)| *order);
    let done = sqlx::query(
        "update orders o set status = u.status, reason = u.reason, pay_until = u.pay_until,
             payment_id = u.payment_id, version = u.version, updated_at = $8
         from unnest($1::uuid[], $2::text[], $3::text[], $4::timestamptz[], $5::text[], $6::bigint[],
                     $7::bigint[])
             as u(id, status, reason, pay_until, payment_id, version, read_version)
         where o.id = u.id and o.version = u.read_version",
    )
    .bind(orders().map(|order| order.id.0).collect::<Vec<_>>())
    .bind(orders().map(|order| order.status.as_str()).collect::<Vec<_>>())
    .bind(orders().map(|order| order.status.reason().map(CancelReason::as_str)).collect::<Vec<_>>())
    .bind(orders().map(|order| order.pay_until).collect::<Vec<_>>())
    .bind(orders().map(|order| order.payment_id.as_ref().map(PaymentId::as_str)).collect::<Vec<_>>())
    .bind(orders().map(|order| order.version).collect::<Vec<_>>())
    .bind(changed.iter().map(|(_, from)| *from).collect::<Vec<_>>())
    .bind(now)
    .execute(conn)
    .instrument(db_span("UPDATE", "orders"))
    .await?;
    Ok(done.rows_affected())
}

/// Locks the order's row; false when there is no such order, whoever's it would be.
pub(crate) async fn order_lock(conn: &mut PgConnection, id: OrderId) -> Result<bool, sqlx::Error> {
    let locked: Option<bool> =
        sqlx::query_scalar("select true from orders where id = $1 for no key update")
            .bind(id.0)
            .fetch_optional(conn)
            .instrument(db_span("SELECT", "orders"))
            .await?;
    Ok(locked.is_some())
}

async fn with_payments(
    conn: &mut PgConnection,
    rows: Vec<OrderRow>,
) -> Result<Vec<Order>, sqlx::Error> {
    let mut orders = rows.into_iter().map(OrderRow::order).collect::<Result<Vec<_>, _>>()?;
    let ids: Vec<Uuid> = orders.iter().map(|order| order.id.0).collect();
    let mut payments = payments::payments_find(conn, &ids).await?;
    for order in &mut orders {
        order.payments = payments.remove(&order.id).unwrap_or_default();
    }
    Ok(orders)
}
