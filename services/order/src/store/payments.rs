//! Payment results that orders have taken notice of.

use std::collections::HashMap;

use millrace_common::telemetry::db_span;
use sqlx::{FromRow, PgConnection};
use tracing::Instrument as _;
use uuid::Uuid;

use super::unknown;
use crate::domain::{
    Currency, Money, Order, OrderId, Payment, PaymentId, PaymentRecord, PaymentResult, PaymentState,
};

#[derive(FromRow)]
struct PaymentRow {
    order_id: Uuid,
    payment_id: String,
    amount_minor: Option<i64>,
    currency: Option<String>,
    failure: Option<String>,
    state: String,
}

impl PaymentRow {
    fn record(self) -> Result<PaymentRecord, sqlx::Error> {
        let id = PaymentId::parse(&self.payment_id)
            .ok_or_else(|| unknown("payment_id", &self.payment_id))?;
        let state =
            PaymentState::parse(&self.state).ok_or_else(|| unknown("state", &self.state))?;
        // The table's constraints leave exactly these two forms.
        let result = match (self.amount_minor, self.currency, self.failure) {
            (Some(minor), Some(currency), _) => {
                let currency =
                    Currency::parse(&currency).ok_or_else(|| unknown("currency", &currency))?;
                PaymentResult::Succeeded(Money { minor, currency })
            }
            (_, _, failure) => PaymentResult::Failed { reason: failure.unwrap_or_default() },
        };
        Ok(PaymentRecord { payment: Payment { id, result }, state })
    }
}

/// The payments of the orders, each order's in the sequence in which they came. The caller has locked the orders.
pub(crate) async fn payments_find(
    conn: &mut PgConnection,
    orders: &[Uuid],
) -> Result<HashMap<OrderId, Vec<PaymentRecord>>, sqlx::Error> {
    let rows: Vec<PaymentRow> = sqlx::query_as(
        "select order_id, payment_id, amount_minor, currency, failure, state
         from payments where order_id = any($1) order by position",
    )
    .bind(orders)
    .fetch_all(conn)
    .instrument(db_span("SELECT", "payments"))
    .await?;
    let mut found: HashMap<OrderId, Vec<PaymentRecord>> = HashMap::new();
    for row in rows {
        found.entry(OrderId(row.order_id)).or_default().push(row.record()?);
    }
    Ok(found)
}

/// Writes the payments of the orders: new ones as rows, known ones by their state.
pub(crate) async fn payments_write(
    conn: &mut PgConnection,
    orders: &[&Order],
) -> Result<(), sqlx::Error> {
    let rows: Vec<(Uuid, &PaymentRecord)> = orders
        .iter()
        .flat_map(|order| order.payments.iter().map(|record| (order.id.0, record)))
        .collect();
    if rows.is_empty() {
        return Ok(());
    }
    let column = |of: fn(&PaymentRecord) -> Option<&str>| {
        rows.iter().map(|(_, record)| of(record)).collect::<Vec<_>>()
    };
    sqlx::query(
        "insert into payments (order_id, payment_id, result, amount_minor, currency, failure, state)
         select order_id, payment_id, result, amount_minor, currency, failure, state
         from unnest($1::uuid[], $2::text[], $3::text[], $4::bigint[], $5::text[], $6::text[], $7::text[])
             with ordinality
             as p(order_id, payment_id, result, amount_minor, currency, failure, state, nth)
         order by nth
         on conflict on constraint payments_pk do update set state = excluded.state
         where payments.state <> excluded.state",
    )
    .bind(rows.iter().map(|(order, _)| *order).collect::<Vec<_>>())
    .bind(column(|record| Some(record.payment.id.as_str())))
    .bind(column(|record| Some(record.payment.result.as_str())))
    .bind(rows.iter().map(|(_, record)| succeeded(record).map(|money| money.minor)).collect::<Vec<_>>())
    .bind(column(|record| succeeded(record).map(|money| money.currency.as_str())))
    .bind(column(failure))
    .bind(column(|record| Some(record.state.as_str())))
    .execute(conn)
    .instrument(db_span("INSERT", "payments"))
    .await?;
    Ok(())
}

fn succeeded(record: &PaymentRecord) -> Option<&Money> {
    match &record.payment.result {
        PaymentResult::Succeeded(money) => Some(money),
        PaymentResult::Failed { .. } => None,
    }
}

fn failure(record: &PaymentRecord) -> Option<&str> {
    match &record.payment.result {
        PaymentResult::Succeeded(_) => None,
        PaymentResult::Failed { reason } => Some(reason),
    }
}
