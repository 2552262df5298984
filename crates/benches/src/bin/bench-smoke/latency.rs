//! From placed to reserved at a steady rate, beside the same two hops through Kafka without a product around them.
//!
//! Open loop: each order has a moment at which it is due, and its time counts from there, whether or not earlier
//! ones were answered. It ends when the order's new state is committed, as PostgreSQL tells, which is when a
//! customer can see it. The bare path's time counts from the send, which flatters it by the timer's lateness.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use chrono::{DateTime, TimeDelta, Utc};
use futures::future::try_join_all;
use millrace_benches::report::Figure;
use millrace_benches::statistics::percentile;
use millrace_common::runtime::Clock;
use tokio::time::{Instant, sleep_until};
use uuid::Uuid;

use crate::bare_kafka;
use crate::bench::{Bench, SKUS, sku};

/// Orders a second.
const RATE: u32 = 100;
const SPAN: Duration = Duration::from_secs(8);
/// Each connection has a third of a second for its order before it makes the next one late.
const BUYERS: usize = 32;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Product,
    Bare,
}

/// One side's samples of all rounds.
#[derive(Debug, Default)]
struct Percentiles {
    p50: Vec<f64>,
    p99: Vec<f64>,
}

impl Percentiles {
    fn push(&mut self, milliseconds: &[f64]) {
        self.p50.push(percentile(milliseconds, 0.5));
        self.p99.push(percentile(milliseconds, 0.99));
    }

    fn figures(self, name: &str) -> [Figure; 2] {
        [
            Figure::new(format!("latency.{name}_p50"), "ms", self.p50),
            Figure::new(format!("latency.{name}_p99"), "ms", self.p99),
        ]
    }
}

pub(crate) async fn measure(bench: &mut Bench) -> Result<Vec<Figure>> {
    let mut sides = <[Percentiles; 5]>::default();
    let [product, bare, accept, hold, reserve] = &mut sides;
    product_round(bench, Duration::from_secs(2)).await?;
    for _ in 0..bench.rounds.count() {
        for side in bench.rounds.shuffled([Side::Product, Side::Bare]) {
            match side {
                Side::Bare => {
                    bare.push(&bare_kafka::round(bench.system.stack(), RATE, SPAN).await?);
                }
                Side::Product => {
                    let times = product_round(bench, SPAN).await?;
                    let part = |part: fn(&OrderTimes) -> TimeDelta| -> Vec<f64> {
                        times.iter().map(|times| milliseconds(part(times))).collect()
                    };
                    product.push(&part(|times| times.reserved - times.due));
                    accept.push(&part(|times| times.placed - times.due));
                    hold.push(&part(|times| times.held - times.placed));
                    reserve.push(&part(|times| times.reserved - times.held));
                }
            }
        }
    }
    let ratio = |product: &[f64], bare: &[f64]| -> Vec<f64> {
        product.iter().zip(bare).map(|(product, bare)| product / bare).collect()
    };
    let mut figures = vec![
        Figure::new("latency.ratio_p50", "ratio", ratio(&product.p50, &bare.p50)),
        Figure::new("latency.ratio_p99", "ratio", ratio(&product.p99, &bare.p99)),
    ];
    let names =
        ["placed_to_reserved", "bare_kafka", "of_it_due_to_placed", "of_it_to_held", "of_it_rest"];
    figures.extend(sides.into_iter().zip(names).flat_map(|(side, name)| side.figures(name)));
    Figure::void_all(&mut figures, &bench.promise().await);
    Ok(figures)
}

/// The moments of one order.
#[derive(Debug, Clone, Copy)]
struct OrderTimes {
    due: DateTime<Utc>,
    placed: DateTime<Utc>,
    held: DateTime<Utc>,
    reserved: DateTime<Utc>,
}

async fn product_round(bench: &mut Bench, span: Duration) -> Result<Vec<OrderTimes>> {
    let count = usize::try_from(RATE)? * usize::try_from(span.as_secs())?;
    let mut buyers = bench.buyers(BUYERS).await?;
    let (start, start_time) = (Instant::now(), Clock::system().now());
    let lanes = buyers.iter_mut().enumerate().map(|(lane, buyer)| async move {
        let mut placed = Vec::new();
        for number in (lane..count).step_by(BUYERS) {
            let due = Duration::from_secs(1) / RATE * u32::try_from(number)?;
            sleep_until(start + due).await;
            let order = buyer.place(&sku(number % SKUS)).await?;
            placed.push((order, start_time + due));
        }
        anyhow::Ok(placed)
    });
    let placed: Vec<(Uuid, DateTime<Utc>)> = try_join_all(lanes).await?.concat();
    bench.note_accepted(placed.len());
    bench.all_decided().await?;
    order_times(bench, &placed).await
}

async fn order_times(bench: &Bench, placed: &[(Uuid, DateTime<Utc>)]) -> Result<Vec<OrderTimes>> {
    let ids: Vec<Uuid> = placed.iter().map(|(id, _)| *id).collect();
    // By id on both sides, so that the rows meet without a map.
    let orders: Vec<(Uuid, DateTime<Utc>, DateTime<Utc>)> = sqlx::query_as(
        "select id, placed_at, pg_xact_commit_timestamp(xmin) from orders
         where id = any($1) and status = 'awaiting_payment' order by id",
    )
    .bind(&ids)
    .fetch_all(&bench.order)
    .await
    .context("asking for the orders")?;
    let holds: Vec<(Uuid, DateTime<Utc>)> = sqlx::query_as(
        "select order_id, held_at from reservations where order_id = any($1) order by order_id",
    )
    .bind(&ids)
    .fetch_all(&bench.inventory)
    .await
    .context("asking for the holds")?;
    let mut due = placed.to_vec();
    due.sort();
    ensure!(orders.len() == ids.len() && holds.len() == ids.len(), "not all orders are reserved");
    let rows = orders.into_iter().zip(holds).zip(due);
    Ok(rows
        .map(|(((_, placed, reserved), (_, held)), (_, due))| OrderTimes {
            due,
            placed,
            held,
            reserved,
        })
        .collect())
}

fn milliseconds(span: TimeDelta) -> f64 {
    span.as_seconds_f64() * 1000.0
}
