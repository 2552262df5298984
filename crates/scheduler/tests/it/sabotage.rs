//! A test that can't fail proves nothing: with a guarantee taken away, the tests of that guarantee must fail.
//!
//! Switches are the whole process', so each test runs again in a process of its own.

use std::process::Command;

use millrace_testkit::Stack;
use millrace_testkit::stack::STACK_VARIABLE;

const SWITCH: &str = "MILLRACE_SCHEDULER_TEST_SWITCH";

/// In such a process: takes the guarantee away.
#[expect(clippy::disallowed_methods, reason = "a test program has no settings of its own")]
pub(crate) fn arm_if_told() {
    if let Ok(switch) = std::env::var(SWITCH) {
        millrace_runtime::sabotage::arm(&switch).unwrap();
    }
}

/// Runs a test of this program in a process of its own; what it printed, and whether it passed.
async fn run(test: &str, switch: Option<&str>) -> (bool, String) {
    let addresses = Stack::shared().await.publish().ok();
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args([test, "--exact", "--nocapture"]);
    command.envs(addresses.map(|file| (STACK_VARIABLE, file)));
    command.envs(switch.map(|switch| (SWITCH, switch)));
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let printed = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&printed).into_owned())
}

async fn is_caught(switch: &str, test: &str) {
    let (passed, printed) = run(test, Some(switch)).await;
    assert!(!passed, "`{test}` passes with {switch}");
    // By its own assertions, not because its process came to grief otherwise.
    assert!(printed.contains("panicked at crates/scheduler/tests/it/"), "{switch}: {printed}");
}

#[tokio::test]
async fn dispatching_what_is_dispatched_already_is_caught() {
    let test = "dispatch::two_dispatchers_that_race_without_a_lease_dispatch_each_occurrence_once";
    is_caught("schedule-skip-unique", test).await;
}

#[tokio::test]
async fn taking_an_occurrence_that_has_ended_is_caught() {
    is_caught("schedule-skip-inbox", "worker::a_message_that_comes_again_has_no_second_effect")
        .await;
}

#[tokio::test]
async fn writing_for_an_occurrence_that_was_taken_over_or_terminated_is_caught() {
    for test in [
        "worker::whoever_takes_over_shuts_the_older_run_out",
        "worker::a_terminated_run_writes_no_more_and_the_later_one_does",
    ] {
        is_caught("schedule-ignore-termination", test).await;
    }
}
