//! Races for leases while holders are frozen, cut off and killed, and Redis is wiped, killed and replaced.

use std::time::Duration;

use millrace_checker::leases::LeaseNote;
use millrace_drills::leases::board::Board;
use millrace_drills::leases::fault::Fault;
use millrace_drills::leases::storm::{Forecast, PROMISES, Size, UNITS, blow};
use millrace_testkit::{Stack, Way, wait_until};

use crate::harness::PATIENCE;
use crate::lease_harness::{ground, noted, opened, seed, start};

const SIZE: Size = Size { leases: 8, holders: 3 };

async fn survived(forecast: Forecast) {
    let (seed, rounds) = (seed(), forecast.single.len() + forecast.sentinels.len());
    let outcome = Box::pin(blow(Stack::shared().await, seed, SIZE, forecast)).await.unwrap();
    let report = outcome.report;
    println!("{:?}\n{report}{}", outcome.faults, report.verdict(seed));
    assert!(report.ok() && outcome.complete, "{report}{}", report.verdict(seed));
    let (runs, units) = (rounds * SIZE.leases, usize::try_from(UNITS).unwrap());
    assert_eq!((report.ledger.runs, report.ledger.effects), (runs, runs * units));
    assert!(report.ledger.grants >= runs);
}

#[tokio::test(flavor = "multi_thread")]
async fn holders_may_stand_still_be_cut_off_and_die() {
    let single = vec![
        Fault::Freeze,
        Fault::CutOff(Way::ToServer),
        Fault::CutOff(Way::ToClient),
        Fault::Kill,
    ];
    survived(Forecast { single, ..Forecast::default() }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_holders_send_may_be_late_and_their_work_may_hang() {
    let single = vec![Fault::HoldBack, Fault::Hang, Fault::HoldBack];
    survived(Forecast { single, ..Forecast::default() }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_may_forget_what_it_knew() {
    let single = vec![Fault::Calm, Fault::Flush, Fault::Restart, Fault::OldCopy];
    survived(Forecast { single, ..Forecast::default() }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_primary_may_die_before_its_replicas_know_what_it_gave() {
    survived(Forecast { sentinels: vec![Fault::Failover], ..Forecast::default() }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_that_was_under_way_when_its_holder_froze_is_refused_by_both_sinks() {
    let ground = ground().await;
    ground.show(Board { round: 1, units: 6, hangs: false }).unwrap();
    let freezes = ["--freeze-at", "before-begin", "--freeze-pass", "2"];
    let first = start(&ground, &[], &freezes);
    ground.frozen(&first, PATIENCE).await.unwrap();
    let second = start(&ground, &[], &[]);
    assert!(ground.done(6, PATIENCE).await);
    ground.thaw(&first);
    noted(&ground, &first, |what| matches!(what, LeaseNote::Refused(_))).await;
    ground.stop_all(vec![first, second]).await.unwrap();
    let report = ground.judge(1, 6, &PROMISES).await.unwrap();
    assert!(report.ok(), "{report}");
    assert!(report.ledger.refused > 0, "{}", report.ledger);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_holder_that_froze_before_its_commit_holds_nobody_up_for_long() {
    let ground = ground().await;
    ground.show(Board { round: 1, units: 6, hangs: false }).unwrap();
    let first = start(&ground, &[], &["--freeze-at", "before-commit", "--freeze-pass", "2"]);
    ground.frozen(&first, PATIENCE).await.unwrap();
    let second = start(&ground, &[], &[]);
    opened(&ground, &second).await;
    assert!(ground.done(6, PATIENCE).await);
    ground.thaw(&first);
    // Its transaction was ended by the database.
    noted(&ground, &first, |what| matches!(what, LeaseNote::Unknown(_) | LeaseNote::Lost { .. }))
        .await;
    ground.stop_all(vec![first, second]).await.unwrap();
    let report = ground.judge(1, 6, &PROMISES).await.unwrap();
    assert!(report.ok(), "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_holder_that_is_cut_off_has_stopped_before_another_one_begins() {
    let ground = ground().await;
    ground.show(Board { round: 1, units: 6, hangs: false }).unwrap();
    let gate = ground.file("gate").display().to_string();
    let cut_off = start(&ground, &[], &["--gate", &gate]);
    opened(&ground, &cut_off).await;
    cut_off.proxy.as_ref().unwrap().freeze(Way::ToClient);
    let other = start(&ground, &[], &[]);
    noted(&ground, &cut_off, |what| matches!(what, LeaseNote::Lost { .. })).await;
    assert!(ground.done(6, PATIENCE).await);
    cut_off.proxy.as_ref().unwrap().pass();
    wait_until("the cut-off one is let back", Duration::from_secs(10), || async {
        std::fs::write(&gate, "")
    })
    .await;
    ground.stop_all(vec![cut_off, other]).await.unwrap();
    let report = ground.judge(1, 6, &PROMISES).await.unwrap();
    assert!(report.ok(), "{report}");
}
