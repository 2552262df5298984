use millrace_envelope::TopicName;
use rdkafka::Timestamp;
use tracing::Span;

use super::*;
use crate::consumer::failure::Failure;
use crate::consumer::lanes::Item;
use crate::consumer::schedule::Finished;
use crate::message::RawRecordBuilder;

const TOPIC: TopicName = TopicName::from_static("order-events");
const TENURE: Tenure = Tenure { slot: Slot { topic: 0, partition: 7 }, number: 1 };
const BACKOFF: Backoff = Backoff {
    initial: Duration::from_secs(1),
    max: Duration::from_secs(10),
    factor: 2.0,
    jitter: 0.0,
};

fn pending(offset: i64) -> Pending<Outbound> {
    let record = RawRecordBuilder::new(TOPIC, 7, offset, Timestamp::NotAvailable).build();
    let item = Item::new(record, offset, 10);
    let failure = Failure::unreadable(&crate::codes::UNDECODABLE, "x".to_owned());
    let letter = Outbound::new(Letter::Dead, item, failure, Span::none(), 0);
    Pending { lane: 0, record: Finished { offset, bytes: 10 }, letter }
}

fn letters(offsets: std::ops::Range<i64>) -> Letters {
    vec![(TENURE, offsets.map(pending).collect())]
}

fn offsets(letters: &Letters) -> Vec<i64> {
    letters.iter().flat_map(|(_, letters)| letters).map(|pending| pending.record.offset).collect()
}

fn joined(mut one: Letters, other: Letters) -> Letters {
    one.extend(other);
    one
}

/// Chooses, has the topic refuse these offsets, and gives all back with what was found out.
fn refuse(
    posting: &mut Posting,
    waiting: Letters,
    refused: &[i64],
    now: Instant,
) -> (Letters, Vec<i64>) {
    let (mut chosen, rest) = posting.choose(waiting, now);
    let all = offsets(&chosen);
    let indices: Vec<usize> = (0..all.len()).filter(|at| refused.contains(&all[*at])).collect();
    assert!(!indices.is_empty(), "{all:?}");
    let found = posting.refused(&mut chosen, &indices, &BACKOFF, now);
    let found = found.iter().map(|letter| letter.item.offset).collect();
    (joined(chosen, rest), found)
}

#[test]
fn a_letter_that_is_refused_goes_without_texts_at_once_and_waits_alone_if_that_is_too_much() {
    let (mut posting, now) = (Posting::default(), Instant::now());
    let (waiting, found) = refuse(&mut posting, letters(0..4), &[2], now);
    assert_eq!((found, posting.trouble()), (Vec::new(), None));
    let details = waiting[0].1.iter().map(|pending| pending.letter.detail);
    let full = Detail::Full;
    assert_eq!(details.collect::<Vec<_>>(), [full, full, Detail::CodeOnly, full]);
    let (waiting, found) = refuse(&mut posting, waiting, &[2], now);
    assert_eq!(found, [2], "it is told once");
    let (chosen, rest) = posting.choose(waiting, now);
    assert_eq!((offsets(&chosen), offsets(&rest)), (vec![0, 1, 3], vec![2]));
    let reason = posting.trouble().unwrap();
    assert!(reason.contains("1 too large") && reason.contains("partition 7 offset 2"), "{reason}");
    posting.succeeded(now);
    assert!(posting.trouble().is_some(), "that others go mends nothing");
    let (chosen, rest) = posting.choose(rest, now);
    assert_eq!((offsets(&chosen), offsets(&rest)), (Vec::new(), vec![2]));
    let later = now + BACKOFF.initial;
    let (rest, found) = refuse(&mut posting, rest, &[2], later);
    assert_eq!(found, Vec::<i64>::new(), "it is not told again");
    let wait = rest[0].1[0].letter.not_before.unwrap() - later;
    assert_eq!(wait, 2 * BACKOFF.initial, "the wait grows");
    let (chosen, none) = posting.choose(rest, later + wait);
    assert_eq!((offsets(&chosen), offsets(&none)), (vec![2], Vec::new()));
    posting.succeeded(later + wait);
    posting.choose(none, later + wait);
    assert_eq!((posting.trouble(), posting.too_large()), (None, 0));
}

#[test]
fn very_many_that_are_too_large_are_tried_in_turn_at_one_growing_pace() {
    let (mut posting, now) = (Posting::default(), Instant::now());
    let all: Vec<i64> = (0..5).collect();
    let (waiting, _) = refuse(&mut posting, letters(0..5), &all, now);
    let (mut waiting, found) = refuse(&mut posting, waiting, &all, now);
    assert_eq!(found, all);
    let (mut tried, mut at) = (Vec::new(), Vec::new());
    for tenth in 0..600_u64 {
        let now = now + Duration::from_millis(tenth * 100);
        let (mut chosen, rest) = posting.choose(waiting, now);
        if let [only] = offsets(&chosen)[..] {
            tried.push(only);
            at.push(tenth / 10);
            assert!(posting.refused(&mut chosen, &[0], &BACKOFF, now).is_empty());
        } else {
            assert!(chosen.is_empty());
        }
        assert_eq!(posting.too_large(), 5);
        waiting = joined(chosen, rest);
    }
    assert_eq!(at, [1, 3, 7, 15, 25, 35, 45, 55], "the pace is that of one letter");
    tried.truncate(5);
    tried.sort_unstable();
    assert_eq!(tried, all, "each has its turn");
    // One that is taken shows that the topic is mended: the others follow without its pace.
    let later = now + Duration::from_secs(100);
    while !waiting.is_empty() {
        let (chosen, rest) = posting.choose(waiting, later);
        assert_eq!(offsets(&chosen).len(), 1, "{rest:?}");
        posting.succeeded(later);
        waiting = rest;
    }
}
