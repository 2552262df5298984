//! History is bounded in time and cheap to read.

use std::time::Duration;

use millrace_scheduler::{OccurrenceState, TaskForm, upkeep};

use crate::harness::{Bench, hourly};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

#[tokio::test]
async fn upkeep_forgets_what_ended_long_ago_and_nothing_else() {
    let bench = Bench::new().await;
    bench
        .execute(
            "insert into task_occurrence (task, instant, state, kind, fire_at, ended_at) \
             select 'old', now() - make_interval(days => 40, secs => n), 'done', 'scheduled', now(), \
                 now() - make_interval(days => case when n < 2500 then 31 else 29 end) \
             from generate_series(1, 2600) as n",
        )
        .await;
    bench
        .execute(
            "insert into task_occurrence (task, instant, state, kind, fire_at, attempt, until) \
             values ('open', now() - interval '90 days', 'running', 'scheduled', now(), 1, now())",
        )
        .await;
    assert_eq!(upkeep::clean(&bench.app, 30 * DAY).await.unwrap(), 2_499);
    assert_eq!(upkeep::clean(&bench.app, 30 * DAY).await.unwrap(), 0);
    bench.wait_for(&[(OccurrenceState::Done, 101), (OccurrenceState::Running, 1)]).await;
}

#[tokio::test]
async fn a_task_may_be_forgotten_sooner_than_the_others() {
    let bench = Bench::new().await;
    let dispatcher = bench.dispatcher(&[]);
    let schedules = bench.schedules(&dispatcher);
    let day_ms = 24 * 60 * 60 * 1_000;
    for (name, retention_ms) in
        [("brief", Some(day_ms)), ("long", None), ("longer", Some(60 * day_ms))]
    {
        bench.quiet_task(&schedules, name, TaskForm { retention_ms, ..hourly() }).await;
    }
    bench
        .execute(
            "insert into task_occurrence (task, instant, state, kind, fire_at, ended_at) \
             select task, now() - make_interval(days => n), 'done', 'scheduled', now(), \
                 now() - make_interval(days => n, secs => -60) \
             from generate_series(1, 40) as n, unnest(array['brief', 'long', 'longer']) as task",
        )
        .await;
    upkeep::clean(&bench.app, 30 * DAY).await.unwrap();
    let kept: Vec<(String, i64)> = sqlx::query_as(
        "select task, count(*) from task_occurrence where ended_at is not null group by task order by task",
    )
    .fetch_all(&bench.owner)
    .await
    .unwrap();
    let expected = [("brief", 1), ("long", 30), ("longer", 30)];
    assert_eq!(kept, expected.map(|(task, rows)| (task.to_owned(), rows)));
}

/// What the pages, the looks and the retention read must not grow with the history: the plans walk along an index.
#[tokio::test]
async fn two_million_occurrences_cost_a_page_a_look_and_a_cleanup_a_few_blocks() {
    let bench = Bench::new().await;
    let dispatcher = bench.dispatcher(&[]);
    let schedules = bench.schedules(&dispatcher);
    let task = bench.quiet_task(&schedules, "long", hourly()).await;
    bench
        .execute(
            "insert into task_occurrence (task, instant, state, kind, fire_at, attempt, ended_at) \
             select 'long', now() - make_interval(secs => n), \
                 case when n % 200000 = 0 then 'failed' else 'done' end, 'scheduled', now(), 1, \
                 now() - make_interval(secs => n) \
             from generate_series(2000000, 1, -1) as n",
        )
        .await;
    bench.execute("analyze task_occurrence").await;
    let page = schedules.history(&task, None, None, 10).await.unwrap();
    assert_eq!(page.items.len(), 10);
    let failed = schedules.history(&task, None, Some(OccurrenceState::Failed), 50).await.unwrap();
    assert_eq!(failed.items.len(), 10);
    for statement in [
        "select * from task_occurrence where task = 'long' \
             and instant < '9999-01-01' order by instant desc limit 10",
        "select * from task_occurrence where task = 'long' \
             and instant < '9999-01-01' and state = 'failed' and ended_at is not null \
             order by instant desc limit 10",
        "select * from task_occurrence where task = 'long' \
             and ended_at is null and (state <> 'waiting' or attempt > 0) limit 1000",
        "select * from task_occurrence where task = 'long' \
             and state = 'waiting' and attempt = 0 order by fire_at, instant limit 1000",
        "select ctid from task_occurrence where ended_at < now() - interval '20 days' \
             order by ended_at limit 1000",
        "select count(*) from (select 1 from task_occurrence where ended_at is null \
             and (state <> 'waiting' or attempt > 0) limit 100000) as open",
    ] {
        let explain = format!("explain (analyze, buffers, format json) {statement}");
        let plan: serde_json::Value =
            sqlx::query_scalar(sqlx::AssertSqlSafe(explain)).fetch_one(&bench.owner).await.unwrap();
        let read = |key: &str| plan[0]["Plan"][key].as_i64().unwrap();
        let blocks = read("Shared Hit Blocks") + read("Shared Read Blocks");
        assert!(blocks < 60, "{blocks} blocks for {statement}: {plan}");
    }
}
