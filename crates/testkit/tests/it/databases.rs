//! Databases are cloned from one template and don't see each other.

use std::borrow::Cow;
use std::time::Duration;

use millrace_testkit::{Stack, TestDatabase, wait_until};
use sqlx::AssertSqlSafe;
use sqlx::SqlSafeStr as _;
use sqlx::migrate::{Migration, MigrationType, Migrator};

fn migrator(version: i64, sql: &'static str) -> Migrator {
    let description = Cow::Borrowed("test");
    let sql = sql.into_sql_str();
    let migration = Migration::new(version, description, MigrationType::Simple, sql, false);
    Migrator::with_migrations(vec![migration])
}

async fn count(database: &TestDatabase) -> i64 {
    let pool = database.app_pool();
    sqlx::query_scalar("select count(*) from thing").fetch_one(&pool).await.unwrap()
}

#[tokio::test]
async fn two_tests_get_databases_of_their_own_with_all_migrations() {
    let stack = Stack::shared().await;
    // Given out of order: versions decide.
    let service = migrator(100, "grant select, insert on thing to millrace_testkit_app");
    let base = migrator(1, "create table thing (id int primary key)");
    let first = stack.database("testkit", &[&service, &base]).await;
    let second = stack.database("testkit", &[&service, &base]).await;

    sqlx::query("insert into thing values (1)").execute(&first.app_pool()).await.unwrap();
    assert_eq!(count(&first).await, 1);
    assert_eq!(count(&second).await, 0);
}

#[tokio::test]
async fn the_app_role_may_do_only_what_the_migrations_grant() {
    let stack = Stack::shared().await;
    let base = migrator(1, "create table secret (id int)");
    let database = stack.database("testkit_grants", &[&base]).await;
    let refused = sqlx::query("select * from secret").execute(&database.app_pool()).await;
    let message = refused.unwrap_err().to_string();
    assert!(message.contains("permission denied"), "{message}");
    sqlx::query("select * from secret").execute(&database.owner_pool()).await.unwrap();
}

#[tokio::test]
async fn a_role_cannot_enter_the_database_of_another_service() {
    let stack = Stack::shared().await;
    let own = stack.database("testkit_left", &[]).await;
    let other = stack.database("testkit_right", &[]).await;
    let url = own.app_url().replace(&own.name, &other.name);
    let refused = sqlx::PgPool::connect(&url).await.unwrap_err().to_string();
    assert!(refused.contains("permission denied for database"), "{refused}");
}

#[tokio::test]
async fn a_dropped_database_is_gone_even_with_a_client_in_it() {
    let stack = Stack::shared().await;
    let watcher = stack.database("testkit", &[]).await;
    let doomed = stack.database("testkit", &[]).await;
    let client = doomed.app_pool();
    sqlx::query("select 1").execute(&client).await.unwrap();
    let name = doomed.name.clone();
    drop(doomed);
    let pool = watcher.owner_pool();
    wait_until("the database is gone", Duration::from_secs(10), || async {
        let statement =
            format!("select not exists (select from pg_database where datname = '{name}')");
        sqlx::query_scalar::<_, bool>(AssertSqlSafe(statement)).fetch_one(&pool).await.unwrap()
    })
    .await;
}
