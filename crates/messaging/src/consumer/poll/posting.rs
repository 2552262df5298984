//! Which letters go into the next transaction.
//!
//! A transaction takes all its letters or none, so one letter that can't be published would hold up all that travel
//! with it. Letters therefore travel by destination: a missing retry topic delays nobody's dead letters. A batch that
//! fails is halved, and a letter that fails alone waits alone from then on, while others pass it.

use std::time::{Duration, Instant};

use millrace_envelope::RetryTier;
use millrace_resilience::Backoff;

use crate::consumer::letters::Letter;
use crate::consumer::outbound::Outbound;
use crate::consumer::schedule::{Pending, Tenure};
use crate::consumer::slot::Slot;

/// Letters of one transaction at most.
const LETTERS_MAX: usize = 500;
/// After letters went out more may follow at once: a key's next record comes when its letter is acknowledged.
const LIVELY: Duration = Duration::from_millis(250);

pub(super) type Letters = Vec<(Tenure, Vec<Pending<Outbound>>)>;

/// The dead-letter topic or one retry topic, and how the last transaction for it fared.
#[derive(Debug)]
struct Destination {
    failures: u32,
    not_before: Option<Instant>,
    letters_max: usize,
    reason: Option<String>,
}

impl Default for Destination {
    fn default() -> Self {
        Self { failures: 0, not_before: None, letters_max: LETTERS_MAX, reason: None }
    }
}

/// Letters on their way, and how the last ones fared.
#[derive(Debug, Default)]
pub(super) struct Posting {
    /// In the transaction that is open.
    pub(super) posted: Option<Letters>,
    pub(super) in_doubt: bool,
    /// For all letters, and for the question how a transaction ended.
    pub(super) not_before: Option<Instant>,
    destinations: [Destination; 1 + RetryTier::ALL.len()],
    /// Where the last transaction went.
    last: usize,
    lively_until: Option<Instant>,
}

fn place(letter: Letter) -> usize {
    match letter {
        Letter::Dead => 0,
        Letter::Tier(tier) => {
            1 + RetryTier::ALL.iter().position(|other| *other == tier).unwrap_or(0)
        }
    }
}

impl Posting {
    /// True while it is worth looking often.
    pub(super) fn any(&self) -> bool {
        self.posted.is_some()
            || self.not_before.is_some()
            || self.destinations.iter().any(|destination| destination.not_before.is_some())
            || self.lively_until.is_some_and(|until| Instant::now() < until)
    }

    pub(super) fn in_doubt_of(&self, slots: &[Slot]) -> bool {
        let posted = self.posted.iter().flatten();
        self.in_doubt && posted.into_iter().any(|(tenure, _)| slots.contains(&tenure.slot))
    }

    pub(super) fn held_back(&self, now: Instant) -> bool {
        self.not_before.is_some_and(|at| now < at)
    }

    /// What keeps letters from going out, in words.
    pub(super) fn trouble(&self) -> Option<String> {
        self.destinations.iter().find_map(|destination| destination.reason.clone())
    }

    /// There are no letters: whatever was wrong with their topics is of no more interest.
    pub(super) fn none_waits(&mut self) {
        if self.destinations.iter().any(|destination| destination.failures > 0) {
            self.destinations = Default::default();
        }
    }

    /// The letters of the next transaction, and the rest.
    pub(super) fn choose(&mut self, waiting: Letters, now: Instant) -> (Letters, Letters) {
        let over = |at: Option<Instant>| at.is_none_or(|at| at <= now);
        let all = || waiting.iter().flat_map(|(_, letters)| letters).map(|pending| &pending.letter);
        let mut any = [false; 1 + RetryTier::ALL.len()];
        let mut ready = any;
        for letter in all() {
            let place = place(letter.letter);
            any[place] = true;
            ready[place] |= over(letter.not_before) && over(self.destinations[place].not_before);
        }
        for (destination, any) in self.destinations.iter_mut().zip(any) {
            if !any {
                *destination = Destination::default();
            } else if over(destination.not_before) {
                destination.not_before = None;
            }
        }
        let turns = (1..=ready.len()).map(|step| (self.last + step) % ready.len());
        let Some(to) = turns.into_iter().find(|place| ready[*place]) else {
            return (Vec::new(), waiting);
        };
        self.last = to;
        let ours = |letter: &Outbound| place(letter.letter) == to && over(letter.not_before);
        // One that failed alone goes alone again, and only when no other waits.
        let healthy = all().any(|letter| ours(letter) && letter.failures == 0);
        let mut room = if healthy { self.destinations[to].letters_max } else { 1 };
        let senders = waiting.iter().filter(|(_, letters)| letters.iter().any(|l| ours(&l.letter)));
        let share = room.div_ceil(senders.count().max(1));
        let (mut chosen, mut rest) = (Vec::new(), Vec::new());
        for (tenure, letters) in waiting {
            let (mut goes, mut stays) = (Vec::new(), Vec::new());
            for pending in letters {
                let Outbound { failures, .. } = pending.letter;
                let fits = room > 0 && goes.len() < share && (failures == 0) == healthy;
                if fits && ours(&pending.letter) {
                    room -= 1;
                    goes.push(pending);
                } else {
                    stays.push(pending);
                }
            }
            if !goes.is_empty() {
                chosen.push((tenure, goes));
            }
            if !stays.is_empty() {
                rest.push((tenure, stays));
            }
        }
        (chosen, rest)
    }

    /// The last transaction took effect.
    pub(super) fn succeeded(&mut self, now: Instant) {
        self.destinations[self.last] = Destination::default();
        self.lively_until = Some(now + LIVELY);
    }

    /// The last transaction took no effect. With `suspect` one of its letters may be the cause. True when it is the
    /// first failure in a row.
    pub(super) fn failed(
        &mut self,
        letters: &mut Letters,
        suspect: bool,
        backoff: &Backoff,
        reason: &str,
        now: Instant,
    ) -> bool {
        let destination = &mut self.destinations[self.last];
        destination.failures = destination.failures.saturating_add(1);
        destination.not_before = Some(now + backoff.wait(destination.failures));
        destination.reason = Some(format!("letters are not published: {reason}"));
        let mut all = letters.iter_mut().flat_map(|(_, letters)| letters);
        match (all.next(), all.count()) {
            (Some(only), 0) if suspect => delay(&mut only.letter, backoff, now),
            (_, others) if suspect => destination.letters_max = others.div_ceil(2).max(1),
            _ => {}
        }
        destination.failures == 1
    }
}

/// Sends a letter on its own from now on, and later than others.
pub(super) fn delay(letter: &mut Outbound, backoff: &Backoff, now: Instant) {
    letter.failures = letter.failures.saturating_add(1);
    letter.not_before = Some(now + backoff.wait(letter.failures));
}
