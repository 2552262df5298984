//! Tasks that fire each second while their dispatchers and workers are killed in turn.

use millrace_checker::occurrences::{OccurrenceLedger, check};
use millrace_checker::{AnomalyName, Report};
use millrace_drills::schedules::ground::{Ground, Role, Size, blow};
use millrace_runtime::sabotage::{CrashPoint, Switch};
use millrace_testkit::{Stack, wait_until};

use crate::harness::PATIENCE;
use crate::lease_harness::seed;

#[tokio::test(flavor = "multi_thread")]
async fn every_occurrence_is_dispatched_once_and_fires_once_while_dispatchers_die_in_turn() {
    let (seed, size) = (seed(), Size { tasks: 6, seconds: 4 });
    let ground = Ground::open(Stack::shared().await).await.unwrap();
    let report = Box::pin(blow(&ground, size, seed)).await.unwrap();
    println!("{report}{}", report.verdict(seed));
    assert!(report.ok(), "{report}{}", report.verdict(seed));
    // Each task in each second, at the least.
    assert!(report.ledger.fired >= size.tasks * size.seconds, "{}", report.ledger);
}

/// A worker dies when an occurrence is done and its message is not settled yet; another one gets the message.
async fn repeated(arms: &[&str]) -> Report<OccurrenceLedger> {
    seed();
    let ground = Ground::open(Stack::shared().await).await.unwrap();
    ground.declare(2).await.unwrap();
    let dispatcher = ground.start(Role::Dispatches, &[]).unwrap();
    let crash = format!("{}:3", CrashPoint::AfterStateCommit.name());
    let dies = ground.start(Role::Works, &[arms, &["--sabotage", &crash]].concat()).unwrap();
    dies.process.wait_exit(PATIENCE).await;
    let worker = ground.start(Role::Works, arms).unwrap();
    let (until, done) = ground.caught_up().await.unwrap();
    assert!(done, "what was due was not done");
    if !arms.is_empty() {
        wait_until("an occurrence fires again", PATIENCE, || async {
            let history = ground.history(until).await.map_err(|error| format!("{error:?}"))?;
            let ledger = check(&history).ledger;
            if ledger.repeats > 0 { Ok(()) } else { Err(ledger.to_string()) }
        })
        .await;
    }
    ground.stop_all(vec![dispatcher, worker]).await.unwrap();
    check(&ground.history(until).await.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_takes_what_has_ended_fires_twice() {
    let arms = ["--sabotage", Switch::ScheduleSkipInbox.name()];
    let (broken, well) = futures::future::join(repeated(&arms), repeated(&[])).await;
    assert!(well.ok(), "{well}");
    assert!(broken.has(AnomalyName::DoubleEffect), "{broken}");
}
