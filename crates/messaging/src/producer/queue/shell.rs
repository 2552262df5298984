//! Who waits for whom around the line: the pump for records or for answers, publishers for room, a flush for
//! quiet.
//!
//! The rule of this file is that no record wakes anybody by itself. Publishers wake the pump only when it sleeps for
//! want of records. Answers from the client are two counters without a lock; only the answer that reaches the
//! number somebody waits for (`alarm`) takes the lock and wakes. The pump wakes publishers once per batch.
//!
//! The alarm can't be missed: who sets it, under the lock, looks at the counters again afterwards, and who counts,
//! looks at the alarm afterwards; all four are sequentially consistent, so one of the two sees the other.
//!
//! Time-outs are not here: whoever waits wraps the future, and a future that is dropped passes on what it was
//! woken for. Built a second time in the tests with a model checker's primitives (see `sync.rs`).

use std::collections::{BTreeMap, VecDeque};
use std::pin::Pin;
use std::sync::{Arc, PoisonError};
use std::task::{Context, Poll, Waker};

use super::line::{Accounts, Line, Refusal, Waiting};
use super::sync::{AtomicU64, Condvar, Mutex, MutexGuard, Ordering};

/// No answer is waited for.
const NEVER: u64 = u64::MAX;

pub(super) struct Shell<R: Waiting> {
    state: Mutex<State<R>>,
    pump_called: Condvar,
    delivered: AtomicU64,
    failed: AtomicU64,
    /// The number of answers at which somebody is to be woken.
    alarm: AtomicU64,
    in_flight_max: u64,
}

struct State<R: Waiting> {
    line: Line<R>,
    pump: Pump,
    /// Publishers without room, first come first served.
    for_room: Tickets,
    for_quiet: Tickets,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pump {
    Busy,
    WaitsForRecords,
    /// Until so many answers are there.
    WaitsForAnswers(u64),
}

/// Where every accepted record is, at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Snapshot {
    pub(super) accounts: Accounts,
    pub(super) waiting: u64,
    pub(super) waiting_bytes: u64,
    pub(super) in_flight: u64,
    pub(super) delivered: u64,
    pub(super) failed: u64,
    pub(super) closed: bool,
}

impl<R: Waiting> Shell<R> {
    pub(super) fn new(line: Line<R>, in_flight_max: u64) -> Self {
        let tickets = Tickets::default;
        let state = State { line, pump: Pump::Busy, for_room: tickets(), for_quiet: tickets() };
        Self {
            state: Mutex::new(state),
            pump_called: Condvar::new(),
            delivered: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            alarm: AtomicU64::new(NEVER),
            in_flight_max: in_flight_max.max(1),
        }
    }

    /// Never waits.
    pub(super) fn offer(&self, record: R) -> Result<(), (R, Refusal)> {
        let mut dropped = Vec::new();
        let mut state = self.lock();
        let offered = state.line.offer(record, &mut dropped);
        self.call_pump_for_records(&mut state);
        drop(state);
        offered
    }

    /// Waits until there is room, or the queue is closed.
    pub(super) fn offer_when_room(self: &Arc<Self>, record: R) -> Offering<R> {
        Offering { shell: Arc::clone(self), record: Some(record), ticket: None }
    }

    /// The pump's turn: waits for records that may be handed over, and takes up to `records_max` of them. False when
    /// the queue is closed and empty and the last answer is there: until then the pump keeps the client alive.
    pub(super) fn take(&self, records_max: usize, taken: &mut VecDeque<R>) -> bool {
        let mut state = self.lock();
        loop {
            let in_flight = self.in_flight(&state);
            if state.line.len() == 0 && !state.line.closed() {
                state.pump = Pump::WaitsForRecords;
            } else if state.line.len() == 0 && in_flight == 0 {
                return false;
            } else if state.line.len() > 0 && in_flight < self.in_flight_max {
                let free = usize::try_from(self.in_flight_max - in_flight).unwrap_or(usize::MAX);
                state.line.take(records_max.min(free), taken);
                // A flush waits for these from now on.
                let mut woken = self.attend(&mut state);
                let room = state.line.room();
                state.for_room.call(room, &mut woken);
                drop(state);
                woken.into_iter().for_each(Waker::wake);
                return true;
            } else {
                // Half of what is on its way: a wake-up for half a window, and no idle client meanwhile.
                let allowed = if state.line.len() > 0 { self.in_flight_max / 2 } else { 0 };
                let handed = state.line.accounts().handed;
                state.pump = Pump::WaitsForAnswers(handed - allowed);
                let woken = self.attend(&mut state);
                if !woken.is_empty() {
                    drop(state);
                    woken.into_iter().for_each(Waker::wake);
                    state = self.lock();
                }
            }
            while state.pump != Pump::Busy {
                state = self.pump_called.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
        }
    }

    /// The answer to one record that was taken.
    pub(super) fn settle(&self, delivered: bool) {
        let counter = if delivered { &self.delivered } else { &self.failed };
        counter.fetch_add(1, Ordering::SeqCst);
        if self.settled() >= self.alarm.load(Ordering::SeqCst) {
            let mut state = self.lock();
            let woken = self.attend(&mut state);
            drop(state);
            woken.into_iter().for_each(Waker::wake);
        }
    }

    /// Ends at a moment at which nothing waits and nothing is in flight.
    pub(super) fn quiet(self: &Arc<Self>) -> Quiet<R> {
        Quiet { shell: Arc::clone(self), ticket: None }
    }

    /// From now on nothing is accepted; the pump goes on until the line is empty.
    pub(super) fn close(&self) {
        let mut state = self.lock();
        state.line.close();
        self.call_pump_for_records(&mut state);
        let mut woken = Vec::new();
        state.for_room.call(usize::MAX, &mut woken);
        drop(state);
        woken.into_iter().for_each(Waker::wake);
    }

    /// What still waits, given back.
    pub(super) fn drain(&self) -> Vec<R> {
        let mut state = self.lock();
        let left = state.line.drain();
        let woken = self.attend(&mut state);
        // It may sleep for answers in front of a line that is empty now.
        state.pump = Pump::Busy;
        self.pump_called.notify_one();
        drop(state);
        woken.into_iter().for_each(Waker::wake);
        left
    }

    pub(super) fn snapshot(&self) -> Snapshot {
        let state = self.lock();
        let (accounts, closed) = (state.line.accounts(), state.line.closed());
        let (waiting, bytes) = (state.line.len() as u64, state.line.bytes() as u64);
        // Read under the lock: what has been answered was handed over before, so neither can exceed it.
        let delivered = self.delivered.load(Ordering::SeqCst);
        let failed = self.failed.load(Ordering::SeqCst);
        drop(state);
        let in_flight = accounts.handed - delivered - failed;
        Snapshot { accounts, waiting, waiting_bytes: bytes, in_flight, delivered, failed, closed }
    }

    fn settled(&self) -> u64 {
        self.delivered.load(Ordering::SeqCst) + self.failed.load(Ordering::SeqCst)
    }

    fn in_flight(&self, state: &State<R>) -> u64 {
        state.line.accounts().handed - self.settled()
    }

    fn call_pump_for_records(&self, state: &mut State<R>) {
        let wanted = state.line.len() > 0 || state.line.closed();
        if wanted && state.pump == Pump::WaitsForRecords {
            state.pump = Pump::Busy;
            self.pump_called.notify_one();
        }
    }

    /// Wakes whom the answers so far concern, and sets the alarm for the others. Futures are returned, to be woken
    /// after the lock.
    fn attend(&self, state: &mut State<R>) -> Vec<Waker> {
        let mut woken = Vec::new();
        let handed = state.line.accounts().handed;
        loop {
            let settled = self.settled();
            let mut alarm = NEVER;
            if let Pump::WaitsForAnswers(number) = state.pump {
                if settled >= number {
                    state.pump = Pump::Busy;
                    self.pump_called.notify_one();
                } else {
                    alarm = number;
                }
            }
            if settled < handed {
                if !state.for_quiet.is_empty() {
                    alarm = alarm.min(handed);
                }
            } else if state.line.len() == 0 {
                state.for_quiet.call(usize::MAX, &mut woken);
            }
            self.alarm.store(alarm, Ordering::SeqCst);
            if self.settled() < alarm {
                return woken;
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State<R>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An offer that waits for room. It is told that there may be some, tries again, and otherwise keeps its turn.
pub(super) struct Offering<R: Waiting> {
    shell: Arc<Shell<R>>,
    record: Option<R>,
    ticket: Option<u64>,
}

impl<R: Waiting> Offering<R> {
    /// The record, when the waiting is given up.
    pub(super) fn into_record(mut self) -> Option<R> {
        self.record.take()
    }
}

impl<R: Waiting + Unpin> Future for Offering<R> {
    type Output = Result<(), (R, Refusal)>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let record = this.record.take().expect("an offer is polled until it ends and not after");
        let mut dropped = Vec::new();
        let mut state = this.shell.lock();
        let offered = state.line.offer(record, &mut dropped);
        if let Err((record, Refusal::Full)) = offered {
            this.record = Some(record);
            state.for_room.wait(&mut this.ticket, context.waker());
            return Poll::Pending;
        }
        this.shell.call_pump_for_records(&mut state);
        drop(state);
        Poll::Ready(offered)
    }
}

impl<R: Waiting> Drop for Offering<R> {
    fn drop(&mut self) {
        let Some(ticket) = self.ticket else { return };
        let mut state = self.shell.lock();
        let mut woken = Vec::new();
        if !state.for_room.give_up(ticket) && state.line.room() > 0 {
            // It had been called, and whether it took the room or gave up: what is left is the next one's.
            state.for_room.call(1, &mut woken);
        }
        drop(state);
        woken.into_iter().for_each(Waker::wake);
    }
}

/// Waits for quiet.
pub(super) struct Quiet<R: Waiting> {
    shell: Arc<Shell<R>>,
    ticket: Option<u64>,
}

impl<R: Waiting> Future for Quiet<R> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        let mut state = this.shell.lock();
        if state.line.len() == 0 && this.shell.in_flight(&state) == 0 {
            return Poll::Ready(());
        }
        state.for_quiet.wait(&mut this.ticket, context.waker());
        // The last answer may have come since, with nobody to call; then this calls ourselves.
        let woken = this.shell.attend(&mut state);
        drop(state);
        woken.into_iter().for_each(Waker::wake);
        Poll::Pending
    }
}

impl<R: Waiting> Drop for Quiet<R> {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket {
            self.shell.lock().for_quiet.give_up(ticket);
        }
    }
}

/// Futures that wait, in the order in which they came.
#[derive(Debug, Default)]
struct Tickets {
    next: u64,
    waiting: BTreeMap<u64, Waker>,
}

impl Tickets {
    /// Waits, at the place that `ticket` has or now gets.
    fn wait(&mut self, ticket: &mut Option<u64>, waker: &Waker) {
        let number = *ticket.get_or_insert_with(|| {
            self.next += 1;
            self.next
        });
        self.waiting.insert(number, waker.clone());
    }

    /// True when the ticket had not been called.
    fn give_up(&mut self, ticket: u64) -> bool {
        self.waiting.remove(&ticket).is_some()
    }

    /// Calls up to `count` of the first.
    fn call(&mut self, count: usize, woken: &mut Vec<Waker>) {
        for _ in 0..count {
            let Some((_, waker)) = self.waiting.pop_first() else { return };
            woken.push(waker);
        }
    }

    fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}
