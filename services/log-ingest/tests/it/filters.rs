//! Each filter alone and together.

use crate::harness::{Row, ensure_today, insert, noon_ms, spawn_app};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

type Change = fn(&mut Row);

/// By name, in the order of time.
const CHANGES: [(&str, Change); 7] = [
    ("plain", |_| {}),
    ("inventory", |row| row.service = "inventory"),
    ("missing", |row| (row.status, row.level) = (404, "WARN")),
    ("refused", |row| (row.status, row.level) = (499, "WARN")),
    ("failed", |row| (row.status, row.level) = (500, "ERROR")),
    ("away", |row| (row.status, row.level, row.service) = (503, "ERROR", "inventory")),
    ("traced", |row| row.trace_id = Some(TRACE)),
];

/// The rows; the first happens one millisecond after `noon`.
fn rows(noon: i64) -> Vec<(&'static str, Row)> {
    let row = |(at_ms, (name, change)): (i64, (&'static str, Change))| {
        let mut row = Row { at_ms, ..Row::default() };
        change(&mut row);
        (name, row)
    };
    (noon + 1..).zip(CHANGES).map(row).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn filters_find_what_they_name_and_nothing_else() {
    let app = spawn_app().await;
    let (pool, noon) = (app.database.app_pool(), noon_ms());
    ensure_today(&pool).await;
    let rows = rows(noon);
    for (_, row) in &rows {
        insert(&pool, row).await;
    }
    let (third, sixth) = (noon + 3, noon + 6);
    let cases: [(&str, &[&str]); 13] = [
        ("service=inventory", &["away", "inventory"]),
        ("service=INVENTORY", &[]),
        ("service=x%27%20or%20true--", &[]),
        ("level=WARN", &["refused", "missing"]),
        ("status=404", &["missing"]),
        ("status=4xx", &["refused", "missing"]),
        ("status=5xx", &["away", "failed"]),
        ("status=3xx", &[]),
        ("status=5xx&service=inventory&level=ERROR", &["away"]),
        ("trace_id=0AF7651916CD43DD8448EB211C80319C", &["traced"]),
        (&format!("from={third}&to={sixth}"), &["failed", "refused", "missing"]),
        (&format!("from={sixth}"), &["traced", "away"]),
        (&format!("to={third}&level=INFO"), &["inventory", "plain"]),
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
