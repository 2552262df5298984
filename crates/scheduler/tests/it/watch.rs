//! The watch ends runs that are over, and leaves those alone that have ended themselves.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use millrace_messaging::Handler as _;
use millrace_scheduler::{OccurrenceState, TaskError, TaskRun};
use millrace_testkit::wait_until;
use tokio::sync::Notify;

use crate::harness::{BY, Bench, PATIENCE, delivery, hourly, leave_a_note};

/// Says that it was dropped: the future that holds it has ended.
struct Dropped(Arc<AtomicBool>);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

async fn becomes_true(what: &str, flag: &AtomicBool) {
    wait_until(what, PATIENCE, || async { flag.load(Ordering::SeqCst) }).await;
}

#[tokio::test]
async fn a_handler_that_has_finished_may_go_on_to_its_return_and_a_terminated_one_may_not() {
    let bench = Bench::new().await;
    let dispatcher = bench.dispatcher(&[]);
    let schedules = bench.schedules(&dispatcher);
    for name in ["finished", "terminated"] {
        let task = bench.quiet_task(&schedules, name, hourly()).await;
        schedules.trigger(&task, BY).await.unwrap();
    }
    assert_eq!(dispatcher.dispatch_once().await.unwrap(), Some(2));

    let (gate, ended) = (Arc::new(Notify::new()), Arc::new(AtomicBool::new(false)));
    let (came_back, returned) = (Arc::clone(&gate), Arc::clone(&ended));
    let (dropped, entered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let told = Arc::clone(&dropped);
    let began = Arc::clone(&entered);
    let worker = bench
        .worker(&dispatcher)
        .task("finished", move |run: TaskRun| {
            let (gate, returned) = (Arc::clone(&came_back), Arc::clone(&returned));
            async move {
                leave_a_note(run).await?;
                gate.notified().await;
                returned.store(true, Ordering::SeqCst);
                Ok::<(), TaskError>(())
            }
        })
        .task("terminated", move |_: TaskRun| {
            let (dropped, began) = (Dropped(Arc::clone(&told)), Arc::clone(&began));
            async move {
                let _dropped = dropped;
                began.store(true, Ordering::SeqCst);
                std::future::pending::<Result<(), TaskError>>().await
            }
        })
        .build();
    bench.tasks.spawn("task-watch", worker.clone().watch(bench.stop.clone()));
    for message in bench.take_messages().await {
        let worker = worker.clone();
        bench.tasks.spawn("handling", async move {
            worker.handle(delivery(message)).await;
        });
    }
    bench.wait_for(&[(OccurrenceState::Done, 1), (OccurrenceState::Running, 1)]).await;
    becomes_true("the other one has begun", &entered).await;

    bench
        .execute(
            "update task_occurrence set state = 'terminated', until = null, ended_at = now() \
             where task = 'terminated'",
        )
        .await;
    // The look that ended this one has seen the finished one too.
    becomes_true("the watch has ended the terminated one", &dropped).await;
    gate.notify_one();
    becomes_true("the finished one returns", &ended).await;
    assert_eq!(bench.effects().await, ["done"]);
}
