//! Poison of every kind, alone and in company.

use super::*;

#[tokio::test]
async fn each_lane_of_a_batch_has_its_own_fate() {
    let mut stage = Stage::new(false, false);
    stage.push(&[
        (1, "a"),
        (2, "dead"),
        (3, "retry"),
        (2, "b"),
        (3, "c"),
        (4, "foreign"),
        (1, "d"),
    ]);
    let told = stage.call().await.unwrap();
    assert_eq!(stage.seen(), ["a dead retry b c d"]);
    // What was done behind a record that was not stays done.
    let (finished, returned, letters) = (vec![0, 3, 4, 5, 6], vec![2], vec![1]);
    assert_eq!(told, Told { finished, returned, letters, failed: 2 });
    assert_eq!(stage.position(), Some(1));
    assert!(stage.call().await.is_none(), "one lane waits for its retry, one for its letter");
    assert_eq!(stage.publish(), [(1, "messaging.handler_failed")]);
    assert_eq!(stage.position(), Some(2));
    stage.pass(LONG);
    assert_eq!(stage.call().await.unwrap().returned, [2]);
    assert_eq!(stage.seen(), ["retry"], "alone, and again");
}

#[tokio::test]
async fn an_undecodable_record_in_the_middle_of_its_lane_keeps_those_behind_it_back() {
    let stage = Stage::new(false, false);
    stage.push(&[(1, "a"), (1, "torn"), (2, "b"), (1, "c")]);
    let told = stage.call().await.unwrap();
    assert_eq!(stage.seen(), ["a b"]);
    assert_eq!((told.finished, told.letters, told.returned), (vec![0, 2], vec![1], vec![3]));
    assert!(stage.call().await.is_none(), "its lane is held until the letter is published");
    assert_eq!(stage.publish(), [(1, "messaging.undecodable")]);
    assert_eq!(stage.call().await.unwrap().finished, [3]);
    assert_eq!((stage.position(), stage.records()), (Some(4), 0));
}

#[tokio::test]
async fn a_reader_that_panics_costs_its_record_and_nothing_else() {
    for singly in [false, true] {
        for text in ["unreadable", "nameless"] {
            let stage = Stage::new(singly, false);
            stage.push(&[(1, "a"), (1, text), (1, "b")]);
            while stage.call().await.is_some() {}
            assert_eq!(stage.publish(), [(1, "messaging.reader_panicked")], "{text}");
            while stage.call().await.is_some() {}
            assert_eq!(stage.seen(), ["a", "b"]);
            assert_eq!((stage.position(), stage.records()), (Some(3), 0));
        }
    }
}

#[tokio::test]
async fn a_handler_that_panics_is_tried_again_and_the_others_pass_by() {
    for text in ["panic", "eager panic"] {
        let mut stage = Stage::new(true, false);
        stage.push(&[(1, text), (2, "a"), (1, "b")]);
        while stage.call().await.is_some() {}
        assert_eq!(stage.seen(), [text, "a"]);
        stage.pass(LONG);
        assert_eq!(stage.call().await.unwrap().returned, [0]);
        assert_eq!((stage.seen(), stage.publish()), (vec![text.to_owned()], vec![]));
        assert_eq!(stage.position(), Some(0), "nothing of it is committed");
    }
}

#[tokio::test]
async fn a_batch_that_fails_as_a_whole_is_handed_over_one_by_one_and_only_the_bad_record_is_blamed()
{
    let stage = Stage::new(false, false);
    stage.push(&[(1, "a"), (1, "dead"), (2, "b"), (1, "c")]);
    stage.answer(Outcomes::all(Outcome::Retry(transient())));
    let told = stage.call().await.unwrap();
    assert_eq!(told, Told { returned: vec![0, 1, 2, 3], ..Told::default() });
    stage.seen();
    while stage.call().await.is_some() {}
    assert_eq!(stage.publish(), [(1, "messaging.handler_failed")]);
    while stage.call().await.is_some() {}
    let mut seen = stage.seen();
    seen.sort();
    assert_eq!(seen, ["a", "b", "c", "dead"], "each by itself");
    assert_eq!((stage.position(), stage.records()), (Some(4), 0));
}

#[tokio::test]
async fn a_record_that_was_in_a_failed_batch_is_not_joined_by_those_that_came_behind_it() {
    let stage = Stage::new(false, false);
    stage.push(&[(1, "a"), (1, "b")]);
    stage.answer(Outcomes::all(Outcome::Retry(transient())));
    let work = stage.take().unwrap();
    let settlement = stage.caller.call(work, &stage.dispatch).await;
    let late = RawRecordBuilder::new(TOPIC, 0, 2, Timestamp::NotAvailable).build();
    stage.dispatch.with(|schedule| {
        schedule.push(SLOT, vec![(1, Item::new(late, 2, 1))], stage.now);
        schedule.settle(settlement, stage.now);
    });
    stage.seen();
    while stage.call().await.is_some() {}
    assert_eq!(stage.seen(), ["a", "b", ""]);
}

#[tokio::test]
async fn a_wrong_number_of_outcomes_blames_no_record_of_a_batch_and_makes_a_single_one_wait() {
    for answers in [0, 1, 3] {
        let stage = Stage::new(false, false);
        stage.push(&[(1, "a"), (2, "b")]);
        let outcomes = || Outcomes::each((0..answers).map(|_| Outcome::Done).collect());
        stage.answer(outcomes());
        assert_eq!(stage.call().await.unwrap(), Told { returned: vec![0, 1], ..Told::default() });
        if answers != 1 {
            stage.answer(outcomes());
            let told = stage.call().await.unwrap();
            assert_eq!((told.returned, told.failed), (vec![0], 1));
        }
        while stage.call().await.is_some() {}
        assert_eq!(stage.publish(), []);
    }
}

#[tokio::test]
async fn a_flood_of_poison_is_met_one_record_at_a_time_and_ends_with_the_first_success() {
    // With a database a dead letter is kept at once and finishes its record: no success all the same.
    for with_store in [false, true] {
        let stage = Stage::new(true, with_store);
        let mut records: Vec<_> = (0..20).map(|lane| (lane, "dead")).collect();
        records.push((20, "a"));
        records.extend((21..30).map(|lane| (lane, "b")));
        stage.push(&records);
        for _ in 0..5 {
            stage.call().await.unwrap();
        }
        for _ in 5..21 {
            let only = stage.take().unwrap();
            assert!(stage.take().is_none(), "with a store: {with_store}");
            let settlement = stage.caller.call(only, &stage.dispatch).await;
            stage.dispatch.with(|schedule| schedule.settle(settlement, stage.now));
        }
        let (one, another) = (stage.take(), stage.take());
        assert!(one.is_some() && another.is_some(), "«a» succeeded");
        let dead =
            if with_store { stage.shelf.kept.lock().unwrap().len() } else { stage.publish().len() };
        assert_eq!(dead, 20);
    }
}

#[tokio::test]
async fn a_store_that_refuses_or_panics_keeps_the_record() {
    let mut stage = Stage::new(true, true);
    stage.shelf.refusals.lock().unwrap().extend(["the disk is full", "panic"]);
    stage.push(&[(1, "dead"), (1, "a")]);
    for returned in [vec![0, 1], vec![0]] {
        assert_eq!(stage.call().await.unwrap().returned, returned);
        assert_eq!((stage.position(), stage.shelf.kept.lock().unwrap().len()), (Some(0), 0));
        stage.pass(LONG);
    }
    assert_eq!(stage.call().await.unwrap().finished, [0]);
    assert_eq!(stage.call().await.unwrap().finished, [1]);
    assert_eq!(stage.shelf.kept.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn what_a_run_finished_counts_while_its_next_record_takes_its_time() {
    let stage = Stage::new(true, false);
    stage.push(&[(1, "a"), (1, "b"), (1, "stuck")]);
    let work = stage.take().unwrap();
    let mut call = std::pin::pin!(stage.caller.call(work, &stage.dispatch));
    assert!(futures::poll!(call.as_mut()).is_pending());
    assert_eq!((stage.position(), stage.records()), (Some(2), 1));
    stage.dispatch.with(|schedule| schedule.abandon(SLOT));
    let settlement = call.await;
    assert_eq!(Told::of(&settlement), Told::default());
    assert_eq!(settlement.tenure, stage.tenure);
}

#[tokio::test]
async fn a_partition_on_its_way_out_starts_no_further_record_of_a_run() {
    let stage = Stage::new(true, false);
    stage.push(&[(1, "a"), (1, "b")]);
    let work = stage.take().unwrap();
    stage.dispatch.with(|schedule| schedule.leave(SLOT));
    let settlement = stage.caller.call(work, &stage.dispatch).await;
    assert_eq!(Told::of(&settlement).returned, [0, 1]);
    assert!(stage.seen().is_empty());
}

#[tokio::test]
async fn a_record_is_given_up_with_as_many_attempts_as_it_had() {
    let mut stage = Stage::new(true, false);
    stage.caller.policy.give_up_after = Some(Duration::ZERO);
    stage.push(&[(1, "retry")]);
    assert_eq!(stage.call().await.unwrap().letters, [0]);
    let letters = stage.dispatch.with(|schedule| schedule.take_letters(1));
    assert_eq!(letters[0].1[0].letter.item.failures, 1);
}
