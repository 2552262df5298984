//! On a real broker: letters and offsets together or not at all, under both rebalance protocols.

mod depot;

use super::*;
use depot::{Depot, Protocol, SOON, letter, member_of, offsets};
use millrace_testkit::{Stack, TopicSpec, wait_until};

const BOTH: [Protocol; 2] = [Protocol::Classic, Protocol::Consumer];

async fn depot(protocol: Protocol) -> Depot<'static> {
    let specs = [TopicSpec::new("src", 1), TopicSpec::new("dlt", 2)];
    Depot::open(Stack::shared().await, protocol, &specs).await
}

#[tokio::test(flavor = "multi_thread")]
async fn letters_and_offsets_with_their_metadata_take_effect_together() {
    for protocol in BOTH {
        let depot = depot(protocol).await;
        let member = depot.member();
        let membership = member_of(&member);
        let mut writer = depot.writer();
        let letters = [letter(&depot.dlt(), "one"), letter(&depot.dlt(), "two")];
        let list = offsets(&depot.src(), 7, "bAAB");
        writer.publish(&member, &membership, &letters, &list, SOON).unwrap();
        assert_eq!(depot.committed(), Some((7, "bAAB".to_owned())));
        depot.wait_for_letters(&["one", "two"]).await;
        // A plain commit and another transaction follow.
        member.commit(&offsets(&depot.src(), 8, "plain"), CommitMode::Sync).unwrap();
        assert_eq!(depot.committed(), Some((8, "plain".to_owned())));
        let list = offsets(&depot.src(), 9, "");
        let third = [letter(&depot.dlt(), "three")];
        writer.publish(&member, &membership, &third, &list, SOON).unwrap();
        assert_eq!(depot.committed(), Some((9, String::new())));
        depot.wait_for_letters(&["one", "three", "two"]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_writer_that_dies_before_the_commit_leaves_neither_letter_nor_offset() {
    for protocol in BOTH {
        let depot = depot(protocol).await;
        let member = depot.member();
        let membership = member_of(&member);
        member.commit(&offsets(&depot.src(), 3, "before"), CommitMode::Sync).unwrap();
        let mut dying = depot.writer();
        let until = Instant::now() + SOON;
        dying.open_client(until).unwrap();
        let list = offsets(&depot.src(), 4, "never");
        let mut client = dying.client.take().unwrap();
        client.fill(&[letter(&depot.dlt(), "never")], until).unwrap();
        client.join(&list, &membership, until).unwrap();
        // The letter lies in the log, its transaction open.
        assert_eq!(depot.uncommitted_letters().await, ["never"]);
        assert_eq!(depot.letters(), Vec::<String>::new());
        client.release();
        assert_eq!(depot.letters(), Vec::<String>::new());
        // A client of the same id makes the coordinator end it at once instead of at its time-out.
        dying.open_client(Instant::now() + SOON).unwrap();
        assert_eq!(depot.committed(), Some((3, "before".to_owned())));
        let list = offsets(&depot.src(), 4, "after");
        dying.publish(&member, &membership, &[letter(&depot.dlt(), "after")], &list, SOON).unwrap();
        depot.wait_for_letters(&["after"]).await;
        assert_eq!(depot.committed(), Some((4, "after".to_owned())));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plain_commit_between_the_letters_and_their_commit_is_not_undone_by_an_abort() {
    for protocol in BOTH {
        let depot = depot(protocol).await;
        let member = depot.member();
        let membership = member_of(&member);
        let mut writer = depot.writer();
        writer.send(&[letter(&depot.dlt(), "given up")], SOON).unwrap();
        member.commit(&offsets(&depot.src(), 5, "plain"), CommitMode::Sync).unwrap();
        writer.abort();
        assert_eq!(depot.committed(), Some((5, "plain".to_owned())));
        // Joined by offsets and given up: what was committed plainly stands all the same.
        writer.send(&[letter(&depot.dlt(), "given up, too")], SOON).unwrap();
        let list = offsets(&depot.src(), 6, "never");
        let client = writer.client.as_ref().unwrap();
        client.join(&list, &membership, Instant::now() + SOON).unwrap();
        member.commit(&offsets(&depot.src(), 7, "later"), CommitMode::Sync).unwrap();
        drop(writer);
        assert_eq!(depot.committed(), Some((7, "later".to_owned())));
        assert_eq!(depot.letters(), Vec::<String>::new());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn letters_are_not_committed_before_they_are_sent() {
    let depot = depot(Protocol::Classic).await;
    let member = depot.member();
    let membership = member_of(&member);
    let list = offsets(&depot.src(), 1, "");
    let mut writer = depot.writer();
    let refused = writer.commit(&member, &membership, &list, SOON).unwrap_err();
    assert!(matches!(refused, LetterError::Retry(_)), "{refused:?}");
    writer.send(&[letter(&depot.dlt(), "x")], SOON).unwrap();
    writer.abort();
    let refused = writer.commit(&member, &membership, &list, SOON).unwrap_err();
    assert!(matches!(refused, LetterError::Retry(_)), "{refused:?}");
    assert_eq!((depot.committed(), depot.letters()), (None, Vec::new()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_left_is_fenced_and_its_writer_goes_on_after_it_has_joined_again() {
    for protocol in BOTH {
        let depot = depot(protocol).await;
        let member = depot.member();
        let before = member_of(&member);
        let mut writer = depot.writer();
        member.commit(&offsets(&depot.src(), 1, "mine"), CommitMode::Sync).unwrap();
        assert!(before.lasts(&member), "{protocol:?}");
        member.unsubscribe();
        depot.poll_until(&member, "left the group", || Membership::of(&member).is_none());
        assert!(!before.lasts(&member), "{protocol:?}");
        let letters = [letter(&depot.dlt(), "zombie")];
        let list = offsets(&depot.src(), 2, "zombie");
        let refused = writer.publish(&member, &before, &letters, &list, SOON).unwrap_err();
        assert!(matches!(refused, LetterError::Fenced(_)), "{protocol:?}: {refused:?}");
        assert_eq!(depot.committed(), Some((1, "mine".to_owned())));
        depot.join(&member);
        let again = member_of(&member);
        // A plain commit would be sent under this one, and taken.
        assert!(again.lasts(&member) && !before.lasts(&member), "{protocol:?}");
        let letters = [letter(&depot.dlt(), "owner")];
        let list = offsets(&depot.src(), 2, "owner");
        writer.publish(&member, &again, &letters, &list, SOON).unwrap();
        depot.wait_for_letters(&["owner"]).await;
        assert_eq!(depot.committed(), Some((2, "owner".to_owned())));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_membership_from_before_a_rebalance_is_fenced_though_the_member_is_still_in() {
    let depot = depot(Protocol::Classic).await;
    let member = depot.member();
    let before = member_of(&member);
    let mut writer = depot.writer();
    let other = depot.consumer();
    other.subscribe(&[&depot.src()]).unwrap();
    depot.poll_until(&member, "the next generation", || {
        drop(other.poll(Duration::from_millis(5)));
        Membership::of(&member).is_some_and(|now| format!("{now:?}") != format!("{before:?}"))
    });
    let letters = [letter(&depot.dlt(), "late")];
    let list = offsets(&depot.src(), 2, "late");
    let refused = writer.publish(&member, &before, &letters, &list, SOON).unwrap_err();
    assert!(matches!(refused, LetterError::Fenced(_)), "{refused:?}");
    assert_eq!(depot.committed(), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_in_no_group_has_no_membership() {
    let depot = depot(Protocol::Classic).await;
    let stranger = depot.consumer();
    assert!(Membership::of(&stranger).is_none());
    stranger.subscribe(&[&depot.src()]).unwrap();
    assert!(Membership::of(&stranger).is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_letters_that_are_too_large_are_named_and_nothing_takes_effect() {
    let narrow = TopicSpec::new("dlt", 1).with("max.message.bytes", "20000");
    let specs = [TopicSpec::new("src", 1), narrow];
    let depot = Depot::open(Stack::shared().await, Protocol::Classic, &specs).await;
    let member = depot.member();
    let membership = member_of(&member);
    let mut writer = depot.writer();
    let list = offsets(&depot.src(), 1, "");
    let large = |bytes: usize| letter(&depot.dlt(), &"x".repeat(bytes));
    let letters = [letter(&depot.dlt(), "small"), large(30_000), large(40_000)];
    let refused = writer.publish(&member, &membership, &letters, &list, SOON).unwrap_err();
    assert_eq!(named(refused), [1, 2]);
    // Larger than the client itself allows: nobody is asked.
    let beyond = [letter(&depot.dlt(), "small"), large(2 * 1024 * 1024)];
    let refused = writer.publish(&member, &membership, &beyond, &list, SOON).unwrap_err();
    assert_eq!(named(refused), [1]);
    assert_eq!(depot.committed(), None);
    writer.publish(&member, &membership, &letters[..1], &list, SOON).unwrap();
    depot.wait_for_letters(&["small"]).await;
}

fn named(error: LetterError) -> Vec<usize> {
    let LetterError::Oversized { indices } = error else { panic!("{error:?}") };
    indices
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_is_too_large_together_goes_singly_in_one_transaction_at_once() {
    let narrow = TopicSpec::new("dlt", 1).with("max.message.bytes", "4000");
    let specs = [TopicSpec::new("src", 1), narrow];
    let depot = Depot::open(Stack::shared().await, Protocol::Classic, &specs).await;
    let member = depot.member();
    let membership = member_of(&member);
    let mut writer = depot.writer();
    let texts: Vec<String> = (0..300).map(|n| format!("{n:03}{}", "x".repeat(1000))).collect();
    let letters: Vec<_> = texts.iter().map(|text| letter(&depot.dlt(), text)).collect();
    for round in 1..=2 {
        let list = offsets(&depot.src(), round, "");
        writer.publish(&member, &membership, &letters, &list, SOON).unwrap();
    }
    assert_eq!(writer.batching, Batching::Singly);
    let mut twice: Vec<&str> = texts.iter().flat_map(|text| [text.as_str(); 2]).collect();
    twice.sort_unstable();
    depot.wait_for_letters(&twice).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn letters_without_offsets_are_refused_because_nothing_would_fence_them() {
    let depot = depot(Protocol::Classic).await;
    let member = depot.member();
    let membership = member_of(&member);
    let mut unset = TopicPartitionList::new();
    unset.add_partition(&depot.src(), 0);
    for list in [TopicPartitionList::new(), unset] {
        let letters = [letter(&depot.dlt(), "x")];
        let refused = depot.writer().publish(&member, &membership, &letters, &list, SOON);
        assert!(matches!(refused, Err(LetterError::Retry(_))), "{refused:?}");
    }
    assert_eq!(depot.letters(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partition_is_kept_and_wraps_round_where_the_topic_has_fewer() {
    let depot = depot(Protocol::Classic).await;
    let member = depot.member();
    let membership = member_of(&member);
    let to = |partition| {
        let text = format!("from {partition}");
        OutgoingLetter { partition: Some(partition), ..letter(&depot.dlt(), &text) }
    };
    let letters = [to(0), to(1), to(2), to(5)];
    let list = offsets(&depot.src(), 1, "");
    depot.writer().publish(&member, &membership, &letters, &list, SOON).unwrap();
    depot.wait_for_letters(&["from 0", "from 1", "from 2", "from 5"]).await;
    let lying = depot
        .stack
        .records(&depot.dlt())
        .await
        .into_iter()
        .map(|record| (record.partition, String::from_utf8(record.payload.unwrap()).unwrap()));
    let lying: Vec<(i32, String)> = lying.collect();
    let expected = [(0, "from 0"), (0, "from 2"), (1, "from 1"), (1, "from 5")];
    assert_eq!(lying, expected.map(|(partition, text)| (partition, text.to_owned())));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_is_missing_costs_the_bound_and_no_more() {
    let depot = depot(Protocol::Classic).await;
    let member = depot.member();
    let membership = member_of(&member);
    let mut writer = depot.writer();
    let list = offsets(&depot.src(), 1, "");
    for partition in [None, Some(0)] {
        let letters = [OutgoingLetter { partition, ..letter("no-such-topic", "x") }];
        let started = Instant::now();
        let bound = Duration::from_secs(2);
        let refused = writer.publish(&member, &membership, &letters, &list, bound).unwrap_err();
        assert!(matches!(refused, LetterError::Retry(_)), "{refused:?}");
        // The library's own limit is a minute.
        assert!(started.elapsed() < bound + SOON / 2, "{:?}", started.elapsed());
    }
    writer.publish(&member, &membership, &[letter(&depot.dlt(), "y")], &list, SOON).unwrap();
    depot.wait_for_letters(&["y"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_stands_still_costs_the_bound_and_the_doubt_is_resolved_when_it_goes_on() {
    let stack = Stack::private().await.unwrap();
    let specs = [TopicSpec::new("src", 1), TopicSpec::new("dlt", 1)];
    let depot = Depot::open(&stack, Protocol::Classic, &specs).await;
    let member = depot.member();
    let mut writer = depot.writer();
    let bound = Duration::from_millis(500);
    let slack = SOON / 2;
    // Before the client is known to the coordinator.
    let membership = member_of(&member);
    let list = offsets(&depot.src(), 1, "first");
    let letters = [letter(&depot.dlt(), "first")];
    stack.kafka().pause();
    let started = Instant::now();
    let refused = writer.publish(&member, &membership, &letters, &list, bound).unwrap_err();
    assert!(matches!(refused, LetterError::Retry(_)), "{refused:?}");
    assert!(started.elapsed() < bound + slack, "{:?}", started.elapsed());
    stack.kafka().resume();
    writer.publish(&member, &membership, &letters, &list, SOON).unwrap();
    // In the commit, with a client that lives on and with one that doesn't.
    for (round, broken) in [(2, false), (3, true)] {
        let text = format!("round {round}");
        let list = offsets(&depot.src(), round, &text);
        let until = Instant::now() + SOON;
        writer.open_client(until).unwrap();
        let mut client = writer.client.take().unwrap();
        client.fill(&[letter(&depot.dlt(), &text)], until).unwrap();
        client.join(&list, &membership, until).unwrap();
        stack.kafka().pause();
        let open = writer.finish(client, Some(&list), Instant::now() + bound).unwrap_err();
        assert!(matches!(open, LetterError::InDoubt(_)), "{open:?}");
        assert!(writer.in_doubt());
        let refused = writer.publish(&member, &membership, &letters, &list, bound).unwrap_err();
        assert!(matches!(refused, LetterError::InDoubt(_)), "{refused:?}");
        let still = writer.resolve(&member, bound).unwrap_err();
        assert!(matches!(still, LetterError::InDoubt(_)), "{still:?}");
        if broken {
            writer.client.take().unwrap().release();
            // Its successor, not taken by the coordinator in time, goes on introducing itself.
            let still = writer.resolve(&member, bound).unwrap_err();
            assert!(matches!(still, LetterError::InDoubt(_)), "{still:?}");
            assert!(writer.client.as_ref().is_some_and(|client| !client.ready()));
        }
        stack.kafka().resume();
        let resolved = wait_until("an answer", SOON, || {
            let answer = writer.resolve(&member, bound);
            async move { answer.map_err(|error| format!("{error:?}")) }
        })
        .await;
        assert!(!writer.in_doubt());
        let stands = depot.committed() == Some((round, text.clone()));
        assert_eq!(resolved == Resolved::Committed, stands, "round {round}");
        if stands {
            depot.wait_for_letter(&text).await;
        } else {
            assert!(!depot.letters().contains(&text), "round {round}");
        }
        assert!(broken || stands, "a client that lives on is answered: committed");
    }
}
