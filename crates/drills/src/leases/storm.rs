//! Rounds of races with a fault in each, drawn from the seed.
//!
//! A fault strikes when a part of the round's work, drawn too, is done: its holders are in the middle of theirs then. It
//! ends when the work is done, which others have to do. What the drill can't draw is the race itself: a seed replays
//! faults, victims and habits, not the timing of a machine.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result};
use millrace_checker::Report;
use millrace_checker::leases::{LeaseLedger, LeaseNote, LeasePromises};
use millrace_testkit::{FaultProxy, Redis, RedisSentinels, Stack, Way};
use tokio::time::{Instant, sleep, sleep_until};

use super::board::Board;
use super::fault::Fault;
use super::ground::{Ground, Holder, Referee};
use crate::dice::Dice;

/// Units of one race.
pub const UNITS: u64 = 3;
/// Work that isn't done by then will not be.
const PATIENCE: Duration = Duration::from_secs(60);
/// Who stands still or is cut off for so long has lost the lease.
const PAST_LEASE: Duration = Duration::from_millis(900);
/// Guarded work that isn't frozen must not outlast its lease for longer than a machine may be busy.
pub const PROMISES: LeasePromises = LeasePromises { cancelled_within_us: 3_000_000 };
/// Of a hundred rounds, how many are refereed by a primary with replicas.
const SENTINEL_PERCENT: usize = 15;

/// How holders of a storm work.
const HABITS: [&str; 8] =
    ["--ttl-ms", "600", "--late-per-mille", "400", "--late-ms", "30", "--hang-per-mille", "500"];

/// How big a storm is.
#[derive(Debug, Clone, Copy)]
pub struct Size {
    /// Races at once.
    pub leases: usize,
    /// Holder processes.
    pub holders: usize,
}

/// What a storm was.
pub struct Outcome {
    /// The judgement.
    pub report: Report<LeaseLedger>,
    /// Races by the fault that struck them.
    pub faults: BTreeMap<&'static str, usize>,
    /// Whether the work of every round was done.
    pub complete: bool,
    /// Everything it had to itself.
    pub ground: Ground,
}

struct Storm {
    ground: Ground,
    size: Size,
    dice: Dice,
    holders: Vec<Holder>,
    round: u64,
    faults: BTreeMap<&'static str, usize>,
}

/// The faults of a storm in their order: of a single Redis, and of a primary with replicas.
#[derive(Debug, Clone, Default)]
pub struct Forecast {
    /// What strikes races that a single Redis referees.
    pub single: Vec<Fault>,
    /// What strikes races that a primary with replicas referees.
    pub sentinels: Vec<Fault>,
}

impl Forecast {
    /// From a seed.
    #[must_use]
    pub fn draw(seed: u64, rounds: usize) -> Self {
        let mut dice = Dice::new(seed ^ 0xfa_0175);
        let of_sentinels = rounds * SENTINEL_PERCENT / 100;
        Self {
            single: (of_sentinels..rounds).map(|_| Fault::draw(&mut dice)).collect(),
            sentinels: (0..of_sentinels).map(|_| Fault::draw_of_sentinels(&mut dice)).collect(),
        }
    }
}

/// Lets one round after the other be struck by its fault, and judges.
///
/// # Errors
/// When the drill itself fails; a broken promise is in the report.
pub async fn blow(stack: &Stack, seed: u64, size: Size, forecast: Forecast) -> Result<Outcome> {
    let referee = match forecast.single.is_empty() {
        true => Referee::Sentinels(RedisSentinels::start().await?),
        false => Referee::Single(Redis::private().await?),
    };
    let ground = Ground::open(stack, referee, seed, size.leases).await?;
    let (dice, faults) = (Dice::new(seed ^ 0x1ea5_e000), BTreeMap::new());
    let mut storm = Storm { ground, size, dice, holders: Vec::new(), round: 0, faults };
    let changes = !forecast.single.is_empty() && !forecast.sentinels.is_empty();
    let mut complete = storm.stage(forecast.single).await?;
    if complete && changes {
        storm.ground = storm.ground.refereed_by(Referee::Sentinels(RedisSentinels::start().await?));
    }
    complete = complete && storm.stage(forecast.sentinels).await?;
    let Storm { ground, round, faults, .. } = storm;
    let runs = faults.values().sum();
    let report = ground.judge(runs, round * UNITS, &PROMISES).await?;
    Ok(Outcome { report, faults, complete, ground })
}

impl Storm {
    /// Rounds under one referee; ends early when the work of one was not done.
    async fn stage(&mut self, faults: Vec<Fault>) -> Result<bool> {
        if !faults.is_empty() {
            self.join()?;
        }
        let mut complete = true;
        for fault in faults {
            complete = complete && self.round(fault).await?;
        }
        let holders = std::mem::take(&mut self.holders);
        self.ground.stop_all(holders).await?;
        Ok(complete)
    }

    fn join(&mut self) -> Result<()> {
        while self.holders.len() < self.size.holders {
            self.holders.push(self.ground.start(&HABITS)?);
        }
        Ok(())
    }

    /// False when the work was not done: somebody keeps a lease, or nobody gets it.
    async fn round(&mut self, fault: Fault) -> Result<bool> {
        let all = UNITS * u64::try_from(self.size.leases).unwrap_or(u64::MAX);
        let before = all * self.round;
        self.round += 1;
        *self.faults.entry(fault.name()).or_default() += self.size.leases;
        if let (Fault::OldCopy, Referee::Single(redis)) = (fault, &self.ground.referee) {
            redis.snapshot().await?;
        }
        if let (Fault::Failover, Referee::Sentinels(redis)) = (fault, &self.ground.referee) {
            let primary = redis.settled().await?;
            redis.node(primary).pause_replication().await?;
        }
        let (round, units) = (self.round, UNITS * self.round);
        self.ground.show(Board { round, units, hangs: fault == Fault::Hang })?;
        let strikes_at = before + self.dice.below(all * 2 / 3);
        if !self.ground.done(strikes_at, PATIENCE).await {
            return Ok(false);
        }
        let struck = self.strike(fault, before + all).await;
        struck.with_context(|| format!("round {round}, {}", fault.name()))
    }

    /// Hurts, waits until the work is done all the same, and heals.
    async fn strike(&mut self, fault: Fault, units: u64) -> Result<bool> {
        let struck = Instant::now();
        let ground = &self.ground;
        match fault {
            Fault::Calm | Fault::Hang => Ok(ground.done(units, PATIENCE).await),
            Fault::Freeze => {
                let victims = self.draw_victims();
                victims.iter().for_each(|victim| ground.freeze(&self.holders[*victim]));
                let done = ground.done(units, PATIENCE).await;
                sleep_until(struck + PAST_LEASE).await;
                victims.iter().for_each(|victim| ground.thaw(&self.holders[*victim]));
                Ok(done)
            }
            Fault::CutOff(way) => {
                let victims = self.draw_victims();
                let ways: Vec<&FaultProxy> = victims
                    .iter()
                    .filter_map(|victim| self.holders[*victim].proxy.as_ref())
                    .collect();
                self.held_back(&ways, way, units).await
            }
            Fault::HoldBack => {
                let victims = self.draw_victims();
                let ways: Vec<&FaultProxy> =
                    victims.iter().map(|victim| &self.holders[*victim].sinks).collect();
                self.held_back(&ways, Way::ToServer, units).await
            }
            Fault::Kill => {
                let bound = u64::try_from(self.holders.len()).unwrap_or(1);
                let victim = usize::try_from(self.dice.below(bound)).unwrap_or(0);
                let victim = self.holders.remove(victim);
                ground.kill(victim)?;
                self.holders.push(ground.start(&HABITS)?);
                Ok(ground.done(units, PATIENCE).await)
            }
            Fault::Flush | Fault::Restart | Fault::OldCopy => self.forget(fault, units).await,
            Fault::Failover | Fault::Promote => self.depose(fault, units).await,
        }
    }

    async fn held_back(&self, ways: &[&FaultProxy], way: Way, units: u64) -> Result<bool> {
        let struck = Instant::now();
        ways.iter().for_each(|proxy| proxy.freeze(way));
        let done = self.ground.done(units, PATIENCE).await;
        sleep_until(struck + PAST_LEASE).await;
        ways.iter().for_each(|proxy| proxy.pass());
        Ok(done)
    }

    async fn forget(&mut self, fault: Fault, units: u64) -> Result<bool> {
        let away = Duration::from_millis(self.dice.below(300));
        let Referee::Single(redis) = &self.ground.referee else { return Ok(true) };
        self.ground.note(LeaseNote::Forgot);
        if fault == Fault::Flush {
            redis.flush().await?;
        } else {
            redis.kill();
            sleep(away).await;
            if fault == Fault::OldCopy { redis.start().await? } else { redis.start_empty().await? }
        }
        self.ground.note(LeaseNote::Forgot);
        Ok(self.ground.done(units, PATIENCE).await)
    }

    async fn depose(&mut self, fault: Fault, units: u64) -> Result<bool> {
        let Referee::Sentinels(redis) = &self.ground.referee else { return Ok(true) };
        self.ground.note(LeaseNote::Deposed);
        self.ground.note(LeaseNote::Forgot);
        let primary = redis.primary().await?;
        if fault == Fault::Failover {
            redis.node(primary).kill();
            redis.primary_other_than(primary).await?;
        } else {
            redis.failover().await?;
        }
        self.ground.note(LeaseNote::Forgot);
        let done = self.ground.done(units, PATIENCE).await;
        redis.heal().await?;
        Ok(done)
    }

    /// One at the least, and never all.
    fn draw_victims(&self) -> Vec<usize> {
        let mut dice = self.dice.clone();
        let mut all: Vec<usize> = (0..self.holders.len()).collect();
        let most = u64::try_from(all.len().saturating_sub(1)).unwrap_or(1).max(1);
        let count = usize::try_from(1 + dice.below(most)).unwrap_or(1);
        while all.len() > count {
            let bound = u64::try_from(all.len()).unwrap_or(1);
            all.remove(usize::try_from(dice.below(bound)).unwrap_or(0));
        }
        all
    }
}
