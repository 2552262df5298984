//! The service's role stores and reads lines, and nothing else.

use sqlx::Executor as _;

use crate::harness::{Row, ensure_today, insert, spawn_app};

#[tokio::test(flavor = "multi_thread")]
async fn the_services_own_role_changes_no_schema_and_deletes_no_line() {
    let app = spawn_app().await;
    let pool = app.database.app_pool();
    ensure_today(&pool).await;
    insert(&pool, &Row::default()).await;
    let partition: String = sqlx::query_scalar(
        "select 'request_logs_' || to_char(now() at time zone 'UTC', 'YYYYMMDD')",
    )
    .fetch_one(&pool)
    .await
    .unwrap();
    for statement in [
        "delete from request_logs".to_owned(),
        "update request_logs set status = 200".to_owned(),
        "truncate request_logs".to_owned(),
        "drop table request_logs".to_owned(),
        format!("drop table {partition}"),
        format!("delete from {partition}"),
        "create table mine (id integer)".to_owned(),
        "select request_logs_ensure_days(array[(now() - interval '1 year')::date])".to_owned(),
        "select request_logs_ensure_days(array[(now() + interval '1 year')::date])".to_owned(),
        "select request_logs_drop_before((now() + interval '1 day')::date)".to_owned(),
    ] {
        let refused = pool.execute(sqlx::AssertSqlSafe(statement.clone())).await;
        let refused = refused.expect_err(&statement).into_database_error().unwrap();
        let code = refused.code().unwrap_or_default().into_owned();
        assert!(["42501", "22023"].contains(&code.as_str()), "{statement}: {refused}");
    }
    // A table of the caller's in the temporary schema does not stand in for the owner's.
    let mut connection = pool.acquire().await.unwrap();
    connection.execute("create temporary table request_logs (id integer)").await.unwrap();
    connection.execute("select request_logs_ensure_days(array[now()::date - 1])").await.unwrap();
    drop(connection);
    assert_eq!(app.search("service=order").await.column("id").len(), 1);
    app.finish(0).await;
}
