//! Nobody changes the trail.

use millrace_testkit::postgres::{SUPERUSER, connect_options};
use sqlx::{ConnectOptions as _, Executor as _, PgConnection};

use crate::harness::{Row, TestApp, insert, spawn_app};

const CHANGES: [&str; 4] = [
    "update audit_records set actor = 'nobody'",
    "delete from audit_records",
    "truncate audit_records",
    "insert into audit_records select * from audit_records on conflict (id) do update set actor = 'nobody'",
];

async fn connect(app: &TestApp, user: &str) -> PgConnection {
    let database = &app.database;
    connect_options(database.port, user, "test", &database.name).connect().await.unwrap()
}

/// Tries each change and returns what PostgreSQL said.
async fn refusals(connection: &mut PgConnection) -> Vec<(String, String)> {
    let mut refusals = Vec::new();
    for change in CHANGES {
        let refused = connection.execute(change).await.expect_err(change);
        let refused = refused.into_database_error().expect("the server refuses");
        let code = refused.code().unwrap_or_default().into_owned();
        refusals.push((code, refused.message().to_owned()));
    }
    refusals
}

#[tokio::test(flavor = "multi_thread")]
async fn the_services_own_role_has_no_right_to_change_a_record() {
    let app = spawn_app().await;
    insert(&app.database.app_pool(), &Row::default()).await;
    let mut connection = connect(&app, &app.database.app.user).await;
    for (code, message) in refusals(&mut connection).await {
        assert_eq!(code, "42501", "{message}");
        assert!(message.starts_with("permission denied"), "{message}");
    }
    for change in ["drop table audit_records", "alter table audit_records disable trigger all"] {
        let refused = connection.execute(change).await.expect_err(change);
        assert!(refused.to_string().contains("must be owner"), "{refused}");
    }
    assert_eq!(app.search("actor=ann").await.column("id").len(), 1);
    app.finish(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_owner_and_a_superuser_are_refused_too_even_as_a_replica() {
    let app = spawn_app().await;
    insert(&app.database.app_pool(), &Row::default()).await;
    let mut owner = connect(&app, &app.database.owner.user).await;
    let mut superuser = connect(&app, SUPERUSER).await;
    superuser.execute("set session_replication_role = replica").await.unwrap();
    for connection in [&mut owner, &mut superuser] {
        for (code, message) in refusals(connection).await {
            assert_eq!(code, "42501", "{message}");
            assert!(message.starts_with("audit records are append-only"), "{message}");
        }
    }
    assert_eq!(app.search("actor=ann").await.column("id").len(), 1);
    app.finish(0).await;
}
