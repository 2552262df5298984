//! The members of a storm: those that work, stand still, or are on their way out.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::arena::{Arena, Frozen, Member};
use crate::dice::Dice;

/// A session is 2 s in drills; who stands still for longer has lost its partitions.
const PAST_SESSION: Duration = Duration::from_millis(3500);

pub(super) struct Crew<'a, 's> {
    arena: &'a Arena<'s>,
    arguments: Vec<String>,
    working: Vec<Member>,
    frozen: Vec<(Member, Frozen, Instant)>,
    /// Asked to stop.
    leaving: Vec<Member>,
}

impl<'a, 's> Crew<'a, 's> {
    pub(super) fn new(arena: &'a Arena<'s>, arguments: Vec<String>) -> Self {
        let (working, frozen, leaving) = (Vec::new(), Vec::new(), Vec::new());
        Self { arena, arguments, working, frozen, leaving }
    }

    pub(super) fn working(&self) -> usize {
        self.working.len()
    }

    pub(super) fn join(&mut self) -> Result<()> {
        let arguments: Vec<&str> = self.arguments.iter().map(String::as_str).collect();
        self.working.push(self.arena.start(&arguments)?);
        Ok(())
    }

    /// Asks one to stop; its end is waited for while others work.
    pub(super) fn leave(&mut self, dice: &mut Dice) {
        if let Some(member) = self.draw(dice) {
            member.process.sigterm();
            self.leaving.push(member);
        }
    }

    pub(super) fn kill(&mut self, dice: &mut Dice) -> Result<()> {
        self.draw(dice).map_or(Ok(()), |member| self.arena.kill(member))
    }

    pub(super) async fn freeze(&mut self, dice: &mut Dice) -> Result<()> {
        if let Some(member) = self.draw(dice) {
            let frozen = self.arena.freeze(&member).await?;
            self.frozen.push((member, frozen, Instant::now() + PAST_SESSION));
        }
        Ok(())
    }

    /// Lets those go on whose time has come, and buries those that have stopped.
    pub(super) async fn tend(&mut self, now: Instant) -> Result<()> {
        let (due, frozen) =
            std::mem::take(&mut self.frozen).into_iter().partition(|(_, _, until)| *until <= now);
        self.frozen = frozen;
        self.thaw(due);
        let (gone, leaving) = std::mem::take(&mut self.leaving)
            .into_iter()
            .partition::<Vec<_>, _>(|member| member.process.exited().is_some());
        self.leaving = leaving;
        for member in gone {
            self.stop(member).await?;
        }
        Ok(())
    }

    /// Waits for those that were asked to stop, lets all others go on, and hands them over. Who stands still has his full
    /// time: let go just before his session's end, he would have lost his partitions by the broker's clock and not by ours.
    pub(super) async fn disband(mut self) -> Result<Vec<Member>> {
        let frozen = std::mem::take(&mut self.frozen);
        if let Some(last) = frozen.iter().map(|(_, _, until)| *until).max() {
            tokio::time::sleep_until(last.into()).await;
        }
        self.thaw(frozen);
        for member in std::mem::take(&mut self.leaving) {
            self.stop(member).await?;
        }
        Ok(self.working)
    }

    fn thaw(&mut self, members: Vec<(Member, Frozen, Instant)>) {
        for (member, frozen, _) in members {
            self.arena.thaw(&member, frozen);
            self.working.push(member);
        }
    }

    async fn stop(&self, member: Member) -> Result<()> {
        let name = member.name.clone();
        self.arena.stop(member).await.with_context(|| format!("stopping {name}"))
    }

    fn draw(&mut self, dice: &mut Dice) -> Option<Member> {
        let bound = u64::try_from(self.working.len()).ok().filter(|bound| *bound > 0)?;
        let chosen = usize::try_from(dice.below(bound)).ok()?;
        Some(self.working.remove(chosen))
    }
}
