//! Runners, the poll loop and handlers under a model checker: every lock is a point at which another thread may go
//! on, and thousands of such orders are tried. What it finds is a runner that sleeps while there is work for it,
//! which it reports as a deadlock, or one that never comes to rest, with the seed of the order.
//!
//! The runner here is the loop of [`super::Runner`] without its clock and its caller: calls end when another thread
//! says so, and time passes when another thread lets it.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use futures::stream::{FuturesUnordered, StreamExt as _};
use shuttle::future::block_on;
use shuttle::sync::mpsc::{Receiver, Sender, channel};
use shuttle::thread::{self, JoinHandle};

// By these names the second build of the shell finds its neighbours.
use super::super::lanes::{After, Item, LaneId, Portion};
use super::super::offsets::{CompletedMap, OffsetTracker};
use super::super::schedule;
use super::super::slot::Slot;
use dispatch::Dispatch;
use schedule::{Finished, LaneEnd, Limits, Schedule, Settlement, Tenure, Work};

/// The model checker's primitives, by the names that the shell asks for.
mod sync {
    use std::sync::PoisonError;

    pub(super) use shuttle::sync::{Mutex, MutexGuard};

    pub(super) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
        mutex.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[path = "../dispatch.rs"]
#[expect(clippy::duplicate_mod, reason = "the same shell, over other primitives")]
mod dispatch;

const ORDERS: usize = 1000;
const SLOT: Slot = Slot { topic: 0, partition: 0 };
/// Looks at the schedule that one record may cost: its arrival, its start and its end, by whoever is signalled.
const LOOKS_PER_RECORD: usize = 12;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Done,
    /// Again, after milliseconds.
    Retry(u64),
}

/// A call that ends when somebody says how.
#[derive(Debug, Clone)]
struct Call {
    offset: i64,
    failures: u32,
    end: Arc<sync::Mutex<(Option<Fate>, Option<Waker>)>>,
}

impl Call {
    fn of(item: &Item<()>) -> Self {
        let end = Arc::new(sync::Mutex::new((None, None)));
        Self { offset: item.offset, failures: item.failures, end }
    }

    fn end(&self, fate: Fate) {
        let mut end = sync::locked(&self.end);
        end.0 = Some(fate);
        let waker = end.1.take();
        drop(end);
        waker.into_iter().for_each(Waker::wake);
    }

    fn poll(&self, context: &Context<'_>) -> Poll<Fate> {
        let mut end = sync::locked(&self.end);
        end.1 = Some(context.waker().clone());
        end.0.map_or(Poll::Pending, Poll::Ready)
    }
}

/// Time that passes on demand.
#[derive(Debug)]
struct Clock(sync::Mutex<(Instant, Vec<(Instant, Waker)>)>);

impl Clock {
    fn new() -> Self {
        Self(sync::Mutex::new((Instant::now(), Vec::new())))
    }

    fn now(&self) -> Instant {
        sync::locked(&self.0).0
    }

    fn poll(&self, due: Instant, context: &Context<'_>) -> Poll<()> {
        let mut clock = sync::locked(&self.0);
        if clock.0 >= due {
            return Poll::Ready(());
        }
        clock.1.push((due, context.waker().clone()));
        Poll::Pending
    }

    fn pass(&self, span: Duration) {
        let mut clock = sync::locked(&self.0);
        clock.0 += span;
        let now = clock.0;
        let woken: Vec<_> = clock.1.extract_if(.., |(due, _)| *due <= now).collect();
        drop(clock);
        woken.into_iter().for_each(|(_, waker)| waker.wake());
    }
}

struct Room {
    dispatch: Dispatch<(), ()>,
    clock: Clock,
    tenure: Tenure,
}

impl Room {
    fn new(seats: usize, concurrency: usize) -> Arc<Self> {
        Self::with_flood(seats, concurrency, 1000)
    }

    fn with_flood(seats: usize, concurrency: usize, flood: u32) -> Arc<Self> {
        let portion = Portion { lanes: 1, records: 1, bytes: usize::MAX };
        let mut schedule = Schedule::new(Limits { concurrency, portion, flood });
        let clock = Clock::new();
        let tracker = OffsetTracker::new(Some(0), CompletedMap::default());
        let tenure = schedule.assign(SLOT, tracker, false, clock.now());
        Arc::new(Self { dispatch: Dispatch::new(schedule, seats), clock, tenure })
    }

    fn push(&self, records: impl IntoIterator<Item = (LaneId, i64)>) {
        let items = records.into_iter().map(|(lane, offset)| (lane, Item::new((), offset, 1)));
        let now = self.clock.now();
        self.dispatch.with(|schedule| schedule.push(SLOT, items.collect(), now));
    }

    fn unfinished(&self) -> usize {
        self.dispatch.with(|schedule| schedule.view(SLOT).unwrap().records)
    }
}

/// Runners until they are sent home; their calls go to the receiver. Each tells how often it looked.
fn runners(room: &Arc<Room>, seats: usize) -> (Vec<JoinHandle<usize>>, Receiver<Call>) {
    let (send, called) = channel();
    let run = |seat| {
        let (room, send) = (Arc::clone(room), send.clone());
        thread::spawn(move || block_on(run(&room, seat, &send)))
    };
    ((0..seats).map(run).collect(), called)
}

async fn run(room: &Room, seat: usize, called: &Sender<Call>) -> usize {
    let mut calls = FuturesUnordered::new();
    let (mut settlements, mut works) = (Vec::new(), Vec::new());
    let mut looks = 0;
    loop {
        looks += 1;
        let now = room.clock.now();
        let found = room.dispatch.exchange(seat, calls.len(), &mut settlements, &mut works, now);
        if found.closed {
            room.dispatch.leave();
            return looks;
        }
        for work in works.drain(..) {
            let call = Call::of(&work.items[0].1);
            // Nobody listens in the end of a test that closes in the middle.
            called.send(call.clone()).ok();
            calls.push(async move {
                let fate = poll_fn(|context| call.poll(context)).await;
                settled(work, fate, room.clock.now())
            });
        }
        poll_fn(|context| {
            if let Poll::Ready(Some(settlement)) = calls.poll_next_unpin(context) {
                settlements.push(settlement);
                return Poll::Ready(());
            }
            if room.dispatch.poll_signal(seat, context).is_ready() {
                return Poll::Ready(());
            }
            found.due.map_or(Poll::Pending, |due| room.clock.poll(due, context))
        })
        .await;
    }
}

fn settled(work: Work<()>, fate: Fate, now: Instant) -> Settlement<(), ()> {
    let mut settlement = Settlement::empty(work.tenure, work.call);
    for (lane, mut item) in work.items {
        let mut end = LaneEnd { lane, returned: Vec::new(), after: After::Go };
        match fate {
            Fate::Done => {
                settlement.finished.push(Finished { offset: item.offset, bytes: item.bytes });
                settlement.succeeded = true;
            }
            Fate::Retry(after_ms) => {
                item.failures += 1;
                settlement.failed += 1;
                end.after = After::Wait(now + Duration::from_millis(after_ms));
                end.returned.push(item);
            }
        }
        settlement.lanes.push(end);
    }
    settlement
}

/// Handlers, all in one thread; it tells whose calls are done, and ends with the runners.
fn handler(
    called: Receiver<Call>,
    mut fate: impl FnMut(&Call) -> Fate + Send + 'static,
) -> (JoinHandle<()>, Receiver<i64>) {
    let (send, done) = channel();
    let thread = thread::spawn(move || {
        while let Ok(call) = called.recv() {
            let fate = fate(&call);
            call.end(fate);
            if fate == Fate::Done {
                send.send(call.offset).ok();
            }
        }
    });
    (thread, done)
}

fn go_home(room: &Room, runners: Vec<JoinHandle<usize>>, handler: JoinHandle<()>) -> usize {
    room.dispatch.close();
    let looks = runners.into_iter().map(|runner| runner.join().unwrap()).sum();
    handler.join().unwrap();
    assert!(!room.dispatch.deserted(), "they were sent home");
    looks
}

#[test]
fn whatever_is_pushed_is_handled_while_concurrency_changes_and_nobody_is_called_for_nothing() {
    let scenario = || {
        let room = Room::new(3, 4);
        let (runners, called) = runners(&room, 3);
        let (handler, done) = handler(called, |_| Fate::Done);
        room.push([(1, 0), (1, 1), (2, 2)]);
        room.dispatch.with(|schedule| schedule.set_concurrency(1));
        room.push([(3, 3), (1, 4)]);
        room.dispatch.with(|schedule| schedule.set_paused(true, Instant::now()));
        room.push([(4, 5)]);
        room.dispatch.with(|schedule| schedule.set_concurrency(6));
        room.dispatch.with(|schedule| schedule.set_paused(false, Instant::now()));
        let mut offsets: Vec<i64> = (0..6).map(|_| done.recv().unwrap()).collect();
        offsets.sort_unstable();
        assert_eq!(offsets, [0, 1, 2, 3, 4, 5]);
        let looks = go_home(&room, runners, handler);
        assert!(looks <= 6 * LOOKS_PER_RECORD, "{looks}");
    };
    shuttle::check_random(scenario, ORDERS);
}

#[test]
fn a_seat_with_room_is_found_beside_full_ones() {
    let scenario = || {
        let room = Room::new(3, 3);
        let (runners, called) = runners(&room, 3);
        // The first two calls end when the third record is done, which comes when they run.
        room.push([(1, 0), (2, 1)]);
        let held = [called.recv().unwrap(), called.recv().unwrap()];
        room.push([(3, 2)]);
        let third = called.recv().unwrap();
        assert_eq!(third.offset, 2);
        third.end(Fate::Done);
        held.iter().for_each(|call| call.end(Fate::Done));
        let (handler, _done) = handler(called, |_| Fate::Done);
        let looks = go_home(&room, runners, handler);
        assert!(looks <= 3 * LOOKS_PER_RECORD, "{looks}");
    };
    shuttle::check_random(scenario, ORDERS);
}

#[test]
fn the_success_that_ends_a_flood_calls_the_other_runners() {
    let scenario = || {
        let room = Room::with_flood(3, 3, 1);
        let (runners, called) = runners(&room, 3);
        room.push([(1, 0)]);
        called.recv().unwrap().end(Fate::Retry(1_000_000));
        while room.dispatch.with(|schedule| schedule.view(SLOT).unwrap().calls) > 0 {
            thread::yield_now();
        }
        room.push([(2, 1), (3, 2), (4, 3)]);
        called.recv().unwrap().end(Fate::Done);
        // Each seat has room for one, so they are begun by two runners at least.
        let both = [called.recv().unwrap(), called.recv().unwrap()];
        both.iter().for_each(|call| call.end(Fate::Done));
        let (handler, _done) = handler(called, |_| Fate::Done);
        go_home(&room, runners, handler);
    };
    shuttle::check_random(scenario, ORDERS);
}

#[test]
fn a_runner_whose_handler_computes_does_not_keep_the_signal_from_one_that_waits() {
    let scenario = || {
        let room = Room::new(2, 4);
        let look = |seat| {
            let now = room.clock.now();
            let found = room.dispatch.exchange(seat, 0, &mut Vec::new(), &mut Vec::new(), now);
            assert!(found.due.is_none() && !found.closed);
        };
        [0, 1].into_iter().for_each(look);
        let poll = || room.dispatch.poll_signal(1, &Context::from_waker(Waker::noop()));
        assert!(poll().is_pending());
        room.push([(1, 0)]);
        assert!(poll().is_ready(), "the first seat is elsewhere, nobody knows for how long");
    };
    shuttle::check_random(scenario, 1);
}

#[test]
fn a_retry_is_taken_when_it_is_due_by_whoever_has_room_then() {
    let scenario = || {
        let room = Room::new(2, 2);
        let (runners, called) = runners(&room, 2);
        room.push([(1, 0)]);
        called.recv().unwrap().end(Fate::Retry(5));
        // Perhaps by the runner that had the first one: then it is full when the retry is due.
        room.push([(2, 1)]);
        let long = called.recv().unwrap();
        assert_eq!(long.offset, 1);
        let passing = {
            let room = Arc::clone(&room);
            thread::spawn(move || {
                while room.unfinished() > 1 {
                    room.clock.pass(Duration::from_millis(1));
                    thread::yield_now();
                }
            })
        };
        let again = called.recv().unwrap();
        assert_eq!((again.offset, again.failures), (0, 1));
        again.end(Fate::Done);
        passing.join().unwrap();
        long.end(Fate::Done);
        let (handler, _done) = handler(called, |_| Fate::Done);
        go_home(&room, runners, handler);
    };
    shuttle::check_random(scenario, ORDERS);
}

#[test]
fn retries_that_come_due_in_any_order_are_all_taken() {
    let scenario = || {
        let room = Room::new(3, 3);
        let (runners, called) = runners(&room, 3);
        let fate = |call: &Call| match (call.failures, call.offset) {
            (0, offset) => Fate::Retry(1 + 3 * (offset.unsigned_abs() % 3)),
            _ => Fate::Done,
        };
        let (handler, done) = handler(called, fate);
        room.push((0..4_i64).map(|offset| (offset.unsigned_abs(), offset)));
        let passing = {
            let room = Arc::clone(&room);
            thread::spawn(move || {
                while room.unfinished() > 0 {
                    room.clock.pass(Duration::from_millis(1));
                    thread::yield_now();
                }
            })
        };
        assert_eq!((0..4).map(|_| done.recv().unwrap()).sum::<i64>(), 6);
        passing.join().unwrap();
        go_home(&room, runners, handler);
    };
    shuttle::check_random(scenario, ORDERS);
}

#[test]
fn a_close_ends_all_runners_whatever_they_hold() {
    let scenario = || {
        let room = Room::new(3, 2);
        let (runners, called) = runners(&room, 3);
        let pushing = {
            let room = Arc::clone(&room);
            thread::spawn(move || room.push([(1, 0), (2, 1), (3, 2)]))
        };
        let abandoning = {
            let room = Arc::clone(&room);
            thread::spawn(move || room.dispatch.progress(room.tenure, Vec::new(), false))
        };
        let (handler, _done) = handler(called, |call| match call.offset {
            0 => Fate::Retry(1_000_000),
            _ => Fate::Done,
        });
        go_home(&room, runners, handler);
        pushing.join().unwrap();
        abandoning.join().unwrap();
    };
    shuttle::check_random(scenario, ORDERS);
}

#[test]
fn a_runner_that_leaves_without_being_sent_home_is_missed() {
    let scenario = || {
        let room = Room::new(1, 1);
        let leaving = Arc::clone(&room);
        thread::spawn(move || leaving.dispatch.leave()).join().unwrap();
        assert!(room.dispatch.deserted());
    };
    shuttle::check_random(scenario, ORDERS);
}
