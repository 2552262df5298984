//! What is asked of the coordinator: commits, and letters with the offsets of their records.

use std::time::{Duration, Instant};

use millrace_runtime::sabotage::{self, Switch};
use rdkafka::consumer::Consumer as _;

use super::posting::{Letters, delay};
use super::state::State;
use crate::Handler;
use crate::consumer::commit::{Answer, Point, Question};
use crate::consumer::letters::{Detail, Letter};
use crate::consumer::outbound::Outbound;
use crate::consumer::schedule::{Pending, Tenure};
use crate::consumer::transaction::{LetterError, Membership, OutgoingLetter, Resolved};

/// How long one transaction may take; when it is over its end may be unknown, and is asked for.
const TRANSACTION_BOUND: Duration = Duration::from_secs(10);
/// The least between two questions for the end of a transaction, or for a membership.
const LOOK_AGAIN: Duration = Duration::from_millis(100);
impl<H: Handler> State<'_, H> {
    /// Takes the coordinator's answer and asks the next thing: the end of a transaction in doubt before all else,
    /// then offsets when they are due, then letters. Offsets come first because a flood of letters would otherwise
    /// keep those of all other partitions from ever being committed.
    pub(super) fn talk_to_coordinator(&mut self, now: Instant, hurry: bool) {
        if let Some(answer) = self.session.commits.answer() {
            self.answered(answer, now);
        }
        if self.session.commits.open() {
            return;
        }
        if self.posting.in_doubt {
            if !self.posting.held_back(now) {
                self.session.commits.ask(Question::Resolve { bound: TRANSACTION_BOUND });
            }
            return;
        }
        if !self.commit(now, hurry) {
            self.post_letters(now);
        }
    }

    /// Commits when it is due; true when the coordinator was asked.
    fn commit(&mut self, now: Instant, hurry: bool) -> bool {
        let prove = self.epochs_wait();
        if !self.commits.due(now, hurry || prove) {
            return false;
        }
        let proving = self.prove_epochs();
        let commits = &self.commits;
        let owned = &self.owned;
        let points: Vec<Point> = self.dispatch.with(|schedule| {
            let mut point = |tenure: Tenure| {
                let known = if proving.contains(&tenure) { None } else { commits.version(tenure) };
                let (version, commit) = schedule.commit_point(tenure.slot, known)?;
                Some(Point { tenure, version, commit })
            };
            owned.values().filter_map(|owned| point(owned.tenure)).collect()
        });
        let any = !points.is_empty();
        if any {
            self.session.commits.ask(Question::Commit(points));
        } else {
            self.epochs_answered(&[], false, false);
        }
        any
    }

    /// Sends letters that wait, in a transaction with the offsets of their records.
    fn post_letters(&mut self, now: Instant) {
        if self.posting.held_back(now) {
            return;
        }
        self.posting.not_before = None;
        let waiting = self.dispatch.with(|schedule| schedule.take_letters(usize::MAX));
        if waiting.is_empty() {
            self.posting.none_waits();
            return;
        }
        let (chosen, rest) = self.posting.choose(waiting, now);
        self.put_back(rest);
        if chosen.is_empty() {
            return;
        }
        let Some(membership) = Membership::of(&self.session.consumer) else {
            // In no group just now; what is still ours after the rebalance is sent then.
            self.put_back(chosen);
            self.posting.not_before = Some(now + LOOK_AGAIN);
            return;
        };
        let identity = &self.poll.identity;
        let mut points = Vec::with_capacity(chosen.len());
        let mut letters = Vec::new();
        let mut posted = Vec::with_capacity(chosen.len());
        for (tenure, mut pending) in chosen {
            let offsets: Vec<i64> = pending.iter().map(|letter| letter.record.offset).collect();
            let point = self.dispatch.with(|schedule| schedule.commit_point_with(tenure, &offsets));
            // Letters without an offset would go out unfenced. A partition that isn't ours any more has none, and its
            // letters are dropped with it.
            let Some(commit) = point else { continue };
            // The version is that of no tracker: what is committed here is what will be true in a moment.
            points.push(Point { tenure, version: 0, commit });
            letters.extend(pending.iter_mut().map(|pending| {
                pending.letter.begin_sending(identity);
                let Outbound { letter, item, .. } = &pending.letter;
                let partition = match letter {
                    Letter::Dead => None,
                    Letter::Tier(_) => Some(item.record.partition),
                };
                let record = pending.letter.compose(identity);
                OutgoingLetter::of(record, &identity.naming, partition)
            }));
            posted.push((tenure, pending));
        }
        if posted.is_empty() {
            return;
        }
        self.posting.posted = Some(posted);
        let bound = TRANSACTION_BOUND;
        self.session.commits.ask(Question::Publish { membership, letters, points, bound });
    }

    fn answered(&mut self, answer: Answer, now: Instant) {
        match answer {
            Answer::Commit(points, taken) => {
                let accepted = taken.is_ok();
                let refused = self.commits.answered(&points, taken, &self.poll.identity);
                if accepted {
                    self.session.consumer.context().connection().answered();
                }
                self.epochs_answered(&points, accepted, refused);
            }
            Answer::Publish(Ok(())) | Answer::Resolve(Ok(Resolved::Committed)) => {
                self.letters_published(now);
            }
            Answer::Publish(Err(error)) | Answer::Resolve(Err(error)) => {
                self.letters_failed(error, now);
            }
            Answer::Resolve(Ok(Resolved::Aborted)) => {
                self.posting.in_doubt = false;
                let letters = self.posting.posted.take().unwrap_or_default();
                self.failed_letters(letters, false, "their transaction was aborted", now);
            }
        }
    }

    fn letters_published(&mut self, now: Instant) {
        self.posting.in_doubt = false;
        self.posting.succeeded(now);
        for (tenure, letters) in self.posting.posted.take().unwrap_or_default() {
            for pending in &letters {
                self.poll.board.posted(&self.poll.identity, &pending.letter);
            }
            let records: Vec<_> =
                letters.iter().map(|pending| (pending.lane, pending.record)).collect();
            self.dispatch.with(|schedule| schedule.letters_published(tenure, &records, now));
        }
    }

    fn letters_failed(&mut self, error: LetterError, now: Instant) {
        if let LetterError::InDoubt(_) = error {
            self.posting.in_doubt = true;
            self.posting.not_before = Some(now + LOOK_AGAIN);
            return;
        }
        self.posting.in_doubt = false;
        let mut letters = self.posting.posted.take().unwrap_or_default();
        if let LetterError::Oversized { index } = error {
            let found = letters.iter_mut().flat_map(|(_, letters)| letters).nth(index);
            if let Some(Pending { letter, .. }) = found {
                if letter.detail == Detail::Full {
                    letter.detail = Detail::CodeOnly;
                } else {
                    // Nothing more can be left out. Its record waits with it, until the topic takes it.
                    let (group, offset) = (self.poll.identity.group, letter.item.offset);
                    tracing::error!(parent: &letter.span, group, offset,
                        "letter is too large for its topic; its record waits with it");
                    delay(letter, &self.poll.caller.policy.backoff, now);
                }
                self.put_back(letters);
                return;
            }
        }
        let suspect = matches!(error, LetterError::Retry(_));
        let reason = millrace_telemetry::error_chain(&error);
        self.failed_letters(letters, suspect, &reason, now);
    }

    fn failed_letters(&mut self, mut letters: Letters, suspect: bool, reason: &str, now: Instant) {
        let backoff = &self.poll.caller.policy.backoff;
        if self.posting.failed(&mut letters, suspect, backoff, reason, now) {
            let group = self.poll.identity.group;
            tracing::error!(
                group,
                reason,
                "letters were not published; their records wait with them"
            );
        }
        if sabotage::on(Switch::SettleFailedLetter) {
            self.posting.posted = Some(letters);
            self.letters_published(now);
            return;
        }
        self.put_back(letters);
    }

    /// Puts letters back, to be sent again.
    fn put_back(&self, letters: Letters) {
        if letters.is_empty() {
            return;
        }
        self.dispatch.with(|schedule| {
            for (tenure, letters) in letters {
                schedule.return_letters(tenure, letters);
            }
        });
    }
}
