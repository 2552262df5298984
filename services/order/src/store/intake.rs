//! Placing an order as one statement: gate, key, order, lines and outbox, or nothing.
//!
//! One statement in autocommit is one round trip and one commit, which is what the intake's speed is made of.
//! The gate (a try-lock on caller and key) comes first, because behind a concurrent duplicate the insert would wait
//! for the other's end instead of telling. The unique row decides: whoever inserts it writes the rest; when a live
//! row is there, nothing is written, and the caller looks up why.

use std::time::Duration;

use millrace_common::outbox::idempotency::{Fingerprint, IdempotencyKey, lock_key};
use millrace_common::outbox::{OutboxRecord, OutboxRows, outbox_insert};
use millrace_common::telemetry::db_span;
use sqlx::{FromRow, PgPool};
use tracing::Instrument as _;

use crate::domain::Placed;

/// A client's key with what it stands for.
#[derive(Debug, Clone)]
pub(crate) struct Claim<'a> {
    /// Keys of different callers never meet.
    pub(crate) caller: &'a str,
    pub(crate) key: &'a IdempotencyKey,
    pub(crate) fingerprint: &'a Fingerprint,
    /// How long the reply is kept, by the database's clock.
    pub(crate) ttl: Duration,
}

/// The reply that repeats of the key get.
#[derive(Debug, Clone)]
pub(crate) struct StoredReply<'a> {
    pub(crate) status: u16,
    pub(crate) body: &'a str,
}

/// What the statement did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Intake {
    /// Everything is written.
    Placed,
    /// Another request with this key is at work; nothing is written.
    InFlight,
    /// The key was used before and has not expired; nothing is written.
    KeyTaken,
}

#[derive(FromRow)]
struct IntakeRow {
    open: bool,
    claimed: bool,
}

/// `exists (select from claimed)` guards the outbox rows: its fragment has no condition of its own.
const PLACE: &str = concat!(
    "with gate as materialized (select pg_try_advisory_xact_lock($1) as open),
     claimed as (
         insert into idempotency (caller, key, fingerprint, status, body, created_at, expires_at)
         select $2, $3, $4, $5, $6, now(), now() + make_interval(secs => $8) from gate where open
         on conflict (caller, key) do update set
             fingerprint = excluded.fingerprint, status = excluded.status, body = excluded.body,
             created_at = excluded.created_at, expires_at = excluded.expires_at
         where idempotency.expires_at <= now()
         returning true as mine
     ),
     placed as (
         insert into orders (id, customer_id, tenant, status, currency, total_minor, placed_at, updated_at)
         select $9, $10, $11, $12, $13, $14, $7, $7 from claimed
     ),
     lines as (
         insert into order_lines (order_id, position, sku, quantity, unit_price_minor)
         select $9, l.position, l.sku, l.quantity, l.unit_price_minor
         from claimed, unnest($15::text[], $16::int[], $17::bigint[]) with ordinality
             as l(sku, quantity, unit_price_minor, position)
     ),
     published as (",
    outbox_insert!("(select case when exists (select from claimed) then $18 else '[]' end)"),
    ")
     select open, exists (select from claimed) as claimed from gate"
);

/// Writes the order, its lines, its reply and its outbox records, if the key is free.
pub(crate) async fn order_place(
    pool: &PgPool,
    claim: &Claim<'_>,
    reply: &StoredReply<'_>,
    placed: &Placed,
    records: &[OutboxRecord],
) -> Result<Intake, sqlx::Error> {
    let (order, lines) = (&placed.order, &placed.lines);
    let quantity = |pieces: u32| i32::try_from(pieces).unwrap_or(i32::MAX);
    let rows = OutboxRows::of(records);
    let row: IntakeRow = sqlx::query_as(PLACE)
        .bind(lock_key(claim.caller, claim.key))
        .bind(claim.caller)
        .bind(claim.key.as_str())
        .bind(claim.fingerprint.as_bytes())
        .bind(i16::try_from(reply.status).unwrap_or(i16::MAX))
        .bind(reply.body)
        .bind(order.placed_at)
        .bind(claim.ttl.as_secs_f64())
        .bind(order.id.0)
        .bind(&order.customer.id)
        .bind(&order.customer.tenant)
        .bind(order.status.as_str())
        .bind(order.total.currency.as_str())
        .bind(order.total.minor)
        .bind(lines.iter().map(|line| line.sku.as_str()).collect::<Vec<_>>())
        .bind(lines.iter().map(|line| quantity(line.quantity.pieces())).collect::<Vec<_>>())
        .bind(lines.iter().map(|line| line.unit_price_minor).collect::<Vec<_>>())
        .bind(rows.as_text())
        .fetch_one(pool)
        .instrument(db_span("INSERT", "orders"))
        .await?;
    Ok(match row {
        IntakeRow { open: false, .. } => Intake::InFlight,
        IntakeRow { claimed: true, .. } => Intake::Placed,
        IntakeRow { claimed: false, .. } => Intake::KeyTaken,
    })
}
