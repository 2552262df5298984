//! What the database itself refuses, whatever the code does.

use crate::harness::spawn_app;

/// What the service's role tries, and what PostgreSQL calls the refusal.
const REFUSED: [(&str, &str); 8] = [
    ("delete from products", "42501"),
    ("delete from stock", "42501"),
    ("delete from reservations", "42501"),
    ("update reservation_lines set quantity = 1", "42501"),
    ("create table mine (id int)", "42501"),
    ("update stock set free = free + 1", "stock_balances"),
    ("update stock set free = -1, held = loaded + 1 - sold", "stock_free_not_negative"),
    (
        "insert into stock (sku, loaded, free, held, sold, row_version) values ('X', 0, 0, 0, 0, 1)",
        "stock_product_fk",
    ),
];

#[tokio::test(flavor = "multi_thread")]
async fn no_piece_is_made_and_no_row_deleted_even_by_a_wrong_statement() {
    let app = spawn_app().await;
    app.stock_up("A", 5).await;
    for (statement, refusal) in REFUSED {
        let error = sqlx::query(statement).execute(&app.role).await.expect_err(statement);
        let error = error.into_database_error().expect("the database says it");
        let said = [error.constraint().map(str::to_owned), error.code().map(String::from)];
        assert!(said.iter().flatten().any(|name| name == refusal), "{statement}: {error}");
    }
    assert_eq!(app.stock("A").await.pieces(), (5, 0, 0));
    app.finish().await;
}
