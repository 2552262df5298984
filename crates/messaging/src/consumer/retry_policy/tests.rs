use millrace_envelope::error_codes;
use proptest::prelude::*;

use super::*;

error_codes! {
    BUSY = "depot.busy", 503, "The depot is busy.", "Wait.";
    BROKEN = "depot.broken", 500, "The parcel is broken.", "Mend it.";
}

const ORDERED: bool = false;
const ORDER_FREE: bool = true;

fn again(ms: u64) -> Next {
    Next::Again { wait: Duration::from_millis(ms) }
}

fn failed(class: Class, attempt: u32, tier: Option<RetryTier>, elapsed_ms: i64) -> Failed<'static> {
    let code = if class == Class::Transient { &BUSY } else { &BROKEN };
    Failed { class, code, attempt, tier, first_failure_ms: 1_000, now_ms: 1_000 + elapsed_ms }
}

fn transient(attempt: u32, tier: Option<RetryTier>) -> Failed<'static> {
    failed(Class::Transient, attempt, tier, 0)
}

/// Without jitter: a draw of zero takes the full wait.
fn next(policy: &RetryPolicy, order_free: bool, failed: &Failed<'_>) -> Next {
    policy.next_drawn(order_free, failed, 0.0)
}

#[test]
fn a_permanent_failure_is_given_up_at_once_by_every_handler() {
    let policy = RetryPolicy::default();
    for order_free in [ORDERED, ORDER_FREE] {
        for tier in [None, Some(RetryTier::OneSecond)] {
            let failed = failed(Class::Permanent, 1, tier, 0);
            assert_eq!(next(&policy, order_free, &failed), Next::Dead);
        }
    }
}

#[test]
fn an_order_free_record_is_repeated_in_place_then_passes_the_tiers_and_is_given_up() {
    let policy = RetryPolicy::default();
    let (one, ten, sixty) = (RetryTier::OneSecond, RetryTier::TenSeconds, RetryTier::OneMinute);
    let table = [
        (1, None, again(100)),
        (2, None, again(200)),
        (3, None, again(400)),
        (4, None, Next::Tier(one)),
        (5, Some(one), Next::Tier(ten)),
        (6, Some(ten), Next::Tier(sixty)),
        (7, Some(sixty), Next::Dead),
    ];
    for (attempt, tier, expected) in table {
        assert_eq!(next(&policy, ORDER_FREE, &transient(attempt, tier)), expected, "{attempt}");
    }
}

#[test]
fn a_record_on_a_tier_is_not_repeated_in_place_however_garbled_its_count_is() {
    let failed = transient(1, Some(RetryTier::OneSecond));
    let expected = Next::Tier(RetryTier::TenSeconds);
    assert_eq!(next(&RetryPolicy::default(), ORDER_FREE, &failed), expected);
}

#[test]
fn a_handler_that_keeps_order_tries_in_place_with_growing_waits_for_as_long_as_it_takes() {
    let policy = RetryPolicy::default();
    for (attempt, ms) in [(1, 100), (4, 800), (8, 10_000), (u32::MAX, 10_000)] {
        let failed = failed(Class::Transient, attempt, None, 86_400_000);
        assert_eq!(next(&policy, ORDERED, &failed), again(ms));
    }
}

#[test]
fn by_chance_a_wait_is_shortened_by_its_share_of_jitter_at_most() {
    let policy = RetryPolicy::default();
    for _ in 0..100 {
        let Next::Again { wait } = policy.next(ORDERED, &transient(1, None)) else { panic!() };
        assert!((50..=100).contains(&wait.as_millis()), "{wait:?}");
    }
}

#[test]
fn the_last_try_falls_on_the_end_of_the_time_to_give_up() {
    let policy =
        RetryPolicy { give_up_after: Some(Duration::from_secs(5)), ..RetryPolicy::default() };
    let at = |ms| next(&policy, ORDERED, &failed(Class::Transient, 8, None, ms));
    assert_eq!(at(0), again(5_000));
    assert_eq!(at(4_900), again(100));
    assert_eq!(at(5_000), Next::Dead);
    assert_eq!(at(i64::MAX - 1_000), Next::Dead);
    // The clock of the machine where it failed first was ahead.
    assert_eq!(at(-60_000), again(5_000));
    let on_tier = failed(Class::Transient, 5, Some(RetryTier::OneSecond), 5_000);
    assert_eq!(next(&policy, ORDER_FREE, &on_tier), Next::Dead);
}

#[test]
fn routes_by_code_override_the_class() {
    let policy = RetryPolicy {
        routes: vec![(&BUSY, Route::DeadLetter), (&BROKEN, Route::InPlace)],
        ..RetryPolicy::default()
    };
    assert_eq!(next(&policy, ORDERED, &transient(1, None)), Next::Dead);
    let broken = failed(Class::Permanent, 9, None, 0);
    assert_eq!(next(&policy, ORDERED, &broken), again(10_000));
    assert_eq!(next(&policy, ORDER_FREE, &broken), again(10_000));
}

#[test]
fn a_route_to_a_tier_skips_what_comes_before_it_and_never_goes_back() {
    let to_ten = Route::Tier(RetryTier::TenSeconds);
    let policy = RetryPolicy { routes: vec![(&BUSY, to_ten)], ..RetryPolicy::default() };
    let table = [
        (None, Next::Tier(RetryTier::TenSeconds)),
        (Some(RetryTier::OneSecond), Next::Tier(RetryTier::TenSeconds)),
        (Some(RetryTier::TenSeconds), Next::Tier(RetryTier::OneMinute)),
        (Some(RetryTier::OneMinute), Next::Dead),
    ];
    for (tier, expected) in table {
        assert_eq!(next(&policy, ORDER_FREE, &transient(1, tier)), expected, "{tier:?}");
    }
    assert_eq!(next(&policy, ORDERED, &transient(1, None)), again(100));
}

#[test]
fn a_policy_that_makes_no_sense_is_refused() {
    let with = |routes| RetryPolicy { routes, ..RetryPolicy::default() };
    let to_tier = with(vec![(&BUSY, Route::Tier(RetryTier::OneSecond))]);
    assert_eq!(to_tier.check(ORDER_FREE), Ok(()));
    let code = "depot.busy";
    assert_eq!(to_tier.check(ORDERED), Err(RetryPolicyError::TierKeepsNoOrder { code }));
    let twice = with(vec![(&BUSY, Route::InPlace), (&BUSY, Route::DeadLetter)]);
    assert_eq!(twice.check(ORDERED), Err(RetryPolicyError::RoutedTwice { code }));
    for (factor, jitter) in [(0.5, 0.5), (f64::NAN, 0.5), (f64::INFINITY, 0.5), (2.0, 1.5)] {
        let backoff = Backoff { factor, jitter, ..Backoff::STANDARD };
        let policy = RetryPolicy { backoff, ..RetryPolicy::default() };
        assert_eq!(policy.check(ORDERED), Err(RetryPolicyError::Backoff));
    }
}

fn policies() -> impl Strategy<Value = RetryPolicy> {
    let route = prop_oneof![
        Just(Route::DeadLetter),
        Just(Route::InPlace),
        proptest::sample::select(&RetryTier::ALL).prop_map(Route::Tier),
    ];
    let backoff = (0_u64..2_000, 0_u64..60_000, 1.0..4.0_f64, 0.0..=1.0_f64);
    let limit = proptest::option::of(0_u64..600_000);
    (0_u32..6, backoff, limit, proptest::option::of(route)).prop_map(
        |(immediate, (initial, more, factor, jitter), limit, route)| RetryPolicy {
            immediate,
            backoff: Backoff {
                initial: Duration::from_millis(initial),
                max: Duration::from_millis(initial + more),
                factor,
                jitter,
            },
            give_up_after: limit.map(Duration::from_millis),
            routes: route.map(|route| (&BUSY, route)).into_iter().collect(),
        },
    )
}

/// The failures a record lives through until it is given up, with the time that passes between them.
fn lives(policy: &RetryPolicy, order_free: bool, draws: &[f64]) -> (u32, Vec<RetryTier>, i64) {
    let mut failed = failed(Class::Transient, 1, None, 0);
    let mut tiers = Vec::new();
    loop {
        let draw = draws[usize::try_from(failed.attempt).unwrap() % draws.len()];
        let waited = match policy.next_drawn(order_free, &failed, draw) {
            Next::Again { wait } => wait,
            Next::Tier(tier) => {
                failed.tier = Some(tier);
                tiers.push(tier);
                tier.wait()
            }
            Next::Dead => break,
        };
        failed.attempt += 1;
        failed.now_ms += i64::try_from(waited.as_micros().div_ceil(1_000)).unwrap();
        if failed.attempt > 1_000_000 {
            break;
        }
    }
    (failed.attempt, tiers, failed.now_ms - failed.first_failure_ms)
}

proptest! {
    #[test]
    fn with_a_limit_every_record_ends_in_time(
        policy in policies(), order_free: bool, draws in proptest::collection::vec(0.0..1.0_f64, 1..8),
    ) {
        let Some(limit) = policy.give_up_after else { return Ok(()) };
        let (attempts, _, lasted_ms) = lives(&policy, order_free, &draws);
        let limit_ms = i64::try_from(limit.as_millis()).unwrap();
        prop_assert!(attempts <= 1_000_000);
        // A tier that is entered just before the end is waited through.
        prop_assert!(lasted_ms <= limit_ms + 60_000, "{} of {}", lasted_ms, limit_ms);
        if !order_free {
            prop_assert!(lasted_ms <= limit_ms, "{} of {}", lasted_ms, limit_ms);
        }
    }

    #[test]
    fn without_order_every_record_that_is_not_held_in_place_ends_even_without_a_limit(
        mut policy in policies(), draws in proptest::collection::vec(0.0..1.0_f64, 1..8),
    ) {
        policy.give_up_after = None;
        policy.routes.retain(|(_, route)| *route != Route::InPlace);
        let (attempts, tiers, _) = lives(&policy, ORDER_FREE, &draws);
        prop_assert!(attempts <= policy.immediate + 4);
        prop_assert!(tiers.is_sorted_by(|a, b| a < b), "{:?}", tiers);
    }

    #[test]
    fn a_handler_that_keeps_order_is_never_sent_to_a_tier(
        policy in policies(), attempt: u32, tier in proptest::option::of(0_usize..3),
        elapsed_ms in -1_000_000_i64..1_000_000, permanent: bool, draw in 0.0..1.0_f64,
    ) {
        let class = if permanent { Class::Permanent } else { Class::Transient };
        let failed = failed(class, attempt, tier.map(|at| RetryTier::ALL[at]), elapsed_ms);
        let next = policy.next_drawn(ORDERED, &failed, draw);
        prop_assert!(!matches!(next, Next::Tier(_)), "{:?}", next);
    }

    #[test]
    fn waits_are_bounded_and_grow_with_the_failures(
        mut policy in policies(), attempt in 1_u32..100, draw in 0.0..1.0_f64,
    ) {
        policy.give_up_after = None;
        policy.routes = vec![(&BUSY, Route::InPlace)];
        let wait = |attempt| match policy.next_drawn(ORDERED, &transient(attempt, None), draw) {
            Next::Again { wait } => wait,
            other @ (Next::Tier(_) | Next::Dead) => panic!("{other:?}"),
        };
        prop_assert!(wait(attempt) <= policy.backoff.max.max(WAIT_MIN));
        prop_assert!(wait(attempt) >= WAIT_MIN);
        // For one draw, hence also in the mean of all draws.
        prop_assert!(wait(attempt) <= wait(attempt + 1));
    }
}
