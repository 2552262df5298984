//! The tables `reservations` and `reservation_lines`.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use millrace_common::outbox::StoreError;
use millrace_common::telemetry::db_span;
use sqlx::PgConnection;
use tracing::Instrument as _;
use uuid::Uuid;

use super::unreadable;
use crate::domain::reservation::EndReason;
use crate::domain::{Lines, Quantity, Reservation, ReservationStatus, Sku};

/// A reservation beside one of its lines, or beside none.
#[derive(sqlx::FromRow)]
struct ReservationLineRow {
    order_id: Uuid,
    status: String,
    reason: Option<String>,
    held_at: Option<DateTime<Utc>>,
    sku: Option<String>,
    quantity: Option<i64>,
}

/// A hold that is older than it should be.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub(crate) struct OverdueRow {
    pub(crate) order_id: Uuid,
    pub(crate) held_at: DateTime<Utc>,
}

/// Locks and reads the reservations of these orders in the order of their ids; orders without one are left out.
///
/// Only this and the overdue report write a reservation, and the events of one order come from one partition;
/// the lock is for an owner that was paused and comes back after its partition went to another.
pub(crate) async fn reservations_lock(
    conn: &mut PgConnection,
    order_ids: &[Uuid],
) -> Result<Vec<Reservation>, StoreError> {
    let rows: Vec<ReservationLineRow> = sqlx::query_as(
        "select r.order_id, r.status, r.reason, r.held_at, l.sku, l.quantity \
         from reservations r left join reservation_lines l on l.order_id = r.order_id \
         where r.order_id = any($1) order by r.order_id, l.sku for no key update of r",
    )
    .bind(order_ids)
    .fetch_all(conn)
    .instrument(db_span("SELECT", "reservations"))
    .await?;
    fold(rows)
}

/// Writes reservations and the lines they hold, with one statement. Lines never change, so those that are there stay.
pub(crate) async fn reservations_write(
    conn: &mut PgConnection,
    reservations: &[&Reservation],
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    if reservations.is_empty() {
        return Ok(());
    }
    let order_ids: Vec<Uuid> = reservations.iter().map(|found| found.order_id).collect();
    let statuses: Vec<&str> = reservations.iter().map(|found| found.status.as_str()).collect();
    let reasons: Vec<Option<&str>> =
        reservations.iter().map(|found| found.reason.map(EndReason::as_str)).collect();
    let held_ats: Vec<Option<DateTime<Utc>>> =
        reservations.iter().map(|found| found.held_at).collect();
    let lines: Vec<(Uuid, &Sku, Quantity)> = reservations
        .iter()
        .flat_map(|found| found.lines.iter().map(|(sku, quantity)| (found.order_id, sku, quantity)))
        .collect();
    sqlx::query(
        "with written as ( \
             insert into reservations (order_id, status, reason, held_at, changed_at) \
             select r.order_id, r.status, r.reason, r.held_at, $5 \
             from unnest($1::uuid[], $2::text[], $3::text[], $4::timestamptz[]) \
                  as r (order_id, status, reason, held_at) \
             on conflict on constraint reservations_pk do update set status = excluded.status, \
                 reason = excluded.reason, held_at = excluded.held_at, changed_at = excluded.changed_at) \
         insert into reservation_lines (order_id, sku, quantity) \
         select l.order_id, l.sku, l.quantity \
         from unnest($6::uuid[], $7::text[], $8::bigint[]) as l (order_id, sku, quantity) \
         on conflict on constraint reservation_lines_pk do nothing",
    )
    .bind(order_ids)
    .bind(statuses)
    .bind(reasons)
    .bind(held_ats)
    .bind(now)
    .bind(lines.iter().map(|(order_id, ..)| *order_id).collect::<Vec<Uuid>>())
    .bind(lines.iter().map(|(_, sku, _)| sku.as_str()).collect::<Vec<&str>>())
    .bind(lines.iter().map(|(.., quantity)| quantity.pieces()).collect::<Vec<i64>>())
    .execute(conn)
    .instrument(db_span("INSERT", "reservations"))
    .await?;
    Ok(())
}

/// Marks at most `rows_max` holds older than `held_before` as reported and returns them.
///
/// Rows that a batch is writing right now are left for the next look: waiting here would hold that batch's order up.
pub(crate) async fn reservations_report_overdue(
    conn: &mut PgConnection,
    held_before: DateTime<Utc>,
    now: DateTime<Utc>,
    rows_max: u32,
) -> Result<Vec<OverdueRow>, StoreError> {
    Ok(sqlx::query_as(
        "update reservations set overdue_reported_at = $2 where order_id = any(array( \
             select order_id from reservations \
             where status = 'held' and overdue_reported_at is null and held_at < $1 \
             order by held_at limit $3 for no key update skip locked)) \
         returning order_id, held_at",
    )
    .bind(held_before)
    .bind(now)
    .bind(i64::from(rows_max))
    .fetch_all(conn)
    .instrument(db_span("UPDATE", "reservations"))
    .await?)
}

fn fold(rows: Vec<ReservationLineRow>) -> Result<Vec<Reservation>, StoreError> {
    let mut found: BTreeMap<Uuid, (ReservationLineRow, Vec<(Sku, Quantity)>)> = BTreeMap::new();
    for row in rows {
        let line = match (&row.sku, row.quantity) {
            (Some(sku), Some(quantity)) => Some(line(sku, quantity)?),
            (None, _) | (_, None) => None,
        };
        found.entry(row.order_id).or_insert_with(|| (row, Vec::new())).1.extend(line);
    }
    found.into_values().map(|(row, lines)| reservation(row, lines)).collect()
}

fn line(sku: &str, quantity: i64) -> Result<(Sku, Quantity), StoreError> {
    let pieces = u32::try_from(quantity).ok().and_then(|pieces| Quantity::try_new(pieces).ok());
    Ok((
        Sku::parse(sku).map_err(|_| unreadable("reservation_lines.sku", sku))?,
        pieces.ok_or_else(|| unreadable("reservation_lines.quantity", &quantity.to_string()))?,
    ))
}

fn reservation(
    row: ReservationLineRow,
    lines: Vec<(Sku, Quantity)>,
) -> Result<Reservation, StoreError> {
    let status = ReservationStatus::parse(&row.status)
        .ok_or_else(|| unreadable("reservations.status", &row.status))?;
    let reason = match &row.reason {
        None => None,
        Some(text) => {
            Some(EndReason::parse(text).ok_or_else(|| unreadable("reservations.reason", text))?)
        }
    };
    Ok(Reservation {
        order_id: row.order_id,
        status,
        lines: Lines::from_stored(lines),
        held_at: row.held_at,
        reason,
    })
}
