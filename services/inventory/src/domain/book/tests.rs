//! The state machine of a reservation as a table, and what a batch does to stock.

use super::*;

fn sku(text: &str) -> Sku {
    Sku::parse(text).unwrap()
}

fn lines(wanted: &[(&str, u32)]) -> Lines {
    Lines::try_new(
        wanted.iter().map(|(name, pieces)| (sku(name), Quantity::try_new(*pieces).unwrap())),
    )
    .unwrap()
}

fn free(pieces: i64) -> Stock {
    Stock { free: pieces, ..Stock::EMPTY }
}

fn order(number: u128) -> Uuid {
    Uuid::from_u128(number)
}

const NOW: DateTime<Utc> = DateTime::UNIX_EPOCH;

fn reserve(number: u128, wanted: &[(&str, u32)]) -> Command {
    Command::Reserve { order_id: order(number), lines: lines(wanted) }
}

fn confirm(number: u128) -> Command {
    Command::Confirm { order_id: order(number) }
}

fn release(number: u128) -> Command {
    Command::Release { order_id: order(number), reason: CancelReason::Customer }
}

/// Decisions as words, so that a table reads as one.
fn word(decision: &Result<Decision, NotApplicable>) -> &'static str {
    match decision {
        Ok(Decision::Held { .. }) => "held",
        Ok(Decision::Rejected { .. }) => "rejected",
        Ok(Decision::Refused) => "refused",
        Ok(Decision::Confirmed) => "confirmed",
        Ok(Decision::Released { .. }) => "released",
        Ok(Decision::CancelledFirst { .. }) => "cancelled first",
        Ok(Decision::Unchanged) => "unchanged",
        Err(_) => "not applicable",
    }
}

#[test]
fn every_step_from_every_state_is_decided() {
    let table: [(&str, &[&str], [&str; 3]); 7] = [
        // how the state came about: commands so far · answer to reserve, confirm, release
        ("none", &[], ["held", "not applicable", "cancelled first"]),
        ("held", &["reserve"], ["unchanged", "confirmed", "released"]),
        ("confirmed", &["reserve", "confirm"], ["unchanged", "unchanged", "not applicable"]),
        ("released", &["reserve", "release"], ["unchanged", "not applicable", "unchanged"]),
        ("rejected", &["reserve too many"], ["unchanged", "not applicable", "unchanged"]),
        ("cancelled", &["release"], ["refused", "not applicable", "unchanged"]),
        ("refused", &["release", "reserve"], ["unchanged", "not applicable", "unchanged"]),
    ];
    let command = |name: &str| match name {
        "reserve" => reserve(1, &[("a", 2)]),
        "reserve too many" => reserve(1, &[("a", 6)]),
        "confirm" => confirm(1),
        "release" => release(1),
        other => panic!("no command {other}"),
    };
    for (state, history, answers) in table {
        for (next, answer) in ["reserve", "confirm", "release"].into_iter().zip(answers) {
            let mut book = Book::open([(sku("a"), free(5))], []);
            for step in history {
                assert!(book.apply(&command(step), NOW).is_ok());
            }
            let decision = book.apply(&command(next), NOW);
            assert_eq!(word(&decision), answer, "{next} when {state}");
        }
    }
}

#[test]
fn one_short_line_rejects_the_whole_order_and_every_short_line_is_named() {
    let mut book = Book::open([(sku("a"), free(5)), (sku("b"), free(1))], []);
    let decision = book.apply(&reserve(1, &[("a", 2), ("b", 2), ("zz", 1)]), NOW);
    let shortage = |name: &str, requested, free, reason| Shortage {
        sku: sku(name),
        requested: Quantity::try_new(requested).unwrap(),
        free,
        reason,
    };
    assert_eq!(
        decision,
        Ok(Decision::Rejected {
            shortages: vec![
                shortage("b", 2, 1, ShortageReason::OutOfStock),
                shortage("zz", 1, 0, ShortageReason::UnknownSku),
            ]
        })
    );
    assert_eq!(book.moves().count(), 0);
    let written: Vec<_> = book.written().collect();
    assert_eq!(written.len(), 1);
    assert_eq!(written[0].status, ReservationStatus::Rejected);
    assert_eq!(written[0].lines, Lines::default());
}

#[test]
fn orders_of_one_batch_share_the_stock_and_move_its_version_once() {
    let mut book = Book::open([(sku("a"), free(5))], []);
    for number in 1..=3 {
        book.apply(&reserve(number, &[("a", 2)]), NOW).unwrap();
    }
    let statuses: Vec<_> = book.written().map(|reservation| reservation.status).collect();
    use ReservationStatus::{Held, Rejected};
    assert_eq!(statuses, [Held, Held, Rejected]);
    let moves: Vec<_> = book.moves().map(|(_, moved)| moved.after).collect();
    assert_eq!(moves, [Stock { free: 1, held: 4, sold: 0, row_version: 2 }]);
}

#[test]
fn a_hold_that_is_let_go_in_the_same_batch_moves_no_stock() {
    let mut book = Book::open([(sku("a"), free(5))], []);
    book.apply(&reserve(1, &[("a", 2)]), NOW).unwrap();
    book.apply(&release(1), NOW).unwrap();
    assert_eq!(book.moves().count(), 0);
    let written: Vec<_> = book.written().collect();
    assert_eq!(written[0].status, ReservationStatus::Released);
    assert_eq!(written[0].held_at, Some(NOW));
    assert_eq!(written[0].reason, Some(EndReason::Cancelled(CancelReason::Customer)));
}

#[test]
fn stock_that_disagrees_with_a_reservation_is_told_and_not_touched() {
    let reservation = Reservation {
        order_id: order(1),
        status: ReservationStatus::Held,
        lines: lines(&[("a", 2), ("b", 2)]),
        held_at: Some(NOW),
        reason: None,
    };
    let held = |pieces| Stock { held: pieces, ..Stock::EMPTY };
    let mut book = Book::open([(sku("a"), held(2)), (sku("b"), held(1))], [reservation]);
    let decision = book.apply(&confirm(1), NOW);
    assert_eq!(decision, Err(NotApplicable::HeldTooFew { order_id: order(1), sku: sku("b") }));
    assert_eq!(book.moves().count(), 0);
    assert_eq!(book.written().count(), 0);
}
