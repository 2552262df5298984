//! A worker sees each attempt to its end, and nobody writes for an occurrence that is no longer theirs.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use millrace_messaging::Handler as _;
use millrace_scheduler::policy::Overlap;
use millrace_scheduler::{
    OccurrenceState, RunError, TaskDue, TaskError, TaskEvent, TaskForm, TaskId, TaskRun, Worker,
};
use millrace_testkit::wait_until;
use serde_json::json;
use tokio::sync::Notify;

use crate::harness::{BY, Bench, PATIENCE, delivery, hourly, insert_note, leave_a_note};

#[derive(Debug, thiserror::Error)]
#[error("the neighbour is away")]
struct Away;

/// A triggered and dispatched occurrence of a new task.
async fn dispatched(bench: &Bench, form: TaskForm) -> (millrace_scheduler::Dispatcher, TaskId) {
    let dispatcher = bench.dispatcher(&[]);
    let schedules = bench.schedules(&dispatcher);
    let task = bench.quiet_task(&schedules, "work", form).await;
    schedules.trigger(&task, BY).await.unwrap();
    assert_eq!(dispatcher.dispatch_once().await.unwrap(), Some(1));
    (dispatcher, task)
}

#[tokio::test]
async fn an_occurrence_goes_all_the_way_and_its_history_tells_how() {
    let _telemetry = millrace_telemetry::init_for_tests("jobs", "");
    let bench = Bench::new().await;
    let dispatcher = bench.dispatcher(&[]);
    let schedules = bench.schedules(&dispatcher);
    let form = TaskForm { payload: json!({ "limit": 7 }), ..hourly() };
    let task = bench.quiet_task(&schedules, "all-the-way", form).await;
    let worker = bench.worker(&dispatcher).task("all-the-way", async |run: TaskRun| {
        assert_eq!((run.payload(), run.attempt()), (&json!({ "limit": 7 }), 1));
        leave_a_note(run).await
    });
    bench.working(worker.build());
    bench.relaying();
    bench.tasks.spawn("dispatcher", dispatcher.clone().run(bench.stop.clone()));
    let instant = schedules.trigger(&task, BY).await.unwrap();
    bench.wait_for(&[(OccurrenceState::Done, 1)]).await;

    assert_eq!(bench.effects().await, ["done"]);
    let history = schedules.history(&task, None, None, 10).await.unwrap();
    let [occurrence] = &history.items[..] else { panic!("{history:?}") };
    assert_eq!((occurrence.instant, occurrence.attempt), (instant, 1));
    assert_eq!(occurrence.worker.as_deref(), Some("worker-1"));
    assert!(occurrence.ended_at.is_some() && occurrence.started_at.is_some());
    // The history leads to the trace that the message was sent in, and that its handling continued.
    let records = bench.stack.records(&bench.namespace.topic("tasks")).await;
    let sent_in = records[0].header_text("traceparent").unwrap();
    let trace_id = occurrence.trace_id.as_deref().unwrap();
    assert!(trace_id.len() == 32 && sent_in.contains(trace_id), "{trace_id} is not of {sent_in}");
}

#[tokio::test]
async fn a_message_that_comes_again_has_no_second_effect() {
    let bench = Bench::new().await;
    let (dispatcher, _) = dispatched(&bench, hourly()).await;
    let worker = bench.worker(&dispatcher).task("work", leave_a_note).build();
    let message = bench.take_messages().await.remove(0);
    for _ in 0..3 {
        worker.handle(delivery(message.clone())).await;
    }
    assert_eq!(bench.effects().await, ["done"]);
}

#[tokio::test]
async fn whoever_takes_over_shuts_the_older_run_out() {
    let bench = Bench::new().await;
    let (dispatcher, _) = dispatched(&bench, hourly()).await;
    let (begun, go_on) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let refused = Arc::new(AtomicU32::new(0));
    let worker = {
        let (begun, go_on, refused) = (begun.clone(), go_on.clone(), refused.clone());
        let work = move |run: TaskRun| {
            let (begun, go_on, refused) = (begun.clone(), go_on.clone(), refused.clone());
            async move {
                if run.number() == 1 {
                    begun.notify_one();
                    go_on.notified().await;
                    let write = run.begin().await;
                    assert!(matches!(write, Err(RunError::Refused { run: 1, .. })), "{write:?}");
                    refused.fetch_add(1, Ordering::SeqCst);
                    write?;
                }
                leave_a_note(run).await
            }
        };
        bench.worker(&dispatcher).task("work", work).build()
    };
    let message = bench.take_messages().await.remove(0);
    let older = worker.handle(delivery(message.clone()));
    let newer = async {
        begun.notified().await;
        worker.handle(delivery(message.clone())).await;
        go_on.notify_one();
    };
    tokio::join!(older, newer);
    assert_eq!(refused.load(Ordering::SeqCst), 1);
    assert_eq!(bench.effects().await, ["done"]);
    bench.wait_for(&[(OccurrenceState::Done, 1)]).await;
}

#[tokio::test]
async fn a_terminated_run_writes_no_more_and_the_later_one_does() {
    let bench = Bench::new().await;
    let form = TaskForm { overlap: Overlap::TerminateOther, ..hourly() };
    let (dispatcher, task) = dispatched(&bench, form).await;
    let schedules = bench.schedules(&dispatcher);
    let first = Arc::new(AtomicU32::new(0));
    let runs: Arc<std::sync::Mutex<Vec<TaskRun>>> = Arc::default();
    let worker = {
        let (first, runs) = (first.clone(), runs.clone());
        let work = move |run: TaskRun| {
            let hangs = first.fetch_add(1, Ordering::SeqCst) == 0;
            runs.lock().unwrap().push(run.clone());
            async move {
                if hangs {
                    std::future::pending::<()>().await;
                }
                leave_a_note(run).await
            }
        };
        bench.worker(&dispatcher).task("work", work).build()
    };
    bench.tasks.spawn("task-watch", worker.clone().watch(bench.stop.clone()));
    let older = bench.work(&worker);
    let newer = async {
        bench.wait_for(&[(OccurrenceState::Running, 1)]).await;
        schedules.trigger(&task, BY).await.unwrap();
        dispatcher.dispatch_once().await.unwrap();
        let run = runs.lock().unwrap()[0].clone();
        let write = run.begin().await;
        assert!(matches!(write, Err(RunError::Refused { .. })), "{write:?}");
        bench.work(&worker).await;
    };
    // The older handler never ends by itself: the watch drops it.
    let both = Box::pin(async { tokio::join!(older, newer) });
    tokio::time::timeout(PATIENCE, both).await.expect("the terminated run was dropped");
    bench.wait_for(&[(OccurrenceState::Done, 1), (OccurrenceState::Terminated, 1)]).await;
    assert_eq!(bench.effects().await, ["done"]);
}

#[tokio::test]
async fn a_cancellation_reaches_the_handler_which_comes_to_an_end_before_the_next_begins() {
    let bench = Bench::new().await;
    let form = TaskForm { overlap: Overlap::CancelOther, ..hourly() };
    let (dispatcher, task) = dispatched(&bench, form).await;
    let schedules = bench.schedules(&dispatcher);
    let work = async |run: TaskRun| {
        if run.number() == 1 && run.cancelled().is_cancelled() {
            return Err(TaskError::permanent("cancelled before it began"));
        }
        let first = run.task() == "work" && run.payload().is_null() && run.attempt() == 1;
        assert!(first);
        tokio::select! {
            () = run.cancelled().cancelled_owned() => Err(TaskError::transient("asked to end")),
            () = tokio::time::sleep(Duration::from_secs(5)) => leave_a_note(run).await,
        }
    };
    let worker = bench.worker(&dispatcher).task("work", work).build();
    bench.tasks.spawn("task-watch", worker.clone().watch(bench.stop.clone()));
    let older = bench.work(&worker);
    let newer = async {
        bench.wait_for(&[(OccurrenceState::Running, 1)]).await;
        schedules.trigger(&task, BY).await.unwrap();
        assert_eq!(dispatcher.dispatch_once().await.unwrap(), Some(0), "it waits for its place");
    };
    tokio::join!(older, newer);
    bench.wait_for(&[(OccurrenceState::Cancelled, 1), (OccurrenceState::Waiting, 1)]).await;
    assert_eq!(dispatcher.dispatch_once().await.unwrap(), Some(1), "the end was told at once");
}

#[tokio::test]
async fn a_failure_that_may_pass_is_tried_again_until_the_attempts_are_used_up() {
    let bench = Bench::new().await;
    let mut form = hourly();
    form.retry.attempts_max = 3;
    let (dispatcher, task) = dispatched(&bench, form).await;
    let work = async |run: TaskRun| {
        let mut transaction = run.begin().await?;
        insert_note(&mut transaction, &run, &format!("attempt {}", run.attempt())).await;
        drop(transaction);
        Err(TaskError::transient(Away))
    };
    let worker = bench.worker(&dispatcher).task("work", work).build();
    for attempt in 1..=3 {
        wait_until(&format!("attempt {attempt} is dispatched"), PATIENCE, || async {
            dispatcher.dispatch_once().await.unwrap();
            bench.waiting_messages().await == 1
        })
        .await;
        bench.work(&worker).await;
    }
    bench.wait_for(&[(OccurrenceState::Failed, 1)]).await;
    assert!(bench.effects().await.is_empty(), "what wasn't committed doesn't count");
    let history = bench.schedules(&dispatcher).history(&task, None, None, 1).await.unwrap();
    assert_eq!(history.items[0].attempt, 3);
    assert_eq!(history.items[0].reason.as_deref(), Some("the neighbour is away"));
}

#[tokio::test]
async fn what_cannot_pass_fails_at_once_and_a_panic_is_one_failed_attempt() {
    for (panics, expected) in [(false, OccurrenceState::Failed), (true, OccurrenceState::Waiting)] {
        let bench = Bench::new().await;
        let mut form = hourly();
        form.retry.attempts_max = 2;
        form.retry.backoff_min_ms = 60_000;
        form.retry.backoff_max_ms = 60_000;
        let (dispatcher, _) = dispatched(&bench, form).await;
        let work = move |_: TaskRun| async move {
            assert!(!panics, "on purpose");
            Err(TaskError::permanent(Away))
        };
        let worker = bench.worker(&dispatcher).task("work", work).build();
        bench.work(&worker).await;
        bench.wait_for(&[(expected, 1)]).await;
    }
}

#[tokio::test]
async fn an_attempt_beyond_its_deadline_writes_no_more_and_is_made_again_while_attempts_are_left() {
    let bench = Bench::new().await;
    let mut form = hourly();
    form.deadline_ms = 60_000;
    form.retry.attempts_max = 2;
    let (dispatcher, _) = dispatched(&bench, form).await;
    let runs: Arc<std::sync::Mutex<Vec<TaskRun>>> = Arc::default();
    let worker = {
        let runs = runs.clone();
        let work = move |run: TaskRun| {
            runs.lock().unwrap().push(run.clone());
            async move {
                leave_half_a_note(&run).await?;
                std::future::pending().await
            }
        };
        bench.worker(&dispatcher).task("work", work).build()
    };
    bench.tasks.spawn("task-watch", worker.clone().watch(bench.stop.clone()));
    for attempt in 1..=2 {
        wait_until("an attempt is dispatched", PATIENCE, || async {
            dispatcher.dispatch_once().await.unwrap();
            bench.waiting_messages().await == 1
        })
        .await;
        // The watch drops it when its time is up.
        let time_is_up = async {
            wait_until("half the work is done", PATIENCE, || async {
                bench.effects().await.len() == attempt
            })
            .await;
            a_minute_passes(&bench).await;
        };
        tokio::join!(bench.work(&worker), time_is_up);
        let run = runs.lock().unwrap().last().unwrap().clone();
        assert_eq!(usize::try_from(run.attempt()).unwrap(), attempt);
        let late = run.begin().await;
        assert!(matches!(late, Err(RunError::Refused { .. })), "{late:?}");
    }
    wait_until("the second attempt was its last", PATIENCE, || async {
        dispatcher.dispatch_once().await.unwrap();
        bench.states().await.get("timed_out") == Some(&1)
    })
    .await;
    assert_eq!(bench.effects().await.len(), 2, "parts that were committed in time stay");
}

/// For what runs, and for whoever looks after it.
async fn a_minute_passes(bench: &Bench) {
    bench
        .execute(
            "update task_occurrence set until = until - interval '1 minute' where state = 'running'",
        )
        .await;
    bench.execute("update scheduled_task set look_at = look_at - interval '1 minute'").await;
}

/// A part of the work, committed while the occurrence goes on.
async fn leave_half_a_note(run: &TaskRun) -> Result<(), TaskError> {
    let mut transaction = run.begin().await?;
    insert_note(&mut transaction, run, "half").await;
    transaction.commit().await?;
    Ok(())
}

#[tokio::test]
async fn a_handler_that_leaves_the_end_to_the_worker_is_done_when_it_returns() {
    let bench = Bench::new().await;
    let (dispatcher, _) = dispatched(&bench, hourly()).await;
    let worker = bench.worker(&dispatcher).tasks("wo", async |_: TaskRun| Ok(())).build();
    bench.work(&worker).await;
    bench.wait_for(&[(OccurrenceState::Done, 1)]).await;
}

#[tokio::test]
async fn another_services_task_is_left_to_it_and_an_unknown_one_is_tried_again() {
    let bench = Bench::new().await;
    let mut form = hourly();
    form.retry.attempts_max = 2;
    form.retry.backoff_min_ms = 60_000;
    form.retry.backoff_max_ms = 60_000;
    let (dispatcher, _) = dispatched(&bench, form).await;
    let message = bench.take_messages().await.remove(0);
    let TaskEvent::Due(due) = message.payload.clone();
    let foreign = TaskEvent::Due(TaskDue { service: "somebody".into(), ..due });
    let foreign = millrace_envelope::Envelope { payload: foreign, ..message.clone() };
    let worker: Worker = bench.worker(&dispatcher).task("work", leave_a_note).build();
    worker.handle(delivery(foreign)).await;
    bench.wait_for(&[(OccurrenceState::Dispatched, 1)]).await;
    assert!(bench.effects().await.is_empty());

    bench.worker(&dispatcher).task("other", leave_a_note).build().handle(delivery(message)).await;
    bench.wait_for(&[(OccurrenceState::Waiting, 1)]).await;
}

#[tokio::test]
async fn one_that_waits_for_its_place_begins_as_soon_as_the_other_ends() {
    let bench = Bench::new().await;
    let form = TaskForm { overlap: Overlap::BufferAll, ..hourly() };
    let (dispatcher, task) = dispatched(&bench, form).await;
    let schedules = bench.schedules(&dispatcher);
    for _ in 0..3 {
        schedules.trigger(&task, BY).await.unwrap();
    }
    assert_eq!(dispatcher.dispatch_once().await.unwrap(), Some(0));
    let worker = bench.worker(&dispatcher).task("work", leave_a_note).build();
    for _ in 0..4 {
        assert_eq!(bench.work(&worker).await, 1, "one at a time");
        dispatcher.dispatch_once().await.unwrap();
    }
    bench.wait_for(&[(OccurrenceState::Done, 4)]).await;
    assert_eq!(bench.effects().await.len(), 4);
}
