//! The schedule behind a lock, and who is woken when it has work.
//!
//! Runners have seats. A runner that finds nothing waits at its seat; whoever makes work ready signals as many seats
//! as there is work for. A signal is remembered until its runner looks, so one that comes between a runner's look
//! and its waiting isn't lost. One signal stands for any number of records: a wake-up for each would cost more than
//! their handling.
//!
//! The lock is held for moves between queues, never over a call, an await or the broker.

use std::task::{Context, Poll, Waker};
use std::time::Instant;

use super::schedule::{Finished, Schedule, Settlement, Tenure, Work};
use super::sync::{Mutex, MutexGuard};

#[derive(Debug)]
pub(super) struct Dispatch<R, L>(Mutex<State<R, L>>);

#[derive(Debug)]
struct State<R, L> {
    schedule: Schedule<R, L>,
    seats: Vec<Seat>,
    closed: bool,
    /// A runner has ended without being sent home.
    deserted: bool,
}

#[derive(Debug, Default)]
struct Seat {
    attention: Attention,
    /// Calls it had open after its last look, those of assignments that are over included.
    in_hand: usize,
    /// When it looks again although nobody signals.
    due: Option<Instant>,
}

/// Where a runner is.
#[derive(Debug, Default)]
enum Attention {
    /// With its calls, or on its way to wait: it finds a signal that is left for it.
    #[default]
    Elsewhere,
    /// Elsewhere, and a signal is left.
    Signalled,
    Waiting(Waker),
    /// It waited and was woken, so it is about to look.
    Woken,
}

impl Seat {
    fn has_room(&self, share: usize) -> bool {
        self.in_hand < share
    }

    /// It will look by then: because of its own clock, or because it was woken.
    fn looks_by(&self, due: Instant) -> bool {
        matches!(self.attention, Attention::Woken) || self.due.is_some_and(|own| own <= due)
    }

    /// Leaves a signal; the waker, when the runner waits.
    fn signal(&mut self) -> Option<Waker> {
        match std::mem::take(&mut self.attention) {
            Attention::Waiting(waker) => {
                self.attention = Attention::Woken;
                return Some(waker);
            }
            Attention::Elsewhere => self.attention = Attention::Signalled,
            signalled @ (Attention::Signalled | Attention::Woken) => self.attention = signalled,
        }
        None
    }
}

/// What a runner found.
#[derive(Debug)]
pub(super) struct Exchange {
    /// When to look again although nobody signals: a retry is due then.
    pub(super) due: Option<Instant>,
    /// There will be no more work.
    pub(super) closed: bool,
}

impl<R, L> Dispatch<R, L> {
    pub(super) fn new(schedule: Schedule<R, L>, seats: usize) -> Self {
        let seats = (0..seats).map(|_| Seat::default()).collect();
        Self(Mutex::new(State { schedule, seats, closed: false, deserted: false }))
    }

    /// Looks at the schedule, or changes it, and signals what it made ready.
    pub(super) fn with<T>(&self, act: impl FnOnce(&mut Schedule<R, L>) -> T) -> T {
        let mut state = self.lock();
        let result = act(&mut state.schedule);
        let wake = state.signal(None);
        drop(state);
        wake.into_iter().for_each(Waker::wake);
        result
    }

    /// Hands in what calls came to and takes work for as many more as the seat's share allows: one look for both.
    pub(super) fn exchange(
        &self,
        seat: usize,
        in_hand: usize,
        settlements: &mut Vec<Settlement<R, L>>,
        works: &mut Vec<Work<R>>,
        now: Instant,
    ) -> Exchange {
        let mut state = self.lock();
        for settlement in settlements.drain(..) {
            state.schedule.settle(settlement, now);
        }
        if state.closed {
            return Exchange { due: None, closed: true };
        }
        let mut room = state.share().saturating_sub(in_hand);
        let mut in_hand = in_hand;
        while room > 0 {
            let Some(work) = state.schedule.take(now) else { break };
            works.push(work);
            in_hand += 1;
            room -= 1;
        }
        // A seat without room doesn't look when a retry gets due: it could take nothing.
        let due = state.schedule.next_due().filter(|_| room > 0);
        state.seats[seat] = Seat { attention: Attention::Elsewhere, in_hand, due };
        let wake = state.signal(Some(seat));
        drop(state);
        wake.into_iter().for_each(Waker::wake);
        Exchange { due, closed: false }
    }

    /// Counts records as finished while their call goes on with others of the same lane.
    pub(super) fn progress(&self, tenure: Tenure, finished: Vec<Finished>, succeeded: bool) {
        let now = Instant::now();
        self.with(|schedule| schedule.progress(tenure, finished, succeeded, now));
    }

    /// Ready when the seat was signalled since it looked last.
    pub(super) fn poll_signal(&self, seat: usize, context: &Context<'_>) -> Poll<()> {
        let mut state = self.lock();
        let seat = &mut state.seats[seat];
        match seat.attention {
            Attention::Signalled | Attention::Woken => Poll::Ready(()),
            Attention::Elsewhere | Attention::Waiting(_) => {
                seat.attention = Attention::Waiting(context.waker().clone());
                Poll::Pending
            }
        }
    }

    /// Sends the runners home.
    pub(super) fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        let wake: Vec<Waker> = state.seats.iter_mut().filter_map(Seat::signal).collect();
        drop(state);
        wake.into_iter().for_each(Waker::wake);
    }

    /// A runner leaves its seat; unless it was sent home, that is remembered.
    pub(super) fn leave(&self) {
        let mut state = self.lock();
        state.deserted |= !state.closed;
    }

    /// True when a runner has ended without being sent home.
    pub(super) fn deserted(&self) -> bool {
        self.lock().deserted
    }

    fn lock(&self) -> MutexGuard<'_, State<R, L>> {
        super::sync::locked(&self.0)
    }
}

impl<R, L> State<R, L> {
    /// Calls of one seat at most. No seat takes all: a handler that computes is then spread over the cores.
    fn share(&self) -> usize {
        self.schedule.concurrency().div_ceil(self.seats.len())
    }

    /// Signals as many seats as there are calls to be made, and one at least that watches for the next retry, except
    /// the one that asks. Their wakers, to be woken without the lock.
    ///
    /// Only seats with room are signalled. Two full ones would pass the signal on to each other for ever, beside a
    /// third that has room and sleeps.
    fn signal(&mut self, asking: Option<usize>) -> Vec<Waker> {
        let mut wake = Vec::new();
        let share = self.share();
        let watched =
            |due| self.seats.iter().any(|seat| seat.has_room(share) && seat.looks_by(due));
        let unwatched = self.schedule.next_due().is_some_and(|due| !watched(due));
        let mut wanted = self.schedule.ready().max(usize::from(unwatched));
        for (number, seat) in self.seats.iter_mut().enumerate() {
            if wanted == 0 {
                break;
            }
            if Some(number) == asking || !seat.has_room(share) {
                continue;
            }
            wake.extend(seat.signal());
            // One that is elsewhere may stay there while its handler computes, so it doesn't count.
            wanted -= usize::from(matches!(seat.attention, Attention::Woken));
        }
        wake
    }
}
