//! One client takes a lease and gives it back, again and again, beside two bare calls of scripts.
//!
//! The bare side calls the smallest scripts that hand out a lock with a token and take it back; a third side calls the
//! product's own scripts bare, which tells apart what the scripts cost inside Redis and what the crate costs around
//! them. The sides take turns every few milliseconds, so that a slow moment hits them alike.

use std::time::Duration;

use anyhow::{Result, ensure};
use millrace_benches::report::{Figure, Goal};
use millrace_common::coordination::{FencingToken, Leases};
use tokio::time::Instant;

use crate::bare_lease::BareLease;
use crate::bench::Bench;

const LEASE: &str = "bench-exclusive";
const TTL: Duration = Duration::from_secs(10);
/// Pairs of one turn, and turns of each side in a round.
const PAIRS: u32 = 100;
const TURNS: u32 = 50;
const GOAL: f64 = 0.95;

#[derive(Debug, Clone, Copy)]
enum Side {
    Product,
    Bare,
    SameScripts,
}

const SIDES: [Side; 3] = [Side::Product, Side::Bare, Side::SameScripts];

pub(crate) async fn measure(bench: &mut Bench) -> Result<Vec<Figure>> {
    let ground = bench.lease_ground().await?;
    let redis = &ground.settings.redis;
    let leases = ground.leases("bench-1")?;
    let bare = BareLease::least(redis).await?;
    let same = BareLease::same_scripts(redis).await?;
    let (mut rates, mut last) = ([const { Vec::new() }; 3], None);
    // The first round warms up and isn't told.
    for round in 0..=bench.rounds.count() {
        let mut seconds = [Duration::ZERO; 3];
        for _ in 0..TURNS {
            for side in bench.rounds.shuffled(SIDES) {
                let took = match side {
                    Side::Product => {
                        let turn = product(leases.clone(), last);
                        let (took, token) = bench.as_task("product", turn).await??;
                        last = Some(token);
                        took
                    }
                    Side::Bare => {
                        let turn = bare.clone().least_pairs(u64::from(PAIRS));
                        bench.as_task("bare", turn).await??
                    }
                    Side::SameScripts => {
                        let turn = same.clone().same_script_pairs(u64::from(PAIRS));
                        bench.as_task("same scripts", turn).await??
                    }
                };
                seconds[side as usize] += took;
            }
        }
        if round > 0 {
            for side in SIDES {
                let pairs = f64::from(PAIRS) * f64::from(TURNS);
                rates[side as usize].push(pairs / seconds[side as usize].as_secs_f64());
            }
        }
    }
    let [product, bare, same] = rates;
    let over =
        |under: &[f64]| product.iter().zip(under).map(|(over, under)| over / under).collect();
    Ok(vec![
        Figure::new("acquire_release.ratio", "ratio", over(&bare)).goal(Goal::AtLeast(GOAL)),
        Figure::new("acquire_release.same_scripts_ratio", "ratio", over(&same)),
        Figure::new("acquire_release.product", "pairs/s", product),
        Figure::new("acquire_release.bare", "pairs/s", bare),
        Figure::new("acquire_release.same_scripts", "pairs/s", same),
    ])
}

/// One turn. Each token must be higher than the one before, across turns and rounds.
async fn product(
    leases: Leases,
    mut last: Option<FencingToken>,
) -> Result<(Duration, FencingToken)> {
    let started = Instant::now();
    for _ in 0..PAIRS {
        let lease = leases.acquire(LEASE, TTL).await?;
        let lease = lease.ok_or_else(|| anyhow::anyhow!("a lease that nobody holds was held"))?;
        ensure!(last < Some(lease.token()), "token {} came after {last:?}", lease.token());
        last = Some(lease.token());
        ensure!(lease.release().await?, "the lease was not ours any more");
    }
    let last = last.ok_or_else(|| anyhow::anyhow!("no token was given"))?;
    Ok((started.elapsed(), last))
}
