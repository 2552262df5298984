//! What is asked of the coordinators: commits, and beside them letters with the offsets of their records.

use std::time::{Duration, Instant};

use millrace_runtime::sabotage::{self, Switch};
use rdkafka::consumer::Consumer as _;

use super::posting::{Letters, Stage};
use super::state::State;
use crate::consumer::commit::{Point, Question};
use crate::consumer::identity::Identity;
use crate::consumer::letters::Letter;
use crate::consumer::lineage::Incarnation;
use crate::consumer::outbound::Outbound;
use crate::consumer::postman::{Errand, Report};
use crate::consumer::schedule::{Pending, Tenure};
use crate::consumer::transaction::{LetterError, Membership, OutgoingLetter, Resolved};
use crate::{Handler, metrics};

/// How long one transaction may take; when it is over its end may be unknown, and is asked for.
const TRANSACTION_BOUND: Duration = Duration::from_secs(10);
/// The least between two questions for the end of a transaction, or for a membership.
const LOOK_AGAIN: Duration = Duration::from_millis(100);
impl<H: Handler> State<'_, H> {
    /// Takes the coordinators' answers and asks the next things. Letters have a thread of their own, so neither they nor
    /// the opening of their client keeps offsets from being committed.
    pub(super) fn talk_to_coordinator(&mut self, now: Instant, hurry: bool) {
        if let Some((points, taken)) = self.session.commits.answer() {
            let accepted = taken.is_ok();
            let refused = self.commits.answered(&points, taken, &self.poll.identity);
            if accepted {
                self.session.consumer.context().connection().answered();
            }
            self.epochs_answered(&points, accepted, refused);
        }
        if let Some(report) = self.session.letters.answer() {
            self.reported_of_letters(report, now);
        }
        if !self.session.letters.open() {
            self.attend_to_letters(now);
        }
        if !self.session.commits.open() {
            self.commit(now, hurry);
        }
    }

    /// Commits when it is due.
    fn commit(&mut self, now: Instant, hurry: bool) {
        let prove = self.epochs_wait();
        if !self.commits.due(now, hurry || prove) {
            return;
        }
        // Before the points: whoever we become after it is refused them.
        let membership = Membership::of(&self.session.consumer);
        let proving = self.prove_epochs();
        let (commits, posting) = (&self.commits, &self.posting);
        let tenures = self.owned.values().map(|owned| (owned.tenure, owned.incarnation));
        let tenures = tenures.filter(|(tenure, _)| !posting.withholds(*tenure));
        let points: Vec<Point> = self.dispatch.with(|schedule| {
            let mut point = |(tenure, incarnation): (Tenure, Incarnation)| {
                let known = if proving.contains(&tenure) { None } else { commits.version(tenure) };
                let (version, commit) = schedule.commit_point(tenure.slot, known)?;
                Some(Point { tenure, version, commit, incarnation })
            };
            tenures.filter_map(&mut point).collect()
        });
        if points.is_empty() {
            self.epochs_answered(&[], false, false);
        } else {
            self.commits.asked(now);
            self.session.commits.ask(Question { membership, points });
        }
    }

    /// The next step of letters, when none is under way.
    fn attend_to_letters(&mut self, now: Instant) {
        match self.posting.stage {
            Stage::Idle => self.post_letters(now),
            // A plain commit that is on its way may arrive late, and must not do so behind the transaction's offsets.
            Stage::Sent if !self.session.commits.open() => self.commit_letters(now),
            Stage::InDoubt if !self.posting.held_back(now) => {
                self.session.letters.ask(Errand::Resolve { bound: TRANSACTION_BOUND });
            }
            Stage::Sent | Stage::InDoubt | Stage::Sending | Stage::Committing | Stage::Ending => {}
        }
    }

    /// Sends letters that wait on their way.
    fn post_letters(&mut self, now: Instant) {
        if self.posting.held_back(now) {
            return;
        }
        self.posting.not_before = None;
        let waiting = self.dispatch.with(|schedule| schedule.take_letters(usize::MAX));
        let too_large = self.posting.too_large();
        let (mut chosen, rest) = self.posting.choose(waiting, now);
        if self.posting.too_large() != too_large {
            let Identity { group, origin, .. } = &*self.poll.identity;
            metrics::letters_too_large(group, origin.as_str(), self.posting.too_large());
        }
        self.put_back(rest);
        if chosen.is_empty() {
            return;
        }
        if Membership::of(&self.session.consumer).is_none() {
            // In no group just now; what is still ours after the rebalance is sent then.
            self.put_back(chosen);
            self.posting.not_before = Some(now + LOOK_AGAIN);
            return;
        }
        let identity = &self.poll.identity;
        let all = chosen.iter_mut().flat_map(|(_, pending)| pending);
        let letters = all.map(|pending| {
            pending.letter.begin_sending(identity);
            let Outbound { letter, item, .. } = &pending.letter;
            let partition = match letter {
                Letter::Dead => None,
                Letter::Tier(_) => Some(item.record.partition),
            };
            OutgoingLetter::of(pending.letter.compose(identity), &identity.naming, partition)
        });
        let letters = letters.collect();
        (self.posting.posted, self.posting.stage) = (Some(chosen), Stage::Sending);
        self.session.letters.ask(Errand::Send { letters, bound: TRANSACTION_BOUND });
    }

    /// Lets the offsets of the letters' records, and all else that has finished of their partitions, join the letters.
    ///
    /// The identity is taken here, where the partitions are known to be ours. Letters without an offset would go out
    /// unfenced, so if one of the partitions isn't ours any more, all are given up, and those that still are go again.
    fn commit_letters(&mut self, now: Instant) {
        let membership = Membership::of(&self.session.consumer);
        let posted = self.posting.posted.iter().flatten();
        let points: Option<Vec<Point>> = self.dispatch.with(|schedule| {
            let mut point = |(tenure, pending): &(Tenure, Vec<Pending<Outbound>>)| {
                let offsets: Vec<i64> = pending.iter().map(|letter| letter.record.offset).collect();
                let commit = schedule.commit_point_with(*tenure, &offsets)?;
                let incarnation = self.owned.get(&tenure.slot)?.incarnation;
                // The version is that of no tracker: what is committed here is what will be true in a moment.
                Some(Point { tenure: *tenure, version: 0, commit, incarnation })
            };
            posted.map(&mut point).collect()
        });
        let (Some(membership), Some(points)) = (membership, points) else {
            let letters = self.posting.posted.take().unwrap_or_default();
            self.put_back(letters);
            self.posting.not_before = Some(now + LOOK_AGAIN);
            self.give_letters_up();
            return;
        };
        let patience = self.posting.patience();
        self.posting.stage = Stage::Committing;
        self.session.letters.ask(Errand::Commit { membership, points, patience });
    }

    /// Has the open transaction aborted. Its partitions' plain commits need not wait for that: it has not been, and will
    /// not be, asked to commit.
    fn give_letters_up(&mut self) {
        self.posting.stage = Stage::Ending;
        self.session.letters.ask(Errand::Abort);
    }

    fn reported_of_letters(&mut self, report: Report, now: Instant) {
        match report {
            Report::Sent(Ok(())) => self.posting.stage = Stage::Sent,
            Report::Sent(Err(error)) => {
                self.posting.stage = Stage::Idle;
                self.letters_failed(error, true, now);
            }
            Report::Committed(Ok(())) | Report::Resolved(Ok(Resolved::Committed)) => {
                self.posting.stage = Stage::Idle;
                self.letters_published(now);
            }
            Report::Committed(Err(error @ LetterError::InDoubt(_)))
            | Report::Resolved(Err(error)) => {
                if self.posting.stage != Stage::InDoubt {
                    let reason = millrace_telemetry::error_chain(&error);
                    tracing::debug!(
                        group = self.poll.identity.group,
                        reason,
                        "letters are in doubt"
                    );
                }
                self.posting.stage = Stage::InDoubt;
                self.posting.not_before = Some(now + LOOK_AGAIN);
            }
            Report::Committed(Err(error)) => {
                self.letters_failed(error, false, now);
                self.give_letters_up();
            }
            Report::Resolved(Ok(Resolved::Aborted)) => {
                self.posting.stage = Stage::Idle;
                let letters = self.posting.posted.take().unwrap_or_default();
                self.failed_letters(letters, false, "their transaction was aborted", now);
            }
            Report::Aborted => self.posting.stage = Stage::Idle,
        }
    }

    fn letters_published(&mut self, now: Instant) {
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

    /// Nothing took effect. While they travel one of the letters may be the cause, later none can be.
    fn letters_failed(&mut self, error: LetterError, travelling: bool, now: Instant) {
        let mut letters = self.posting.posted.take().unwrap_or_default();
        if let LetterError::Oversized { indices } = &error {
            let identity = &self.poll.identity;
            let backoff = &self.poll.caller.policy.backoff;
            for letter in self.posting.refused(&mut letters, indices, backoff, now) {
                let (group, topic) = (identity.group, letter.topic(identity));
                let (partition, offset) = (letter.item.record.partition, letter.item.offset);
                tracing::error!(parent: &letter.span, group, topic = topic.as_str(), partition, offset,
                    "letter is too large for its topic; its record waits with it until the topic's max.message.bytes \
                     is raised");
            }
            self.put_back(letters);
            return;
        }
        let suspect = travelling && matches!(error, LetterError::Retry(_));
        let reason = millrace_telemetry::error_chain(&error);
        self.failed_letters(letters, suspect, &reason, now);
    }

    fn failed_letters(&mut self, mut letters: Letters, suspect: bool, reason: &str, now: Instant) {
        let backoff = &self.poll.caller.policy.backoff;
        if self.posting.failed(&mut letters, suspect, backoff, reason, now) {
            let group = self.poll.identity.group;
            const TEXT: &str = "letters were not published; their records wait with them";
            if suspect {
                tracing::error!(group, reason, "{TEXT}");
            } else {
                // A rebalance, or a coordinator that takes its time: it passes.
                tracing::warn!(group, reason, "{TEXT}");
            }
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
