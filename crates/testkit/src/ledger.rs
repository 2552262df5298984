//! The books of a quiet system: what was accepted, where every piece of stock is, and whether every step has its
//! audit record, counted across the databases of three services that know nothing of each other.
//!
//! The three sides must agree without having spoken: orders by state, reservations and stock in inventory, records
//! in the audit trail. A lost event, a doubled effect or a lost record shows as a difference.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use anyhow::{Context, Result};
use sqlx::PgPool;

use crate::wait::try_wait_until;

/// The databases whose books are compared.
#[derive(Debug, Clone)]
pub struct Books {
    /// The order service's.
    pub order: PgPool,
    /// Inventory's.
    pub inventory: PgPool,
    /// The audit service's.
    pub audit: PgPool,
}

/// One product's pieces.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct StockLine {
    /// The product.
    pub sku: String,
    /// Pieces ever received less those taken off.
    pub loaded: i64,
    /// Pieces that can be ordered.
    pub free: i64,
    /// Pieces held for unpaid orders.
    pub held: i64,
    /// Pieces sold.
    pub sold: i64,
}

/// What the books say at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ledger {
    /// Orders by status.
    pub orders: BTreeMap<String, i64>,
    /// Every product's pieces.
    pub stock: Vec<StockLine>,
    /// Pieces by product that orders awaiting payment and confirmed orders account for.
    pub ordered: BTreeMap<String, (i64, i64)>,
    /// Audit records by action that the states of orders and reservations call for.
    pub audit_expected: BTreeMap<String, i64>,
    /// Audit records by action that the trail has (of the actions above).
    pub audit_found: BTreeMap<String, i64>,
    /// Rows that no relay has published yet.
    pub outbox_rows: i64,
}

impl Books {
    /// Reads all books once.
    ///
    /// # Errors
    /// When a database doesn't answer.
    pub async fn read(&self) -> Result<Ledger> {
        let audit_expected = self.audit_expected().await?;
        let all_found = counts(
            &self.audit,
            "select action, count(*) from audit_records where outcome = 'done'
             or action in ('reservation.reject', 'reservation.refuse') group by action",
        )
        .await?;
        let audit_found = audit_expected
            .keys()
            .map(|action| (action.clone(), all_found.get(action).copied().unwrap_or_default()))
            .collect();
        Ok(Ledger {
            orders: counts(&self.order, "select status, count(*) from orders group by status")
                .await?,
            stock: sqlx::query_as("select sku, loaded, free, held, sold from stock order by sku")
                .fetch_all(&self.inventory)
                .await
                .context("reading the stock")?,
            ordered: self.ordered().await?,
            audit_expected,
            audit_found,
            outbox_rows: outbox_rows(&self.order).await? + outbox_rows(&self.inventory).await?,
        })
    }

    /// Waits until the books balance, which takes as long as events are on their way.
    ///
    /// # Errors
    /// What still doesn't fit after `deadline`.
    pub async fn balanced(&self, deadline: Duration) -> Result<Ledger, String> {
        try_wait_until(deadline, || async {
            let ledger = self.read().await.map_err(|error| format!("{error:#}"))?;
            let problems = ledger.problems();
            if problems.is_empty() { Ok(ledger) } else { Err(problems.join("; ")) }
        })
        .await
    }

    async fn ordered(&self) -> Result<BTreeMap<String, (i64, i64)>> {
        let rows: Vec<(String, i64, i64)> = sqlx::query_as(
            "select l.sku,
                    coalesce(sum(l.quantity) filter (where o.status = 'awaiting_payment'), 0)::bigint,
                    coalesce(sum(l.quantity) filter (where o.status = 'confirmed'), 0)::bigint
             from order_lines l join orders o on o.id = l.order_id group by l.sku",
        )
        .fetch_all(&self.order)
        .await
        .context("summing the order lines")?;
        Ok(rows.into_iter().map(|(sku, held, sold)| (sku, (held, sold))).collect())
    }

    /// Each state is the trace of steps, and each step must have been recorded once.
    async fn audit_expected(&self) -> Result<BTreeMap<String, i64>> {
        let mut expected = counts(
            &self.order,
            "select 'order.place', count(*) from orders
             union all select 'order.cancel', count(*) from orders where reason = 'customer'
             union all select 'order.expire', count(*) from orders where reason = 'expired'
             union all select 'payment.receive', count(*) from idempotency
                       where caller = 'payment-provider' and status = 202",
        )
        .await?;
        expected.extend(
            counts(
                &self.inventory,
                "select 'reservation.hold', count(*) from reservations where held_at is not null
                 union all select 'reservation.reject', count(*) from reservations where status = 'rejected'
                 union all select 'reservation.refuse', count(*) from reservations where status = 'refused'
                 union all select 'reservation.confirm', count(*) from reservations where status = 'confirmed'
                 union all select 'reservation.release', count(*) from reservations where status = 'released'
                 union all select 'reservation.cancel_first', count(*) from reservations
                           where status in ('refused', 'cancelled')",
            )
            .await?,
        );
        Ok(expected)
    }
}

impl Ledger {
    /// Orders in all states.
    #[must_use]
    pub fn accepted(&self) -> i64 {
        self.orders.values().sum()
    }

    /// Everything that doesn't fit, in words; empty when the books balance.
    #[must_use]
    pub fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let placed = self.orders.get("placed").copied().unwrap_or_default();
        if placed != 0 {
            problems.push(format!("{placed} orders still wait for their reservation"));
        }
        if self.outbox_rows != 0 {
            problems.push(format!("{} outbox rows are not published", self.outbox_rows));
        }
        for line in &self.stock {
            let StockLine { sku, loaded, free, held, sold } = line;
            if *loaded != free + held + sold || [free, held, sold].into_iter().any(|n| *n < 0) {
                problems.push(format!(
                    "{sku}: loaded {loaded} is not free {free} + held {held} + sold {sold}"
                ));
            }
            let (awaiting, confirmed) = self.ordered.get(sku).copied().unwrap_or_default();
            if (awaiting, confirmed) != (*held, *sold) {
                problems.push(format!(
                    "{sku}: orders account for {awaiting} held and {confirmed} sold, stock has {held} and {sold}"
                ));
            }
        }
        for (action, expected) in &self.audit_expected {
            let found = self.audit_found.get(action).copied().unwrap_or_default();
            if *expected != found {
                problems.push(format!("audit {action}: {expected} expected, {found} found"));
            }
        }
        problems
    }
}

impl fmt::Display for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let states: Vec<String> =
            self.orders.iter().map(|(status, count)| format!("{count} {status}")).collect();
        writeln!(f, "  accepted {} = {}", self.accepted(), states.join(" + "))?;
        for StockLine { sku, loaded, free, held, sold } in &self.stock {
            writeln!(f, "  {sku}: loaded {loaded} = {free} free + {held} held + {sold} sold")?;
        }
        let expected: i64 = self.audit_expected.values().sum();
        let found: i64 = self.audit_found.values().sum();
        write!(
            f,
            "  audit records: {expected} expected, {found} found; outbox rows waiting: {}",
            self.outbox_rows
        )
    }
}

async fn outbox_rows(database: &PgPool) -> Result<i64> {
    sqlx::query_scalar("select count(*) from outbox")
        .fetch_one(database)
        .await
        .context("counting the outbox")
}

async fn counts(database: &PgPool, statement: &'static str) -> Result<BTreeMap<String, i64>> {
    let rows: Vec<(String, i64)> =
        sqlx::query_as(statement).fetch_all(database).await.with_context(|| statement)?;
    Ok(rows.into_iter().collect())
}
