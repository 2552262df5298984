//! Pages.

use std::collections::HashSet;

use uuid::Uuid;

use crate::harness::{Row, TestApp, insert, spawn_app};

const T: i64 = 1_700_000_000_000;

/// Rows in pairs of equal time, so that the id has to break ties.
async fn fill(app: &TestApp, count: u128) -> HashSet<String> {
    let pool = app.database.app_pool();
    let mut ids = HashSet::new();
    for n in 0..count {
        let id = Uuid::from_u128((n % 2) << 64 | n);
        insert(&pool, &Row { id, at_ms: T + i64::try_from(n / 2).unwrap(), ..Row::default() })
            .await;
        ids.insert(id.to_string());
    }
    ids
}

#[tokio::test(flavor = "multi_thread")]
async fn paging_while_records_arrive_neither_repeats_nor_skips() {
    let app = spawn_app().await;
    let pool = app.database.app_pool();
    let at_the_start = fill(&app, 40).await;
    let mut seen = Vec::new();
    let mut query = "actor=ann&limit=7".to_owned();
    for page in 0_i64.. {
        let answer = app.search(&query).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        seen.extend(answer.column("id").into_iter().map(str::to_owned));
        // Newer ones, older ones, and ones at the very time where the page ended.
        for at_ms in [T + 1000 + page, T - 1000 - page, T + 16 - page] {
            insert(&pool, &Row { at_ms, ..Row::default() }).await;
        }
        let Some(cursor) = answer.next_cursor() else {
            break;
        };
        query = format!("actor=ann&limit={}&cursor={cursor}", 3 + page % 5);
        assert!(page < 100, "paging does not end");
    }
    let distinct: HashSet<String> = seen.iter().cloned().collect();
    assert_eq!(distinct.len(), seen.len(), "a record came twice");
    assert!(distinct.is_superset(&at_the_start), "a record was skipped");
    app.finish(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cursor_that_was_not_given_out_for_this_search_is_refused() {
    let app = spawn_app().await;
    fill(&app, 4).await;
    let cursor = app.search("actor=ann&limit=2").await.next_cursor().unwrap();
    assert_eq!(app.search(&format!("actor=ann&limit=1000&cursor={cursor}")).await.status, 200);
    let mut forged = cursor.clone().into_bytes();
    let last = forged.len() - 2;
    forged[last] = if forged[last] == b'A' { b'B' } else { b'A' };
    let forged = String::from_utf8(forged).unwrap();
    for query in [
        format!("cursor={cursor}"),
        format!("actor=bob&cursor={cursor}"),
        format!("actor=ann&outcome=done&cursor={cursor}"),
        format!("resource=ann&cursor={cursor}"),
        format!("actor=ann&from=0&cursor={cursor}"),
        format!("actor=ann&cursor={forged}"),
        "actor=ann&cursor=".to_owned(),
        "actor=ann&cursor=%00".to_owned(),
        format!("actor=ann&cursor={}", "A".repeat(4000)),
    ] {
        let answer = app.search(&query).await;
        assert_eq!((answer.status.as_u16(), answer.code()), (400, "search.bad_cursor"), "{query}");
    }
    app.finish(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_holds_at_most_a_thousand_records_and_a_hundred_unasked() {
    let app = spawn_app().await;
    sqlx::query(
        "insert into audit_records (id, actor, action, resource, outcome, service, occurred_at, detail)
         select gen_random_uuid(), 'ann', 'order.place', 'order/1', 'done', 'order', now(), '{}'
         from generate_series(1, 1001)",
    )
    .execute(&app.database.app_pool())
    .await
    .unwrap();
    assert_eq!(app.search("").await.column("id").len(), 100);
    let answer = app.search("limit=1000").await;
    assert_eq!(answer.column("id").len(), 1000);
    let rest = app.search(&format!("limit=1000&cursor={}", answer.next_cursor().unwrap())).await;
    assert_eq!((rest.column("id").len(), rest.next_cursor()), (1, None));
    app.finish(0).await;
}
