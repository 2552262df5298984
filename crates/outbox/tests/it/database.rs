//! Starting without PostgreSQL, and the limits of a session.

use std::time::{Duration, Instant};

use millrace_outbox::{
    DatabaseHealth, DatabaseSettings, MIGRATIONS, StoreError, connect, migrate, migrator,
};
use millrace_runtime::settings::Secret;
use millrace_testkit::{ports, wait_until};
use sqlx::PgPool;

use crate::harness::{Bench, database_settings};

#[tokio::test]
async fn a_pool_is_made_while_postgresql_is_away_and_says_so_quickly() {
    let bench = Bench::new().await;
    let mut settings = database_settings(&bench.database);
    [settings.port] = ports::free().unwrap();
    settings.acquire_timeout = Duration::from_millis(400);
    let pool = connect(&settings, "walks").unwrap();
    let asked = Instant::now();
    let refused = StoreError(sqlx::query("select 1").execute(&pool).await.unwrap_err());
    assert!(refused.is_unavailable(), "{refused}");
    // The setting's limit, with room for a slow machine; the driver's own would be half a minute.
    assert!(asked.elapsed() < Duration::from_secs(10), "{:?}", asked.elapsed());
    assert!(!DatabaseHealth::ask(&pool).await.up);
}

#[tokio::test]
async fn a_session_has_its_limits_and_its_name() {
    let bench = Bench::new().await;
    let pool = connect(&database_settings(&bench.database), "walks").unwrap();
    assert!(DatabaseHealth::ask(&pool).await.up);
    let shown: (String, String, String, String) = sqlx::query_as(
        "select current_setting('lock_timeout'), current_setting('idle_in_transaction_session_timeout'), \
             current_setting('statement_timeout'), current_setting('application_name')",
    )
    .fetch_one(&pool)
    .await
    .unwrap();
    assert_eq!(shown, ("2s".into(), "10s".into(), "10s".into(), "walks".into()));
}

#[tokio::test]
async fn a_connection_that_the_server_ended_is_replaced() {
    let bench = Bench::new().await;
    let pool = connect(&database_settings(&bench.database), "walks").unwrap();
    let pid: i32 = sqlx::query_scalar("select pg_backend_pid()").fetch_one(&pool).await.unwrap();
    sqlx::query("select pg_terminate_backend($1)").bind(pid).execute(&bench.app).await.unwrap();
    // The first use may meet the dead connection; that is a 503, not a refusal.
    if let Err(error) = sqlx::query("select 1").execute(&pool).await {
        assert!(StoreError(error).is_unavailable());
    }
    millrace_testkit::wait_until("the pool works", crate::harness::PATIENCE, || async {
        sqlx::query("select 1").execute(&pool).await.is_ok()
    })
    .await;
}

/// Drops transactions while they begin, at their first wait, at their second one, and so on: one of them is the wait for
/// the answer to `begin`. After each it writes outside of any transaction; answers how many of these writes nobody sees.
async fn writes_lost(pool: &PgPool, others: &PgPool) -> i64 {
    const WAITS_MAX: usize = 12;
    let insert = "insert into inbox (message_id, consumer_group, outcome) values ($1, 'g', 'done')";
    let mut written = Vec::new();
    for waits in 1..=WAITS_MAX {
        let mut begin = Box::pin(pool.begin());
        let mut waited = 0;
        std::future::poll_fn(|context| {
            waited += 1;
            if waited > waits || begin.as_mut().poll(context).is_ready() {
                return std::task::Poll::Ready(());
            }
            std::task::Poll::Pending
        })
        .await;
        drop(begin);
        let id = uuid::Uuid::now_v7();
        sqlx::query(insert).bind(id).execute(pool).await.unwrap();
        written.push(id);
    }
    let count = "select $2 - count(*) from inbox where message_id = any($1)";
    let all = i64::try_from(written.len()).unwrap();
    sqlx::query_scalar(count).bind(&written).bind(all).fetch_one(others).await.unwrap()
}

#[tokio::test]
async fn a_connection_on_which_a_transaction_was_half_begun_loses_nobodys_writes() {
    let bench = Bench::new().await;
    let settings = DatabaseSettings { pool_max: 1, ..database_settings(&bench.database) };
    let pool = connect(&settings, "walks").unwrap();
    assert_eq!(writes_lost(&pool, &bench.app).await, 0);
    // The driver alone does lose them. When it no longer does, the pool's own care can go.
    let careless = pool.options().clone().after_release(|_, _| Box::pin(async { Ok(true) }));
    let careless = careless.connect_lazy_with(pool.connect_options().as_ref().clone());
    // Where a future is dropped is a matter of the machine's pace: it may take some tries.
    wait_until("a write that the bare driver loses", Duration::from_secs(10), || async {
        writes_lost(&careless, &bench.app).await > 0
    })
    .await;
}

#[tokio::test]
async fn migrating_twice_is_harmless_and_the_service_can_not_migrate() {
    let bench = Bench::new().await;
    let mut settings = database_settings(&bench.database);
    let merged = migrator(&[&MIGRATIONS]);
    assert!(migrate(&settings, &merged).await.is_err(), "the service's role owns nothing");
    settings.user.clone_from(&bench.database.owner.user);
    settings.password = Secret::new(&bench.database.owner.password);
    migrate(&settings, &merged).await.unwrap();
    migrate(&settings, &merged).await.unwrap();
}

#[tokio::test]
async fn connections_are_opened_ahead_so_that_no_request_spends_its_time_on_it() {
    let bench = Bench::new().await;
    let mut settings = database_settings(&bench.database);
    settings.pool_min = 3;
    let pool = connect(&settings, "walks").unwrap();
    wait_until("three connections, unasked", Duration::from_secs(15), || async {
        if pool.num_idle() == 3 { Ok(()) } else { Err(pool.num_idle()) }
    })
    .await;
}
