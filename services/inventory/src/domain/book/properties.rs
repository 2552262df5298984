//! What must hold for any orders in any sequence, delivered any number of times.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

const SKUS: [&str; 3] = ["a", "b", "c"];
const ORDERS: u128 = 8;

fn sku(index: usize) -> Sku {
    Sku::parse(SKUS[index]).unwrap()
}

fn stock() -> impl Strategy<Value = Vec<i64>> {
    prop::collection::vec(0_i64..20, SKUS.len())
}

/// Lines are a function of the order: an order's reservation is asked for with the same lines every time.
fn wishes() -> impl Strategy<Value = Vec<Lines>> {
    let line = prop::collection::btree_map(0..SKUS.len(), 1_u32..6, 1..=SKUS.len());
    let lines = line.prop_map(|wanted| {
        Lines::try_new(wanted.into_iter().map(|(at, n)| (sku(at), Quantity::try_new(n).unwrap())))
            .unwrap()
    });
    prop::collection::vec(lines, ORDERS as usize)
}

#[derive(Debug, Clone, Copy)]
enum Step {
    Reserve,
    Confirm,
    Release,
}

fn steps() -> impl Strategy<Value = Vec<(u128, Step)>> {
    let step = prop_oneof![Just(Step::Reserve), Just(Step::Confirm), Just(Step::Release)];
    prop::collection::vec((0..ORDERS, step), 0..60)
}

fn command((order, step): (u128, Step), wishes: &[Lines]) -> Command {
    let order_id = Uuid::from_u128(order);
    match step {
        Step::Reserve => {
            let lines = wishes[usize::try_from(order).unwrap()].clone();
            Command::Reserve { order_id, lines }
        }
        Step::Confirm => Command::Confirm { order_id },
        Step::Release => Command::Release { order_id, reason: CancelReason::Expired },
    }
}

fn open(free: &[i64]) -> Book {
    let rows = free.iter().enumerate();
    Book::open(rows.map(|(at, free)| (sku(at), Stock { free: *free, ..Stock::EMPTY })), [])
}

fn held_and_sold(book: &Book) -> BTreeMap<Sku, (i64, i64)> {
    let mut sums: BTreeMap<Sku, (i64, i64)> = BTreeMap::new();
    for reservation in book.reservations.values() {
        for (sku, quantity) in reservation.lines.iter() {
            let (held, sold) = sums.entry(sku.clone()).or_default();
            match reservation.status {
                ReservationStatus::Held => *held += quantity.pieces(),
                ReservationStatus::Confirmed => *sold += quantity.pieces(),
                ReservationStatus::Released
                | ReservationStatus::Rejected
                | ReservationStatus::Refused
                | ReservationStatus::Cancelled => {}
            }
        }
    }
    sums
}

fn end_state(book: &Book) -> (Vec<Stock>, BTreeMap<Uuid, ReservationStatus>) {
    let stock = book.stock.values().map(|moved| moved.after).collect();
    let statuses = book.reservations.values().map(|found| (found.order_id, found.status)).collect();
    (stock, statuses)
}

proptest! {
    #[test]
    fn no_piece_is_made_or_lost_and_nothing_goes_below_zero(
        free in stock(), wishes in wishes(), steps in steps(),
    ) {
        let mut book = open(&free);
        for step in steps {
            // A command that can't be applied is one of the cases: it must leave the book alone.
            let before = end_state(&book);
            if book.apply(&command(step, &wishes), DateTime::UNIX_EPOCH).is_err() {
                prop_assert_eq!(before, end_state(&book));
            }
            let sums = held_and_sold(&book);
            for (at, loaded) in free.iter().enumerate() {
                let stock = book.stock[&sku(at)].after;
                prop_assert_eq!(stock.loaded(), *loaded);
                prop_assert!(stock.free >= 0 && stock.held >= 0 && stock.sold >= 0);
                let (held, sold) = sums.get(&sku(at)).copied().unwrap_or_default();
                prop_assert_eq!((stock.held, stock.sold), (held, sold));
            }
        }
    }

    #[test]
    fn delivering_again_at_any_later_point_ends_in_the_same_state(
        free in stock(), wishes in wishes(), steps in steps(),
        again in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>()), 0..20),
    ) {
        // Per order the topic keeps the sequence; a repeat comes at any time after its first delivery, and the
        // inbox tells it by its message id.
        let first: Vec<(usize, (u128, Step))> = steps.into_iter().enumerate().collect();
        let mut repeated = first.clone();
        if !first.is_empty() {
            for (which, gap) in again {
                let message = *which.get(&first);
                let seen = repeated.iter().position(|(id, _)| *id == message.0).unwrap_or(0);
                let at = seen + 1 + gap.index(repeated.len() - seen);
                repeated.insert(at, message);
            }
        }
        let run = |messages: &[(usize, (u128, Step))]| {
            let mut book = open(&free);
            let mut inbox = BTreeSet::new();
            for (id, step) in messages {
                if inbox.insert(*id) {
                    // Refused for good or done: either way the message is finished.
                    drop(book.apply(&command(*step, &wishes), DateTime::UNIX_EPOCH));
                }
            }
            end_state(&book)
        };
        prop_assert_eq!(run(&first), run(&repeated));
    }

    #[test]
    fn a_command_repeated_at_once_has_no_second_effect_even_without_the_inbox(
        free in stock(), wishes in wishes(), steps in steps(),
    ) {
        let mut once = open(&free);
        let mut twice = open(&free);
        for step in steps {
            let command = command(step, &wishes);
            drop(once.apply(&command, DateTime::UNIX_EPOCH));
            drop(twice.apply(&command, DateTime::UNIX_EPOCH));
            let repeat = twice.apply(&command, DateTime::UNIX_EPOCH);
            prop_assert!(matches!(repeat, Ok(Decision::Unchanged) | Err(_)));
            prop_assert_eq!(end_state(&once), end_state(&twice));
        }
    }

    #[test]
    fn an_order_whose_cancellation_and_request_swap_places_holds_nothing(
        free in stock(), wishes in wishes(), cancelled_first in any::<bool>(),
    ) {
        let mut book = open(&free);
        let mut pair = [(0, Step::Reserve), (0, Step::Release)];
        if cancelled_first {
            pair.reverse();
        }
        for step in pair {
            prop_assert!(book.apply(&command(step, &wishes), DateTime::UNIX_EPOCH).is_ok());
        }
        prop_assert_eq!(book.moves().count(), 0);
    }
}
