//! One partition a day: made for what comes, made ahead, dropped after the retention.

use chrono::{DateTime, Days, NaiveDate};
use millrace_common::runtime::Clock;
use millrace_testkit::wait_until;
use sqlx::PgPool;

use crate::harness::{PATIENCE, TestApp, envelope, spawn_app, spawn_app_with};

fn today() -> NaiveDate {
    Clock::system().now().date_naive()
}

fn name(day: NaiveDate) -> String {
    format!("request_logs_{}", day.format("%Y%m%d"))
}

async fn partitions(pool: &PgPool) -> Vec<String> {
    sqlx::query_scalar(
        "select relname::text from pg_inherits join pg_class on pg_class.oid = inhrelid
         where inhparent = 'request_logs'::regclass order by relname",
    )
    .fetch_all(pool)
    .await
    .unwrap()
}

async fn wait_partitions(app: &TestApp, expected: &[NaiveDate]) {
    let expected: Vec<String> = expected.iter().copied().map(name).collect();
    wait_until("partitions", PATIENCE, || async {
        let found = partitions(&app.database.app_pool()).await;
        if found == expected { Ok(()) } else { Err(found) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn late_and_early_lines_get_their_day_and_those_outside_the_window_are_dropped() {
    let app = spawn_app().await;
    let today = today();
    let back = |days| today - Days::new(days);
    let ahead = |days| today + Days::new(days);
    let at = |day: NaiveDate, hour| {
        let mut line = envelope(|_| {});
        line.timestamp = day.and_hms_opt(hour, 59, 59).unwrap().and_utc().timestamp_millis();
        line
    };
    let stored = [at(back(7), 0), at(back(3), 23), at(today, 0), at(ahead(1), 23)];
    let dropped = [at(back(8), 23), at(ahead(2), 0), at(DateTime::UNIX_EPOCH.date_naive(), 0)];
    for line in dropped.iter().chain(&stored) {
        app.publish_untimed(line).await;
    }
    for line in &stored {
        app.wait_stored(line.id).await;
    }
    for line in &dropped {
        assert_eq!(app.stored(line.id).await, 0);
    }
    wait_partitions(&app, &[back(7), back(3), today, ahead(1)]).await;
    let found = app.search("service=order&limit=2").await;
    assert_eq!(found.column("id"), [stored[3].id.to_string(), stored[2].id.to_string()]);
    let rest = app.search(&format!("service=order&cursor={}", found.next_cursor().unwrap())).await;
    assert_eq!(rest.column("id"), [stored[1].id.to_string(), stored[0].id.to_string()]);
    app.finish(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn upkeep_makes_tomorrow_and_drops_what_is_past_the_retention() {
    partitions_are_kept_up(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_redis_partitions_are_kept_up_all_the_same() {
    partitions_are_kept_up(&[("REDIS__PORT", "1"), ("SCHEDULER__LEASE_TTL", "1s")]).await;
}

async fn partitions_are_kept_up(settings: &[(&str, &str)]) {
    let app = spawn_app_with(&[&[("INGEST__UPKEEP_INTERVAL", "1s")], settings].concat()).await;
    let (today, tomorrow) = (today(), today() + Days::new(1));
    wait_partitions(&app, &[today, tomorrow]).await;
    let kept = today - Days::new(14);
    let past = [today - Days::new(20), today - Days::new(15)];
    sqlx::query("select request_logs_ensure_days($1)")
        .bind(vec![past[0], past[1], kept])
        .execute(&app.database.app_pool())
        .await
        .unwrap();
    wait_partitions(&app, &[kept, today, tomorrow]).await;
    // By an occurrence of the task, that is, and not only by the start.
    wait_until("a run of the task", PATIENCE, || async {
        let done: i64 = sqlx::query_scalar(
            "select count(*) from task_occurrence where task = 'partition-upkeep' and state = 'done'",
        )
        .fetch_one(&app.database.app_pool())
        .await
        .unwrap();
        done > 0
    })
    .await;
    app.finish(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_instances_that_meet_a_new_day_together_make_it_once() {
    let app = spawn_app().await;
    let pool = app.database.app_pool();
    // None so old that the service drops it meanwhile.
    let days: Vec<NaiveDate> = (1..14).map(|days| today() - Days::new(days)).collect();
    let calls = (0..4).map(|_| {
        sqlx::query_scalar::<_, i32>("select request_logs_ensure_days($1)")
            .bind(days.clone())
            .fetch_one(&pool)
    });
    let made: i32 = futures::future::try_join_all(calls).await.unwrap().into_iter().sum();
    assert_eq!(made, 13);
    app.finish(0).await;
}
