//! Every guarantee of leases taken away once: the checker must say which one is missing, and the same drill with the
//! guarantee in place must end well.
//!
//! As in the messaging drill, nothing depends on the machine's speed: a holder freezes itself where it must, waits at a
//! gate, and a fault strikes when its state was noted.

use std::future::Future;
use std::time::Duration;

use futures::future::join;
use millrace_checker::leases::{LeaseLedger, LeaseNote, LeasePromises};
use millrace_checker::{AnomalyName, Event, Report};
use millrace_drills::leases::board::Board;
use millrace_drills::leases::ground::{Ground, Holder, Referee};
use millrace_runtime::sabotage::Switch;
use millrace_testkit::{Way, wait_until};

use crate::harness::PATIENCE;
use crate::lease_harness::{ground, noted, opened, start};

const UNITS: u64 = 6;
/// Work that isn't done by then in a drill that is to hang won't be.
const QUIET: Duration = Duration::from_secs(4);
const PROMISES: LeasePromises = LeasePromises { cancelled_within_us: 1_000_000 };

/// What a holder of the drill is started with.
type Arms = &'static [&'static str];

/// Runs the drill with the switch and without it.
async fn caught<F>(switch: Switch, expected: &[AnomalyName], drill: impl Fn(Arms) -> F)
where
    F: Future<Output = Report<LeaseLedger>>,
{
    let armed: Arms = Vec::leak(vec!["--sabotage", switch.name()]);
    let (broken, well) = join(drill(armed), drill(&[])).await;
    assert!(well.ok(), "without {switch:?}: {well}");
    for name in expected {
        assert!(broken.has(*name), "{switch:?}: {name} was not found:\n{broken}");
    }
}

async fn one_lease(hangs: bool) -> (Ground, String) {
    let ground = ground().await;
    ground.show(Board { round: 1, units: UNITS, hangs }).unwrap();
    let gate = ground.file("gate").display().to_string();
    (ground, gate)
}

/// Waits for the end, which a drill without a guarantee may not come to.
async fn finish(arms: Arms, ground: Ground, holders: Vec<Holder>) -> Report<LeaseLedger> {
    if arms.is_empty() {
        assert!(ground.done(UNITS, PATIENCE).await, "the work was not done");
        ground.stop_all(holders).await.unwrap();
    } else {
        ground.done(UNITS, QUIET).await;
        holders.into_iter().for_each(|holder| ground.kill(holder).unwrap());
    }
    let report = ground.judge(1, UNITS, &PROMISES).await.unwrap();
    println!("{arms:?}\n{report}{}", report.ledger);
    report
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_fence_a_zombies_write_comes_after_its_successors() {
    let expected =
        [AnomalyName::StaleToken, AnomalyName::DoubleEffect, AnomalyName::InterleavedTokens];
    caught(Switch::LeaseSkipFence, &expected, |arms| async move {
        let (ground, _) = one_lease(false).await;
        // Two units under one token, and the freeze between them.
        let turn = ["--turn-min", "6", "--turn-max", "6"];
        let freezes = [&turn[..], &["--freeze-at", "before-begin", "--freeze-pass", "2"]].concat();
        let first = start(&ground, arms, &freezes);
        ground.frozen(&first, PATIENCE).await.unwrap();
        let second = start(&ground, arms, &[]);
        assert!(ground.done(UNITS, PATIENCE).await);
        ground.thaw(&first);
        // By the first sink with the guarantee in place, by the other one without it.
        noted(&ground, &first, |what| matches!(what, LeaseNote::Refused(_))).await;
        finish(arms, ground, vec![first, second]).await
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn work_that_outlives_its_lease_is_found() {
    caught(Switch::LeaseKeepAfterLoss, &[AnomalyName::WorkAfterLoss], |arms| async move {
        let (ground, gate) = one_lease(false).await;
        let cut_off = start(&ground, arms, &["--gate", &gate]);
        opened(&ground, &cut_off).await;
        cut_off.proxy.as_ref().unwrap().freeze(Way::ToServer);
        let other = start(&ground, &[], &[]);
        let granted_us = noted(&ground, &other, |what| matches!(what, LeaseNote::Granted(_))).await;
        assert!(ground.done(UNITS, PATIENCE).await);
        wait_until("nobody could have been busy for so long", PATIENCE, || async {
            ground.now_us() > granted_us + PROMISES.cancelled_within_us
        })
        .await;
        std::fs::write(&gate, "").unwrap();
        let over =
            |what: &LeaseNote| matches!(what, LeaseNote::Refused(_) | LeaseNote::Lost { .. });
        noted(&ground, &cut_off, over).await;
        finish(arms, ground, vec![cut_off, other]).await
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_counter_that_begins_anew_after_a_flush_gives_a_token_twice() {
    caught(Switch::LeaseForgetIncarnation, &[AnomalyName::SharedToken], |arms| async move {
        let (ground, gate) = one_lease(false).await;
        let first = start(&ground, arms, &["--gate", &gate]);
        opened(&ground, &first).await;
        // It stands still, or it would learn of the flush and ask for the lease anew before the second one comes.
        first.process.sigstop();
        ground.frozen(&first, PATIENCE).await.unwrap();
        let Referee::Single(redis) = &ground.referee else { panic!("one Redis was started") };
        ground.note(LeaseNote::Forgot);
        redis.flush().await.unwrap();
        ground.note(LeaseNote::Forgot);
        let second = start(&ground, arms, &[]);
        noted(&ground, &second, |what| matches!(what, LeaseNote::Granted(_))).await;
        ground.thaw(&first);
        // Behind the gate until it knows: how soon it does is another drill's.
        noted(&ground, &first, |what| matches!(what, LeaseNote::Lost { .. })).await;
        std::fs::write(&gate, "").unwrap();
        finish(arms, ground, vec![first, second]).await
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renewer_that_asks_nobody_hides_a_worker_that_hangs() {
    caught(Switch::LeaseRenewWithoutProgress, &[AnomalyName::Unseen], |arms| async move {
        let (ground, _) = one_lease(true).await;
        // The lease outlasts the drill, so that nothing but the want of progress can end it.
        let long = ["--ttl-ms", "60000", "--progress-ms", "2000"];
        let hangs = start(&ground, arms, &[&long[..], &["--hang-per-mille", "1000"]].concat());
        opened(&ground, &hangs).await;
        let other = start(&ground, &[], &[]);
        finish(arms, ground, vec![hangs, other]).await
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_of_somebody_elses_lease_lets_a_third_one_in_early() {
    caught(Switch::LeaseReleaseOthers, &[AnomalyName::EarlyGrant], |arms| async move {
        let (ground, gate) = one_lease(false).await;
        let first = start(&ground, arms, &["--freeze-at", "before-release"]);
        ground.frozen(&first, PATIENCE).await.unwrap();
        let long = ["--ttl-ms", "20000"];
        let second = start(&ground, &[], &[&long[..], &["--gate", &gate]].concat());
        opened(&ground, &second).await;
        let held_us = ground.now_us();
        let third = start(&ground, &[], &long);
        ground.thaw(&first);
        // The first one may be quicker than the third.
        if !arms.is_empty() {
            wait_until("somebody gets the lease that is the second one's", PATIENCE, || async {
                let events = ground.events().map_err(|error| format!("{error:?}"))?;
                let granted = |event: &&Event<LeaseNote>| {
                    matches!(&event.what, LeaseNote::Granted(_)) && event.at_us > held_us
                };
                events.iter().find(granted).map(|_| ()).ok_or_else(|| "nobody".to_owned())
            })
            .await;
        }
        std::fs::write(&gate, "").unwrap();
        finish(arms, ground, vec![first, second, third]).await
    })
    .await;
}
