//! Pages.

use std::collections::HashSet;

use uuid::Uuid;

use crate::harness::{Row, TestApp, ensure_today, insert, noon_ms, spawn_app};

/// Rows in pairs of equal time, so that the id has to break ties.
async fn fill(app: &TestApp, count: u128) -> HashSet<String> {
    let pool = app.database.app_pool();
    ensure_today(&pool).await;
    let mut ids = HashSet::new();
    for n in 0..count {
        let (id, at_ms) =
            (Uuid::from_u128((n % 2) << 64 | n), noon_ms() + i64::try_from(n / 2).unwrap());
        insert(&pool, &Row { id, at_ms, ..Row::default() }).await;
        ids.insert(id.to_string());
    }
    ids
}

#[tokio::test(flavor = "multi_thread")]
async fn paging_while_lines_arrive_neither_repeats_nor_skips() {
    let app = spawn_app().await;
    let (pool, noon) = (app.database.app_pool(), noon_ms());
    let at_the_start = fill(&app, 30).await;
    let mut seen = Vec::new();
    let mut query = "service=order&limit=7".to_owned();
    for page in 0_i64.. {
        let answer = app.search(&query).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        seen.extend(answer.column("id").into_iter().map(str::to_owned));
        for at_ms in [noon + 1000 + page, noon - 1000 - page, noon + 11 - page] {
            insert(&pool, &Row { at_ms, ..Row::default() }).await;
        }
        let Some(cursor) = answer.next_cursor() else {
            break;
        };
        query = format!("service=order&limit={}&cursor={cursor}", 3 + page % 5);
        assert!(page < 100, "paging does not end");
    }
    let distinct: HashSet<String> = seen.iter().cloned().collect();
    assert_eq!(distinct.len(), seen.len(), "a line came twice");
    assert!(distinct.is_superset(&at_the_start), "a line was skipped");
    app.finish(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cursor_that_was_not_given_out_for_this_search_is_refused() {
    let app = spawn_app().await;
    fill(&app, 4).await;
    let cursor = app.search("status=2xx&limit=2").await.next_cursor().unwrap();
    assert_eq!(app.search(&format!("status=2xx&limit=1000&cursor={cursor}")).await.status, 200);
    let forged = if cursor.starts_with('A') { "B" } else { "A" }.to_owned() + &cursor[1..];
    for query in [
        format!("cursor={cursor}"),
        format!("status=200&cursor={cursor}"),
        format!("status=2xx&level=INFO&cursor={cursor}"),
        format!("status=2xx&from=0&cursor={cursor}"),
        format!("status=2xx&cursor={forged}"),
        "cursor=".to_owned(),
    ] {
        let answer = app.search(&query).await;
        assert_eq!((answer.status.as_u16(), answer.code()), (400, "search.bad_cursor"), "{query}");
    }
    app.finish(0).await;
}
