use proptest::prelude::*;

use super::*;

fn one<'a>(name: &'a str, value: &'a [u8]) -> Trail {
    read([(name, Some(value))])
}

/// The bytes were written by spring-kafka 3.3.4 for these timestamps.
#[test]
fn the_shortest_form_is_the_one_of_java() {
    for (number, bytes) in [
        (0, &[0x00][..]),
        (127, &[0x7f]),
        (128, &[0x00, 0x80]),
        (255, &[0x00, 0xff]),
        (32_767, &[0x7f, 0xff]),
        (32_768, &[0x00, 0x80, 0x00]),
        (1_700_000_000_123, &[0x01, 0x8b, 0xcf, 0xe5, 0x68, 0x7b]),
        (-1, &[0xff]),
    ] {
        assert_eq!(shortest(number), bytes, "{number}");
    }
    assert_eq!(shortest(i64::MIN).len(), 8);
    assert_eq!(shortest(i64::MAX).len(), 8);
    assert_eq!(shortest(-129), [0xff, 0x7f]);
}

#[test]
fn garbage_counts_as_absent() {
    for garbage in [
        &b""[..],
        b"\x00\x00\x00\x00",
        b"\xff\xff\xff\xff",
        b"12345",
        b"\x00",
        b"\x80",
        b"\x00\x00\x00\x00\x00\x00\x00\x00\x01",
    ] {
        assert_eq!(one(RETRY_ATTEMPTS, garbage).attempt, None, "{garbage:?}");
    }
    for garbage in [&b""[..], b"\xff", b"\x00\x00\x00\x00\x00\x00\x00\x00\x01", &[0xff; 8]] {
        assert_eq!(one(RETRY_DUE, garbage).due_ms, None, "{garbage:?}");
    }
    for garbage in [&b""[..], b"-5", b"1.5", b"\xff", b" 1", b"99999999999999999999"] {
        assert_eq!(one(FAILING_SINCE, garbage).first_failure_ms, None, "{garbage:?}");
        assert_eq!(one(REDRIVES, garbage).redrives, None, "{garbage:?}");
    }
    assert_eq!(read([(RETRY_ATTEMPTS, None)]), Trail::default());
    let negative =
        [(ORIGIN_TOPIC, &b"t"[..]), (ORIGIN_PARTITION, &[0xff; 4]), (ORIGIN_OFFSET, &[0; 8])];
    assert_eq!(read(negative.map(|(name, value)| (name, Some(value)))).origin, None);
    assert_eq!(one(ORIGIN_TOPIC, b"t").origin, None);
}

#[test]
fn older_and_other_writers_are_understood() {
    assert_eq!(one(RETRY_ATTEMPTS, &[3]).attempt, Some(3));
    assert_eq!(one(ATTEMPTS, b"3").attempt, Some(4));
    assert_eq!(one(ATTEMPTS, b"4294967295").attempt, None);
    assert_eq!(one(FIRST_FAILURE, b"7").first_failure_ms, Some(7));
    let twice = [
        (RETRY_ATTEMPTS, &[0, 0, 0, 2][..]),
        (RETRY_ATTEMPTS, &[0, 0, 0, 5]),
        (RETRY_ATTEMPTS, b"x!"),
    ];
    assert_eq!(read(twice.map(|(name, value)| (name, Some(value)))).attempt, Some(5));
}

#[test]
fn a_tier_is_waited_for_until_due_and_never_longer_than_the_tier() {
    let due = |ms| Trail { due_ms: Some(ms), ..Trail::default() };
    let tier = RetryTier::TenSeconds;
    assert_eq!(due(15_000).wait(tier, 10_000), Duration::from_secs(5));
    assert_eq!(due(15_000).wait(tier, 15_000), Duration::ZERO);
    assert_eq!(due(15_000).wait(tier, 99_000), Duration::ZERO);
    assert_eq!(due(i64::MAX).wait(tier, i64::MIN), Duration::from_secs(10));
    assert_eq!(Trail::default().wait(tier, 0), Duration::ZERO);
}

proptest! {
    #[test]
    fn the_shortest_form_is_read_back(number: i64) {
        prop_assert_eq!(moment(&shortest(number)), Some(number).filter(|number| *number >= 0));
    }

    #[test]
    fn no_headers_however_torn_are_more_than_a_trail(
        headers in proptest::collection::vec(
            (
                prop_oneof![
                    proptest::sample::select(vec![
                        RETRY_ATTEMPTS, RETRY_DUE, RETRY_ORIGINAL_TIMESTAMP, ATTEMPTS, FIRST_FAILURE,
                        FAILING_SINCE, REDRIVES, ORIGIN_TOPIC, ORIGIN_PARTITION, ORIGIN_OFFSET,
                    ]).prop_map(str::to_owned),
                    ".{0,12}",
                ],
                proptest::option::of(proptest::collection::vec(any::<u8>(), 0..12)),
            ),
            0..12,
        ),
        now_ms: i64,
    ) {
        let trail = read(headers.iter().map(|(name, value)| (name.as_str(), value.as_deref())));
        prop_assert!(trail.attempt != Some(0));
        for moment in [trail.due_ms, trail.original_timestamp_ms, trail.first_failure_ms] {
            prop_assert!(moment.is_none_or(|ms| ms >= 0));
        }
        prop_assert!(trail.wait(RetryTier::OneMinute, now_ms) <= RetryTier::OneMinute.wait());
    }
}
