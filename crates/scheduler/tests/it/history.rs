//! History is bounded in time and cheap to read.

use std::time::Duration;

use millrace_scheduler::{OccurrenceState, upkeep};

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

/// What the pages read must not grow with the history: the plans walk along an index.
#[tokio::test]
async fn a_page_of_a_long_history_and_a_look_read_a_few_blocks() {
    let bench = Bench::new().await;
    let dispatcher = bench.dispatcher(&[]);
    let schedules = bench.schedules(&dispatcher);
    let task = bench.quiet_task(&schedules, "long", hourly()).await;
    bench
        .execute(
            "insert into task_occurrence (task, instant, state, kind, fire_at, attempt, ended_at) \
             select 'long', now() - make_interval(secs => n), \
                 case when n % 5000 = 0 then 'failed' else 'done' end, 'scheduled', now(), 1, now() \
             from generate_series(1, 60000) as n",
        )
        .await;
    bench.execute("analyze task_occurrence").await;
    let failed = schedules.history(&task, None, Some(OccurrenceState::Failed), 50).await.unwrap();
    assert_eq!(failed.items.len(), 12);
    for statement in [
        "explain (analyze, buffers, format json) select * from task_occurrence where task = 'long' \
             and instant < '9999-01-01' order by instant desc limit 10",
        "explain (analyze, buffers, format json) select * from task_occurrence where task = 'long' \
             and instant < '9999-01-01' and state = 'failed' and ended_at is not null \
             order by instant desc limit 10",
        "explain (analyze, buffers, format json) select * from task_occurrence where task = 'long' \
             and ended_at is null and (state <> 'waiting' or attempt > 0) limit 1000",
        "explain (analyze, buffers, format json) select * from task_occurrence where task = 'long' \
             and state = 'waiting' and attempt = 0 order by fire_at, instant limit 1000",
    ] {
        let plan: serde_json::Value =
            sqlx::query_scalar(statement).fetch_one(&bench.owner).await.unwrap();
        let read = |key: &str| plan[0]["Plan"][key].as_i64().unwrap();
        let blocks = read("Shared Hit Blocks") + read("Shared Read Blocks");
        assert!(blocks < 60, "{blocks} blocks for {statement}: {plan}");
    }
}
