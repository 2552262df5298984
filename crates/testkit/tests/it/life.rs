//! Nothing outlives its run, however the run ends.

use std::time::Duration;

use millrace_testkit::pid::ProcessId;
use millrace_testkit::{Process, wait_until};

const LIMIT: Duration = Duration::from_secs(30);

/// Direct children of a process, started by whichever of its threads.
fn children(pid: u32) -> Vec<ProcessId> {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    threads
        .flat_map(|thread| {
            let text = std::fs::read_to_string(thread.path().join("children")).unwrap_or_default();
            text.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<u32>>()
        })
        .filter_map(ProcessId::of)
        .collect()
}

#[tokio::test]
async fn a_killed_run_leaves_no_server_and_no_command_behind() {
    let run = Process::start_with("devstack", &["with-stack", "--", "sleep", "600"], []).unwrap();
    wait_until("the stack is up", LIMIT, || async {
        let ready = run.output().contains("test stack ready");
        // PostgreSQL, Redis, Kafka and the command.
        if ready && children(run.pid()).len() == 4 { Ok(()) } else { Err(run.output()) }
    })
    .await;
    let started = children(run.pid());
    run.kill_9();
    wait_until("all are gone", LIMIT, || async {
        let left: Vec<_> = started.iter().filter(|process| process.alive()).collect();
        if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
    })
    .await;
}

#[tokio::test]
async fn a_frozen_process_goes_on_and_stops_when_asked() {
    let run = Process::start_with("devstack", &["with-stack", "--", "sleep", "600"], []).unwrap();
    wait_until("the stack is up", LIMIT, || async { run.output().contains("test stack ready") })
        .await;
    run.sigstop();
    run.sigterm();
    assert!(run.exited().is_none(), "a frozen process can't obey");
    assert!(run.resident_bytes().unwrap() > 1 << 20);
    run.sigcont();
    let status = run.wait_exit(LIMIT).await;
    assert_eq!(status.code(), Some(128 + 15), "{}", run.output());
}
