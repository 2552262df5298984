//! What the service's own role may not do.

use sqlx::AssertSqlSafe;

use crate::harness::spawn_app;

#[tokio::test(flavor = "multi_thread")]
async fn the_service_can_not_rewrite_history() {
    let app = spawn_app().await;
    app.placed().await;
    for statement in [
        "delete from orders",
        "update orders set total_minor = 0",
        "update orders set customer_id = 'bob'",
        "update orders set placed_at = now()",
        "truncate orders cascade",
        "select * from order_lines",
        "update order_lines set quantity = 1",
        "delete from order_lines",
        "delete from payments",
        "update payments set amount_minor = 1",
        "delete from products",
        "update status_view set status = 'confirmed'",
        "create table mine (id int)",
        "drop table orders",
    ] {
        let refused = sqlx::query(AssertSqlSafe(statement)).execute(&app.pool()).await.unwrap_err();
        let code =
            refused.as_database_error().and_then(|error| error.code().map(|it| it.into_owned()));
        assert_eq!(code.as_deref(), Some("42501"), "{statement}: {refused}");
    }
    app.finish(0).await;
}
