//! One storm's faults and its traffic, side by side.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::Arguments;
use super::crew::Crew;
use super::fault::Fault;
use crate::arena::{Arena, Member};
use crate::dice::Dice;

/// How often something happens.
const BEAT: Duration = Duration::from_secs(1);

pub(super) struct Weather<'a, 's> {
    pub(super) arena: &'a Arena<'s>,
    pub(super) arguments: &'a Arguments,
}

impl Weather<'_, '_> {
    /// Sends at an even rate for as long as the storm blows.
    pub(super) async fn feed(&self) -> Result<()> {
        let started = Instant::now();
        let mut sent: usize = 0;
        while started.elapsed().as_secs() < self.arguments.seconds {
            let due = started.elapsed().as_millis() * self.arguments.rate as u128 / 1000;
            let due = usize::try_from(due).unwrap_or(usize::MAX).saturating_sub(sent);
            if due > 0 {
                self.arena.feed(due).await?;
                sent += due;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    /// Each beat a member joins or leaves, and sometimes a fault strikes; returns the members that live in the end.
    pub(super) async fn blow(&self, seed: u64) -> Result<Vec<Member>> {
        let mut dice = Dice::new(seed ^ 0x5707_2d00);
        let log = ["--log".to_owned(), self.arguments.member_log.clone()];
        let mut crew = Crew::new(self.arena, log.to_vec());
        crew.join()?;
        crew.join()?;
        let started = Instant::now();
        while started.elapsed().as_secs() < self.arguments.seconds {
            let beat = tokio::time::sleep(BEAT);
            crew.tend(Instant::now()).await?;
            self.churn(&mut crew, &mut dice)?;
            let fault = Fault::draw(&mut dice);
            self.strike(fault, &mut crew, &mut dice).await.with_context(|| format!("{fault:?}"))?;
            beat.await;
        }
        if crew.working() == 0 {
            crew.join()?;
        }
        crew.disband().await
    }

    /// Never more members than allowed, and never none.
    fn churn(&self, crew: &mut Crew<'_, '_>, dice: &mut Dice) -> Result<()> {
        let join = dice.below(2) == 0;
        if crew.working() < 2 || (join && crew.working() < self.arguments.members) {
            return crew.join();
        }
        crew.leave(dice);
        Ok(())
    }

    async fn strike(&self, fault: Fault, crew: &mut Crew<'_, '_>, dice: &mut Dice) -> Result<()> {
        match fault {
            Fault::Kill => {
                crew.kill(dice)?;
                crew.join()?;
            }
            Fault::Freeze => crew.freeze(dice).await?,
            Fault::KillBroker if !self.arguments.calm_broker => self.arena.kill_broker().await?,
            Fault::KillBroker | Fault::Nothing => {}
        }
        Ok(())
    }
}
