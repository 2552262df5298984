//! Which letters go into the next transaction.
//!
//! A transaction takes all its letters or none, so one letter that can't be published would hold up all that travel
//! with it. Letters therefore travel by destination: a missing retry topic delays nobody's dead letters. A batch that
//! fails is halved, and a letter that fails alone waits alone from then on, while others pass it. Letters that are too
//! large are known by name: they go without their texts, and if that doesn't help they wait alone, too. Letters that
//! wait alone are tried one at a time and at one pace together, so that very many cost the broker no more than one.
//!
//! While letters travel, which may take long, plain commits go on. They are withheld for the partitions of a transaction
//! from the moment its offsets are about to be joined until it has ended or is known never to take effect: a plain
//! commit in between would undo it, and one before it that arrives late would too. The transaction itself commits what
//! has finished by then, so those partitions miss nothing but its own few milliseconds, or the coordinator's silence.

use std::time::{Duration, Instant};

use millrace_envelope::RetryTier;
use millrace_resilience::Backoff;

use crate::consumer::letters::{Detail, Letter};
use crate::consumer::outbound::Outbound;
use crate::consumer::schedule::{Pending, Tenure};
use crate::consumer::slot::Slot;

/// How long offsets may take to join their letters at the first attempt.
const JOIN_PATIENCE: Duration = Duration::from_secs(1);
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
    alone: Alone,
}

/// The pace of letters that failed alone.
#[derive(Debug, Default, Clone, Copy)]
struct Alone {
    failures: u32,
    not_before: Option<Instant>,
}

impl Default for Destination {
    fn default() -> Self {
        Self {
            failures: 0,
            not_before: None,
            letters_max: LETTERS_MAX,
            reason: None,
            alone: Alone::default(),
        }
    }
}

/// How far the transaction with letters is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Stage {
    /// There is none.
    #[default]
    Idle,
    /// The letters are on their way to their topics.
    Sending,
    /// They are there; their offsets join them as soon as no plain commit is on its way.
    Sent,
    /// The offsets are on their way into it, or its commit is.
    Committing,
    /// Its commit was not answered.
    InDoubt,
    /// It is being given up, and nothing of it will take effect.
    Ending,
}

/// The letters that their topics refuse for their size.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct TooLarge {
    letters: usize,
    /// Partition and offset of the record of one of them.
    first: Option<(i32, i64)>,
}

/// Letters on their way, and how the last ones fared.
#[derive(Debug, Default)]
pub(super) struct Posting {
    /// In the transaction that is open.
    pub(super) posted: Option<Letters>,
    pub(super) stage: Stage,
    /// For all letters, and for the question how a transaction ended.
    pub(super) not_before: Option<Instant>,
    destinations: [Destination; 1 + RetryTier::ALL.len()],
    /// Where the last transaction went.
    last: usize,
    /// It took a letter that had failed alone.
    last_alone: bool,
    too_large: TooLarge,
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
        self.stage != Stage::Idle
            || self.not_before.is_some()
            || self.destinations.iter().any(|destination| destination.not_before.is_some())
            || self.lively_until.is_some_and(|until| Instant::now() < until)
    }

    pub(super) fn in_doubt(&self) -> bool {
        self.stage == Stage::InDoubt
    }

    pub(super) fn in_doubt_of(&self, slots: &[Slot]) -> bool {
        let mut posted = self.posted.iter().flatten();
        self.in_doubt() && posted.any(|(tenure, _)| slots.contains(&tenure.slot))
    }

    /// True while no plain commit of this partition may be asked for.
    pub(super) fn withholds(&self, tenure: Tenure) -> bool {
        let joined = match self.stage {
            Stage::Sent | Stage::Committing | Stage::InDoubt => true,
            Stage::Idle | Stage::Sending | Stage::Ending => false,
        };
        joined && self.posted.iter().flatten().any(|(posted, _)| *posted == tenure)
    }

    /// How long the coordinator may take to let the offsets in. Their partitions' plain commits wait for it, so it is
    /// short at first; a coordinator that is slow for good gets more time with each attempt.
    pub(super) fn patience(&self) -> Duration {
        let doublings = self.destinations[self.last].failures.min(4);
        JOIN_PATIENCE * 2_u32.pow(doublings)
    }

    pub(super) fn held_back(&self, now: Instant) -> bool {
        self.not_before.is_some_and(|at| now < at)
    }

    /// What keeps letters from going out, in words.
    pub(super) fn trouble(&self) -> Option<String> {
        let failing = self.destinations.iter().find_map(|destination| destination.reason.clone());
        failing.or_else(|| {
            let TooLarge { letters, first } = self.too_large;
            let (partition, offset) = first?;
            Some(format!(
                "letters are not published: {letters} too large for their topic, one of partition {partition} offset \
                 {offset}; raise the topic's max.message.bytes"
            ))
        })
    }

    /// Letters that wait because their topics refuse them for their size.
    pub(super) fn too_large(&self) -> usize {
        self.too_large.letters
    }

    /// There are no letters: whatever was wrong with their topics is of no more interest.
    fn none_waits(&mut self) {
        let failing = |it: &Destination| it.failures > 0 || it.alone.failures > 0;
        if self.destinations.iter().any(failing) {
            self.destinations = Default::default();
        }
        self.too_large = TooLarge::default();
    }

    /// The letters of the next transaction, and the rest.
    pub(super) fn choose(&mut self, waiting: Letters, now: Instant) -> (Letters, Letters) {
        if waiting.is_empty() {
            self.none_waits();
            return (Vec::new(), waiting);
        }
        let over = |at: Option<Instant>| at.is_none_or(|at| at <= now);
        let all = || waiting.iter().flat_map(|(_, letters)| letters).map(|pending| &pending.letter);
        let mut any = [false; 1 + RetryTier::ALL.len()];
        let mut ready = any;
        self.too_large = TooLarge::default();
        for letter in all() {
            let place = place(letter.letter);
            let Destination { not_before, alone, .. } = &self.destinations[place];
            let paced = letter.failures > 0 && !over(alone.not_before);
            any[place] = true;
            ready[place] |= over(letter.not_before) && over(*not_before) && !paced;
            if letter.too_large {
                self.too_large.letters += 1;
                let record = (letter.item.record.partition, letter.item.offset);
                self.too_large.first.get_or_insert(record);
            }
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
        // Of those the one that waits longest: none that will never go may keep others from their turn.
        let turn = all().filter(|letter| ours(letter)).filter_map(|letter| letter.not_before).min();
        self.last_alone = !healthy;
        let senders = waiting.iter().filter(|(_, letters)| letters.iter().any(|l| ours(&l.letter)));
        let share = room.div_ceil(senders.count().max(1));
        let (mut chosen, mut rest) = (Vec::new(), Vec::new());
        for (tenure, letters) in waiting {
            let (mut goes, mut stays) = (Vec::new(), Vec::new());
            for pending in letters {
                let Outbound { failures, not_before, .. } = pending.letter;
                let next = if healthy { failures == 0 } else { failures > 0 && not_before == turn };
                let fits = room > 0 && goes.len() < share && next;
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
        // That others go says nothing of those that failed alone.
        let alone = self.destinations[self.last].alone;
        let alone = if self.last_alone { Alone::default() } else { alone };
        self.destinations[self.last] = Destination { alone, ..Destination::default() };
        self.lively_until = Some(now + LIVELY);
    }

    /// The last transaction took no effect because these of its letters are too large for their topic. Each is left its
    /// texts no longer; those that had none wait alone. Returns the ones that are found out to be too large for good.
    pub(super) fn refused<'a>(
        &mut self,
        letters: &'a mut Letters,
        indices: &[usize],
        backoff: &Backoff,
        now: Instant,
    ) -> Vec<&'a Outbound> {
        let mut found = Vec::new();
        let mut any = false;
        let all = letters.iter_mut().flat_map(|(_, letters)| letters).enumerate();
        for (_, Pending { letter, .. }) in all.filter(|(index, _)| indices.contains(index)) {
            if letter.detail == Detail::Full {
                letter.detail = Detail::CodeOnly;
                continue;
            }
            any = true;
            delay(letter, backoff, now);
            if !std::mem::replace(&mut letter.too_large, true) {
                found.push(&*letter);
            }
        }
        if any {
            let Destination { alone, .. } = &mut self.destinations[self.last];
            alone.failures = alone.failures.saturating_add(1);
            alone.not_before = Some(now + backoff.wait(alone.failures));
        }
        found
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
fn delay(letter: &mut Outbound, backoff: &Backoff, now: Instant) {
    letter.failures = letter.failures.saturating_add(1);
    letter.not_before = Some(now + backoff.wait(letter.failures));
}

#[cfg(test)]
mod tests;
