//! The state of one session and the turns of its loop.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use super::drain::{Drain, Rest, Step};
use super::epochs::{Draws, EpochState};
use super::ownership::Joining;
use super::posting::Posting;
use super::renewal::Renewal;
use super::{PollLoop, SharedDispatch};
use crate::consumer::backlog::Backlog;
use crate::consumer::commit::Commits;
use crate::consumer::lanes::{Item, LaneId};
use crate::consumer::lineage::Incarnation;
use crate::consumer::schedule::Tenure;
use crate::consumer::session::Session;
use crate::consumer::slot::Slot;
use crate::message::RawRecord;
use crate::{Handler, metrics};

/// How a session ended.
pub(super) enum Ended {
    /// As asked.
    Stopped,
    /// The client is of no more use.
    Broken(String),
    /// What it held, or what it was given, is of a topic that is gone; another one bears the name.
    MadeAgain(String),
    /// Another process has taken this member's place.
    Fenced(String),
}

/// One owned partition, as the loop knows it.
pub(super) struct Owned {
    pub(super) tenure: Tenure,
    pub(super) backlog: Backlog,
    /// Which of the topics of its name it is of.
    pub(super) incarnation: Incarnation,
    /// Records of this turn, on their way into the schedule.
    pub(super) gathered: Vec<(LaneId, Item<RawRecord>)>,
    /// The offset that came last.
    pub(super) last_offset: Option<i64>,
    pub(super) epoch: EpochState,
    /// It is being given back: nothing more is taken.
    pub(super) leaving: bool,
}

pub(super) struct State<'a, H: Handler> {
    pub(super) poll: &'a PollLoop<H>,
    pub(super) session: Session,
    pub(super) dispatch: SharedDispatch,
    pub(super) owned: BTreeMap<Slot, Owned>,
    pub(super) joining: Joining,
    /// Owned before, and not now.
    pub(super) given_back: BTreeSet<Slot>,
    pub(super) revocations: Vec<Drain>,
    pub(super) stop: Option<Drain>,
    pub(super) commits: Commits,
    pub(super) posting: Posting,
    pub(super) draws: Draws,
    pub(super) lag_asked: Option<Instant>,
    pub(super) health_told: Option<Instant>,
    /// What the broker said against our subscription, until partitions come.
    pub(super) refused: Option<String>,
    pub(super) renewal: Renewal,
}

impl<'a, H: Handler> State<'a, H> {
    pub(super) fn new(poll: &'a PollLoop<H>, session: Session, dispatch: SharedDispatch) -> Self {
        Self {
            poll,
            session,
            dispatch,
            owned: BTreeMap::new(),
            joining: Joining::default(),
            given_back: BTreeSet::new(),
            revocations: Vec::new(),
            stop: None,
            commits: Commits::new(poll.settings.commit_interval),
            posting: Posting::default(),
            draws: Draws::new(),
            lag_asked: None,
            health_told: None,
            refused: None,
            renewal: Renewal::new(poll.identity.lineage.changes()),
        }
    }

    /// One turn; `Some` when the session is over.
    pub(super) fn turn(&mut self) -> Option<Ended> {
        if let Err(ended) = self.take_records() {
            return Some(ended);
        }
        self.poll.board.polled();
        let now = Instant::now();
        if let Err(ended) = self.left_without_partitions(now) {
            return Some(ended);
        }
        self.join();
        self.control_flow();
        if self.poll.stopping() && self.stop.is_none() {
            let all: Vec<Slot> = self.owned.keys().copied().collect();
            self.stop = Some(self.start_drain(all, false, now));
        }
        let hurry = self.drain(now);
        self.draw_epochs();
        self.talk_to_coordinator(now, hurry);
        self.ask_for_lag(now);
        if self.dispatch.deserted() && !self.poll.stopping() {
            return Some(Ended::Broken("a runner ended".to_owned()));
        }
        if self.session.deserted() {
            return Some(Ended::Broken("a thread of the client ended".to_owned()));
        }
        self.tell_health(now);
        let mut stop = self.stop.take()?;
        let step = stop.step(|slot| self.rest(slot), now);
        if step == Step::Abandon {
            self.abandon(&stop.slots);
        }
        self.stop = Some(stop);
        // In doubt is better waited for, but not for ever: what the coordinator decides, it decides for letters and
        // offsets alike, and the next owner is told no offset before.
        let out_of_time = self.stop.as_ref().is_some_and(|stop| stop.out_of_time(now));
        (step == Step::Done && (out_of_time || !self.posting.in_doubt())).then_some(Ended::Stopped)
    }

    /// Lets go of everything; what is not committed by now is the next owner's.
    pub(super) fn close(mut self) -> bool {
        self.dispatch.close();
        for drain in std::mem::take(&mut self.revocations) {
            self.give_back(&drain.slots);
        }
        if self.posting.too_large() > 0 {
            let identity = &self.poll.identity;
            metrics::letters_too_large(identity.group, identity.origin.as_str(), 0);
        }
        self.answer_joins();
        let all: Vec<Slot> = self.owned.keys().copied().collect();
        self.forget(&all);
        self.session.close(self.poll.settings.close_timeout)
    }

    /// What a partition on its way out still has.
    pub(super) fn rest(&self, slot: Slot) -> Option<Rest> {
        let owned = self.owned.get(&slot)?;
        let committed = self.commits.version(owned.tenure);
        self.dispatch.with(|schedule| {
            let view = schedule.view(slot)?;
            let uncommitted = schedule.commit_point(slot, committed).is_some();
            Some(Rest { calls: view.calls, letters: view.letters, uncommitted })
        })
    }

    pub(super) fn abandon(&self, slots: &[Slot]) {
        self.dispatch.with(|schedule| slots.iter().for_each(|slot| schedule.abandon(*slot)));
    }
}
