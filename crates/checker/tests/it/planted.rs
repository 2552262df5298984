//! One planted anomaly for each name: found by its name, in a history that was clean before.

use millrace_checker::{AnomalyName, Event, What, check};

use crate::right::{Dice, Flavour, Plan, history};
use crate::wrong::{NAMES, plant};

fn plan(flavour: Flavour) -> Plan {
    Plan { flavour, records: 60, keys: 5, partitions: 2, seed: 4 }
}

/// Plants the anomaly in a history of every flavour that can have it.
fn is_found(name: AnomalyName) {
    let mut planted = 0;
    for flavour in Flavour::ALL {
        let mut history = history(plan(flavour));
        let clean = check(&history, &flavour.promises());
        assert!(clean.ok(), "{flavour:?}: {clean}");
        if !plant(name, flavour, &mut history, &mut Dice::new(9)) {
            continue;
        }
        planted += 1;
        let report = check(&history, &flavour.promises());
        assert!(report.has(name), "{flavour:?}: {name} is not in: {report}");
        let verdict = report.verdict(4);
        assert!(verdict.starts_with("verdict: broken ("), "{verdict}");
        assert!(verdict.contains(name.as_str()), "{verdict}");
        assert!(report.to_string().contains(&format!("{name}: ")), "{report}");
    }
    assert!(planted > 0, "{name} has no place in any flavour");
}

macro_rules! planted {
    ($($test:ident => $name:ident),+ $(,)?) => {
        $(
            #[test]
            fn $test() {
                is_found(AnomalyName::$name);
            }
        )+

        #[test]
        fn every_name_has_its_test() {
            assert_eq!(NAMES, [$(AnomalyName::$name),+]);
        }
    };
}

planted! {
    a_record_without_an_outcome_is_a_lost_write => LostWrite,
    a_record_that_nobody_came_to_is_unseen => Unseen,
    a_record_at_two_places_is_a_duplicate => Duplicate,
    two_records_at_one_place_are_an_inconsistent_offset => InconsistentOffset,
    a_poll_past_a_record_is_a_poll_skip => PollSkip,
    a_hole_inside_one_poll_is_an_internal_poll_skip => InternalPollSkip,
    a_poll_that_goes_back_is_nonmonotonic => NonmonotonicPoll,
    a_step_back_inside_one_poll_is_internal_nonmonotonic => InternalNonmonotonicPoll,
    sends_that_stand_in_another_order_are_nonmonotonic => NonmonotonicSend,
    sends_of_one_batch_that_stand_in_another_order_are_internal_nonmonotonic => InternalNonmonotonicSend,
    a_record_that_was_called_off_and_read_is_an_aborted_read => AbortedRead,
    effects_out_of_sequence_break_the_order_per_key => OrderPerKey,
    effects_out_of_log_order_break_the_order_per_partition => OrderPerPartition,
    two_rows_for_one_record_are_a_double_effect => DoubleEffect,
    a_letter_for_a_record_that_took_effect_is_done_and_dead => DoneAndDead,
    an_effect_nobody_sent_a_record_for_is_found => EffectWithoutRecord,
    an_effect_without_its_inbox_row_is_a_half_commit => HalfCommit,
    a_write_under_a_lower_epoch_is_stale => StaleEpoch,
    a_commit_past_a_record_in_hand_is_premature => PrematureCommit,
    a_start_after_a_revocation_is_found => HandledAfterRevoke,
    two_letters_for_one_record_are_a_double_letter => DoubleLetter,
    a_repeat_long_after_the_end_is_late => LateRepeat,
}

#[test]
fn a_repeat_is_not_late_when_the_coordinator_gave_no_answer_meanwhile() {
    let flavour = Flavour::Plain;
    let mut history = history(plan(flavour));
    assert!(plant(AnomalyName::LateRepeat, flavour, &mut history, &mut Dice::new(9)));
    let again = history.events.pop().expect("the repeat is the last event");
    let last_us = history.events.last().expect("an event").at_us;
    let silent =
        |for_us| Event { at_us: again.at_us, by: "observer".into(), what: What::Silent { for_us } };
    for (for_us, late) in [(1_000_000, true), (again.at_us - last_us, false)] {
        let mut told = history.clone();
        told.events.extend([silent(for_us), again.clone()]);
        let report = check(&told, &flavour.promises());
        assert_eq!(report.has(AnomalyName::LateRepeat), late, "{for_us} us of silence: {report}");
    }
}

#[test]
fn a_zombie_that_goes_on_and_then_notes_its_loss_was_no_owner_though_it_becomes_one_at_once() {
    let flavour = Flavour::Plain;
    let mut history = history(plan(flavour));
    assert!(plant(AnomalyName::LateRepeat, flavour, &mut history, &mut Dice::new(9)));
    let again = history.events.last().expect("the repeat is the last event").clone();
    let What::Started { topic, partition, .. } = again.what.clone() else { panic!("{again:?}") };
    let lost = What::Lost { topic: topic.clone(), partition };
    let assigned = What::Assigned { topic, partition };
    let then = |later_us, what: &What| Event {
        at_us: again.at_us + later_us,
        what: what.clone(),
        ..again.clone()
    };
    for (notes, late) in [([&lost, &assigned], false), ([&assigned, &lost], true)] {
        let mut told = history.clone();
        told.events.extend([then(3_000, notes[0]), then(20_000, notes[1])]);
        let report = check(&told, &flavour.promises());
        assert_eq!(report.has(AnomalyName::LateRepeat), late, "{notes:?}: {report}");
    }
}
