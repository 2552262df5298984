//! What it costs when everybody wants the same thing.
//!
//! Orders are placed while inventory is down, so they wait on the topic; then inventory starts and works them off.
//! Counted is from the first hold to the last order that knows of its reservation, by the services' own times in
//! their tables: starting and joining the group are no part of it.

use anyhow::{Context, Result, ensure};
use chrono::{DateTime, Utc};
use millrace_benches::report::{Figure, Goal};
use millrace_benches::statistics::of;
use millrace_common::runtime::Clock;

use crate::bench::{Bench, SKUS, place_all, sku};

const ORDERS: usize = 3000;
const BUYERS: usize = 16;
const RATIO_GOAL: f64 = 0.5;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Hot,
    Spread,
}

pub(crate) async fn measure(bench: &mut Bench) -> Result<Vec<Figure>> {
    let (mut hot, mut spread) = (Vec::new(), Vec::new());
    // The first backlog pays for cold caches and first connections.
    reservations_per_second(bench, Side::Spread).await?;
    for _ in 0..bench.rounds.count() {
        for side in bench.rounds.shuffled([Side::Hot, Side::Spread]) {
            let rate = reservations_per_second(bench, side).await?;
            match side {
                Side::Hot => hot.push(rate),
                Side::Spread => spread.push(rate),
            }
        }
    }
    let ratios = hot.iter().zip(&spread).map(|(hot, spread)| hot / spread).collect();
    let mut figures = [
        Figure::new("hot_sku.ratio", "ratio", ratios).goal(Goal::AtLeast(RATIO_GOAL)),
        Figure::new("hot_sku.one", "orders/s", hot),
        Figure::new("hot_sku.spread_over_1000", "orders/s", spread),
    ];
    Figure::void_all(&mut figures, &bench.promise().await);
    Ok(figures.to_vec())
}

async fn reservations_per_second(bench: &mut Bench, side: Side) -> Result<f64> {
    let stopped = bench.system.inventory.stop().await;
    ensure!(stopped == Some(0), "inventory ended with {stopped:?}");
    let since = Clock::system().now();
    let mut buyers = bench.buyers(BUYERS).await?;
    let number = |order: usize| match side {
        Side::Hot => 0,
        Side::Spread => order % SKUS,
    };
    place_all(&mut buyers, ORDERS, |order| sku(number(order))).await?;
    bench.note_accepted(ORDERS);
    bench.relay_idle().await?;
    bench.system.inventory.start().await;
    bench.all_decided().await?;
    let (first, held) = first_hold(bench, since).await?;
    ensure!(held == i64::try_from(ORDERS)?, "{held} of {ORDERS} orders are held");
    let last: Option<DateTime<Utc>> =
        sqlx::query_scalar("select max(updated_at) from orders where placed_at >= $1")
            .bind(since)
            .fetch_one(&bench.order)
            .await
            .context("asking for the last reserved order")?;
    let span = last.context("no order was placed")? - first;
    let span = span.to_std().context("the last order was decided before the first hold")?;
    Ok(of(ORDERS) / span.as_secs_f64())
}

async fn first_hold(bench: &Bench, since: DateTime<Utc>) -> Result<(DateTime<Utc>, i64)> {
    let found: (Option<DateTime<Utc>>, i64) =
        sqlx::query_as("select min(held_at), count(*) from reservations where held_at >= $1")
            .bind(since)
            .fetch_one(&bench.inventory)
            .await
            .context("asking for the first hold")?;
    Ok((found.0.context("nothing is held")?, found.1))
}
