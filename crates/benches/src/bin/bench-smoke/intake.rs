//! Placing orders over HTTP beside pgbench writing the same rows with the same statement.
//!
//! Only the order service runs, as the issue asks for the intake alone; its relay publishes meanwhile, because it is
//! part of the process. Before the other side has its turn the relay has emptied the outbox. At the end the
//! other services work off everything, and the books say whether each accepted order was taken once.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use futures::future::try_join_all;
use millrace_benches::report::{Figure, Goal};
use millrace_benches::statistics::of;

use crate::bench::{Bench, SKUS, sku};
use crate::buyer::Buyer;
use crate::pgbench::{CLIENTS, Pgbench};

const SPAN: Duration = Duration::from_secs(4);
const WARM_UP: Duration = Duration::from_secs(1);
const RATIO_GOAL: f64 = 0.5;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Product,
    Pgbench,
}

pub(crate) async fn measure(bench: &mut Bench) -> Result<Vec<Figure>> {
    for service in bench.downstream() {
        let stopped = service.stop().await;
        ensure!(stopped == Some(0), "a service ended with {stopped:?}");
    }
    let mut pgbench = Pgbench::prepare(bench).await?;
    let (mut product, mut bare) = (Vec::new(), Vec::new());
    orders_per_second(bench, WARM_UP).await?;
    pgbench.run(WARM_UP).await?;
    for _ in 0..bench.rounds.count() {
        for side in bench.rounds.shuffled([Side::Product, Side::Pgbench]) {
            match side {
                Side::Product => product.push(orders_per_second(bench, SPAN).await?),
                Side::Pgbench => bare.push(pgbench.run(SPAN).await?),
            }
        }
    }
    for service in bench.downstream() {
        service.launch().await;
    }
    for service in bench.downstream() {
        service.wait_ready().await;
    }
    let ratios = product.iter().zip(&bare).map(|(product, bare)| product / bare).collect();
    let mut figures = [
        Figure::new("intake.ratio", "ratio", ratios).goal(Goal::AtLeast(RATIO_GOAL)),
        Figure::new("intake.http", "orders/s", product),
        Figure::new("intake.pgbench", "orders/s", bare),
    ];
    Figure::void_all(&mut figures, &bench.promise().await);
    Ok(figures.to_vec())
}

/// Orders answered with 202 a second, [`CLIENTS`] at a time.
async fn orders_per_second(bench: &mut Bench, span: Duration) -> Result<f64> {
    let mut buyers = bench.buyers(CLIENTS).await?;
    let started = Instant::now();
    let lanes = buyers.iter_mut().enumerate().map(|(lane, buyer)| keep_placing(buyer, lane, span));
    let accepted: usize = try_join_all(lanes).await.context("placing orders")?.iter().sum();
    let seconds = started.elapsed().as_secs_f64();
    bench.note_accepted(accepted);
    bench.relay_idle().await?;
    Ok(of(accepted) / seconds)
}

async fn keep_placing(buyer: &mut Buyer, lane: usize, span: Duration) -> Result<usize> {
    let started = Instant::now();
    let mut accepted = 0;
    while started.elapsed() < span {
        buyer.place(&sku((lane + accepted * CLIENTS) % SKUS)).await?;
        accepted += 1;
    }
    Ok(accepted)
}
