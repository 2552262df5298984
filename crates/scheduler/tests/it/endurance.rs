//! Many tasks, and dispatchers and workers that die all the time.

use std::time::{Duration, Instant};

use millrace_scheduler::policy::Overlap;
use millrace_scheduler::{OccurrenceState, Role, TaskForm};
use millrace_testkit::wait_until;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use crate::harness::{Bench, PATIENCE, hourly, leave_a_note};

#[tokio::test]
async fn dispatchers_killed_in_turn_and_two_workers_give_each_occurrence_one_effect() {
    const KILLS: usize = 8;
    let seed: u64 = rand::random();
    println!("seed {seed}");
    let mut draw = StdRng::seed_from_u64(seed);
    let bench = Bench::new().await;
    let first = bench.dispatcher(&[]);
    let schedules = bench.schedules(&first);
    for number in 0..10 {
        let mut form = TaskForm::every(Duration::from_secs(1));
        form.overlap = Overlap::AllowAll;
        bench.quiet_task(&schedules, &format!("second-{number}"), form).await;
    }
    let worker = bench.worker(&first).tasks("second-", leave_a_note).build();
    bench.working(worker.clone());
    bench.working(worker);
    bench.relaying();
    // A killed process gives nothing back: its lease lasts a second more.
    let settings = [("LEASE_TTL", "1s")];
    for _ in 0..KILLS {
        let dispatcher = bench.dispatcher(&settings);
        let running = bench.tasks.spawn("victim", dispatcher.clone().run(bench.stop.clone()));
        wait_until("the next one leads", PATIENCE, || async {
            dispatcher.health().status().role == Role::Leading
        })
        .await;
        let seen = bench.count("select count(*) from task_occurrence").await;
        wait_until("it has dispatched something", PATIENCE, || async {
            bench.count("select count(*) from task_occurrence").await > seen
        })
        .await;
        for _ in 0..draw.random_range(0..200) {
            tokio::task::yield_now().await;
        }
        running.abort();
        assert!(running.await.unwrap_err().is_cancelled());
    }
    bench.execute("update scheduled_task set paused_at = now()").await;
    wait_until("all have ended", PATIENCE, || async {
        let open = bench.count("select count(*) from task_occurrence where ended_at is null").await;
        if open == 0 { Ok(()) } else { Err(open) }
    })
    .await;
    let twice = bench.count("select count(*) from (select from effect group by task, instant having count(*) > 1) as t").await;
    assert_eq!(twice, 0, "seed {seed}");
    let done = bench.count("select count(*) from task_occurrence where state = 'done'").await;
    let effects = bench.count("select count(*) from effect").await;
    assert_eq!(effects, done, "seed {seed}");
    // Every second from the first to the last occurrence of a task is there: nothing was lost between two dispatchers.
    let gaps = bench
        .count(
            "select count(*) from (select instant - lag(instant) over (partition by task order by instant) as gap \
             from task_occurrence) as g where gap > interval '1 second'",
        )
        .await;
    assert_eq!(gaps, 0, "seed {seed}");
}

#[tokio::test]
async fn ten_thousand_tasks_that_are_due_at_once_are_dispatched_in_some_seconds() {
    const TASKS: i64 = 10_000;
    let bench = Bench::new().await;
    let dispatcher = bench.dispatcher(&[]);
    let form = serde_json::to_string(&hourly()).unwrap();
    sqlx::query(
        "insert into scheduled_task (id, origin, version, spec, next_at, look_at) \
         select 'many-' || n, 'operator', 1, $1::text::jsonb, now(), now() from generate_series(1, $2) as n",
    )
    .bind(form)
    .bind(TASKS)
    .execute(&bench.owner)
    .await
    .unwrap();
    let started = Instant::now();
    let dispatched = dispatcher.dispatch_once().await.unwrap();
    let took = started.elapsed();
    println!("{TASKS} occurrences in {took:?}");
    assert_eq!(dispatched, Some(usize::try_from(TASKS).unwrap()));
    assert_eq!(bench.waiting_messages().await, TASKS);
    bench.wait_for(&[(OccurrenceState::Dispatched, TASKS)]).await;
    assert!(took < Duration::from_secs(15), "{took:?}");
}
