//! The shell under a model checker: every lock, wait and counter is a point at which another thread may go on, and
//! thousands of such orders are tried. What it finds is a sleeper that nobody wakes, which it reports as a deadlock
//! with the seed of the order.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use shuttle::future::block_on;
use shuttle::sync::mpsc::{Receiver, channel};
use shuttle::thread::{self, JoinHandle};

use super::line::{self, Bounds, Line, OverflowPolicy, Refusal, Waiting};
use shell::Shell;

/// The model checker's primitives, by the names that the shell asks for.
mod sync {
    pub(super) use shuttle::sync::atomic::{AtomicU64, Ordering};
    pub(super) use shuttle::sync::{Condvar, Mutex, MutexGuard};
}

#[expect(clippy::duplicate_mod, reason = "the same shell, over other primitives")]
#[path = "shell.rs"]
mod shell;

const ORDERS: usize = 1000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Number(u32);

impl Waiting for Number {
    type Place = u32;

    fn bytes(&self) -> usize {
        1
    }

    fn place(&self) -> u32 {
        self.0
    }
}

fn shell(policy: OverflowPolicy, records_max: usize, in_flight_max: u64) -> Arc<Shell<Number>> {
    let bounds = Bounds { records_max, bytes_max: 1000 };
    Arc::new(Shell::new(Line::new(policy, bounds), in_flight_max))
}

fn blocking(records_max: usize, in_flight_max: u64) -> Arc<Shell<Number>> {
    shell(OverflowPolicy::Block { deadline: Duration::ZERO }, records_max, in_flight_max)
}

/// The pump; what it takes goes to the receiver.
fn pump(shell: &Arc<Shell<Number>>) -> (JoinHandle<()>, Receiver<Number>) {
    let (shell, (send, taken)) = (Arc::clone(shell), channel());
    let thread = thread::spawn(move || {
        let mut batch = VecDeque::new();
        while shell.take(2, &mut batch) {
            assert!(!batch.is_empty(), "a pump that is called finds something");
            for number in batch.drain(..) {
                send.send(number).unwrap();
            }
        }
    });
    (thread, taken)
}

/// The client: answers everything, odd numbers with a failure.
fn client(shell: &Arc<Shell<Number>>, taken: Receiver<Number>) -> JoinHandle<Vec<u32>> {
    let shell = Arc::clone(shell);
    thread::spawn(move || {
        let mut answered = Vec::new();
        while let Ok(Number(number)) = taken.recv() {
            answered.push(number);
            shell.settle(number % 2 == 0);
        }
        answered
    })
}

fn check_accounts(shell: &Shell<Number>) {
    let now = shell.snapshot();
    let gone = now.accounts.dropped + now.accounts.left + now.delivered + now.failed;
    assert_eq!(now.accounts.accepted, gone + now.waiting + now.in_flight, "{now:?}");
}

#[test]
fn all_that_is_offered_is_answered_and_a_flush_sees_the_end() {
    let scenario = || {
        let shell = shell(OverflowPolicy::Error, 3, 2);
        let (pump, taken) = pump(&shell);
        let client = client(&shell, taken);
        let publishers: Vec<_> = [0, 10]
            .map(|from| {
                let shell = Arc::clone(&shell);
                thread::spawn(move || {
                    let offer = |number| shell.offer(Number(number)).is_ok();
                    (from..from + 3).filter(|number| offer(*number)).count()
                })
            })
            .into();
        check_accounts(&shell);
        block_on(shell.quiet());
        let accepted: usize = publishers.into_iter().map(|thread| thread.join().unwrap()).sum();
        block_on(shell.quiet());
        let now = shell.snapshot();
        assert_eq!((now.waiting, now.in_flight), (0, 0));
        assert_eq!(now.delivered + now.failed, accepted as u64);
        shell.close();
        pump.join().unwrap();
        assert_eq!(client.join().unwrap().len(), accepted);
        check_accounts(&shell);
    };
    shuttle::check_random(scenario, ORDERS);
}

#[test]
fn who_waits_for_room_gets_it_in_the_end() {
    let scenario = || {
        let shell = blocking(1, 1);
        let (pump, taken) = pump(&shell);
        let client = client(&shell, taken);
        let publishers: Vec<_> = [0, 10, 20]
            .map(|from| {
                let shell = Arc::clone(&shell);
                thread::spawn(move || {
                    for number in from..from + 2 {
                        block_on(shell.offer_when_room(Number(number))).unwrap();
                    }
                })
            })
            .into();
        publishers.into_iter().for_each(|thread| thread.join().unwrap());
        shell.close();
        pump.join().unwrap();
        let answered = client.join().unwrap();
        assert_eq!(answered.len(), 6);
        for from in [0, 10, 20] {
            let of_one: Vec<_> =
                answered.iter().filter(|n| (from..from + 2).contains(*n)).collect();
            assert_eq!(of_one, [&from, &(from + 1)], "a publisher's records keep their order");
        }
        check_accounts(&shell);
    };
    shuttle::check_random(scenario, ORDERS);
}

#[test]
fn who_gives_up_waiting_passes_the_room_on() {
    let scenario = || {
        let shell = blocking(1, 1);
        let (pump, taken) = pump(&shell);
        let client = client(&shell, taken);
        let patient = {
            let shell = Arc::clone(&shell);
            thread::spawn(move || {
                for number in 0..2 {
                    block_on(shell.offer_when_room(Number(number))).unwrap();
                }
            })
        };
        let impatient = {
            let shell = Arc::clone(&shell);
            thread::spawn(move || {
                for number in 10..13 {
                    let mut offering = shell.offer_when_room(Number(number));
                    let once =
                        poll_fn(|context| Poll::Ready(Pin::new(&mut offering).poll(context)));
                    let got_in = block_on(once).is_ready();
                    assert_eq!(offering.into_record().is_none(), got_in);
                }
            })
        };
        patient.join().unwrap();
        impatient.join().unwrap();
        block_on(shell.quiet());
        shell.close();
        pump.join().unwrap();
        client.join().unwrap();
        check_accounts(&shell);
    };
    shuttle::check_random(scenario, ORDERS);
}

#[test]
fn a_close_ends_every_wait_but_that_for_answers() {
    let scenario = || {
        let shell = blocking(1, 1);
        let (pump, taken) = pump(&shell);
        let publishers: Vec<_> =
            [0, 10]
                .map(|from| {
                    let shell = Arc::clone(&shell);
                    thread::spawn(move || {
                        let offer = |number| block_on(shell.offer_when_room(Number(number)));
                        let ends: Vec<_> = (from..from + 2).map(offer).collect();
                        assert!(ends.iter().all(|end| {
                            matches!(end, Ok(()) | Err((Number(_), Refusal::Closed)))
                        }));
                    })
                })
                .into();
        shell.close();
        let left = shell.drain().len() as u64;
        publishers.into_iter().for_each(|thread| thread.join().unwrap());
        let now = shell.snapshot();
        assert_eq!((now.waiting, now.accounts.left), (0, left));
        assert_eq!(now.in_flight, now.accounts.handed, "nobody answered yet");
        check_accounts(&shell);
        let client = client(&shell, taken);
        pump.join().unwrap();
        assert_eq!(client.join().unwrap().len() as u64, now.accounts.handed);
        assert_eq!(shell.snapshot().in_flight, 0, "the pump stayed until the last answer");
    };
    shuttle::check_random(scenario, ORDERS);
}
