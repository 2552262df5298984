//! Each filter alone and together.

use crate::harness::{Row, insert, spawn_app};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const T: i64 = 1_700_000_000_000;

type Change = fn(&mut Row);

/// By name, in the order of time.
const CHANGES: [(&str, Change); 11] = [
    ("plain", |_| {}),
    ("bob", |row| row.actor = "bob"),
    ("cancel", |row| row.action = "order.cancel"),
    ("hold", |row| (row.action, row.service) = ("reservation.hold", "inventory")),
    ("refused", |row| row.outcome = "refused"),
    ("traced", |row| row.trace_id = Some(TRACE)),
    ("other", |row| row.resource = "order/2"),
    ("percent", |row| (row.action, row.resource) = ("p%q", "wild")),
    ("pxq", |row| (row.action, row.resource) = ("pxq", "wild")),
    ("backslash", |row| (row.action, row.resource) = ("p\\q", "wild")),
    ("longer", |row| (row.action, row.actor) = ("order.placed", "o'neil")),
];

/// The rows; the first happens at `T` + 1 ms.
fn rows() -> Vec<(&'static str, Row)> {
    let row = |(at_ms, (name, change)): (i64, (&'static str, Change))| {
        let mut row = Row { at_ms, ..Row::default() };
        change(&mut row);
        (name, row)
    };
    (T + 1..).zip(CHANGES).map(row).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn filters_find_what_they_name_and_nothing_else() {
    let app = spawn_app().await;
    let (pool, rows) = (app.database.app_pool(), rows());
    for (_, row) in &rows {
        insert(&pool, row).await;
    }
    let cases: [(&str, &[&str]); 22] = [
        ("actor=bob", &["bob"]),
        ("actor=BOB", &[]),
        ("actor=o%27neil", &["longer"]),
        ("actor=x%27%20or%20true--", &[]),
        ("action=order.cancel", &["cancel"]),
        ("action=order.place&resource=order/2", &["other"]),
        ("action=order.placed", &["longer"]),
        ("action=reservation.", &["hold"]),
        ("action=%25", &[]),
        ("action=p%25", &["percent"]),
        ("action=p_", &[]),
        ("action=p%5C", &["backslash"]),
        ("resource=wild", &["backslash", "pxq", "percent"]),
        ("outcome=refused", &["refused"]),
        ("service=inventory&action=reservation", &["hold"]),
        ("service=inventory&outcome=refused", &[]),
        ("trace_id=0AF7651916CD43DD8448EB211C80319C", &["traced"]),
        ("from=1700000000010", &["longer", "backslash"]),
        ("from=2023-11-14T22:13:20.010Z&to=2023-11-14T22:13:20.011Z", &["backslash"]),
        ("to=1700000000003", &["bob", "plain"]),
        ("from=2023-11-15T00:13:20.011%2B02:00", &["longer"]),
        ("from=1700000000005&to=1700000000005", &[]),
    ];
    for (query, expected) in cases {
        let answer = app.search(query).await;
        assert_eq!(answer.status, 200, "{query}: {}", answer.body);
        let name = |id: &&str| rows.iter().find(|(_, row)| row.id.to_string() == **id).unwrap().0;
        let found: Vec<&str> = answer.column("id").iter().map(name).collect();
        assert_eq!(found, expected, "{query}");
    }
    assert_eq!(app.search("").await.column("id").len(), rows.len());
    app.finish(0).await;
}
