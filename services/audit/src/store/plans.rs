//! Every filter that selects little is answered from an index: asked of the planner, on a filled table.

use chrono::DateTime;
use millrace_common::http::search::Position;
use millrace_testkit::Stack;
use sqlx::{PgPool, Row as _};
use uuid::Uuid;

use super::search::search_statement;
use crate::domain::{Outcome, RecordFilter};

/// When the records begin, seconds since 1970-01-01 UTC.
const START: i64 = 1_700_000_000;

/// Twenty thousand records: most alike, every two-hundredth one special in each column.
async fn fill(pool: &PgPool) {
    sqlx::query(
        "insert into audit_records
             (id, actor, action, resource, outcome, service, trace_id, occurred_at, detail)
         select gen_random_uuid(),
                case n % 200 when 0 then 'bob' else 'actor-' || n % 7 end,
                case n % 200 when 0 then 'stock.adjust' else 'order.step-' || n % 7 end,
                'order/' || n / 5,
                case n % 200 when 0 then 'refused' else 'done' end,
                case n % 200 when 0 then 'inventory' else 'order' end,
                md5((n / 5)::text),
                to_timestamp($1 + n),
                '{}'
         from generate_series(1, 20000) as n",
    )
    .bind(START)
    .execute(pool)
    .await
    .unwrap();
}

async fn plan(pool: &PgPool, filter: &RecordFilter, after: Option<Position>) -> String {
    let rows =
        search_statement("explain ", filter, after, 101).build().fetch_all(pool).await.unwrap();
    rows.iter().map(|row| row.get::<String, _>(0) + "\n").collect()
}

type Change = fn(&mut RecordFilter);

/// The index each filter is to be answered from.
const FILTERS: [(&str, Change); 8] = [
    ("audit_records_by_actor", |filter| filter.actor = Some("bob".into())),
    ("audit_records_by_action", |filter| filter.action_prefix = Some("stock.".into())),
    ("audit_records_by_resource", |filter| filter.resource = Some("order/7".into())),
    ("audit_records_by_outcome", |filter| filter.outcome = Some(Outcome::Refused)),
    ("audit_records_by_service", |filter| filter.service = Some("inventory".into())),
    ("audit_records_by_trace", |filter| {
        filter.trace_id = Some("c4ca4238a0b923820dcc509a6f75849b".into());
    }),
    ("audit_records_by_time", |filter| filter.to = DateTime::from_timestamp(START + 100, 0)),
    ("audit_records_by_time", |_| {}),
];

#[tokio::test]
async fn no_selective_search_reads_the_whole_table() {
    let stack = Stack::shared().await;
    let database = stack.database("audit", &[&crate::MIGRATIONS]).await;
    let pool = database.app_pool();
    fill(&pool).await;
    sqlx::query("analyze audit_records").execute(&database.owner_pool()).await.unwrap();
    let at = DateTime::from_timestamp(START + 15_000, 0).unwrap();
    for (index, change) in FILTERS {
        let mut filter = RecordFilter::default();
        change(&mut filter);
        for after in [None, Some(Position { at, id: Uuid::max() })] {
            let plan = plan(&pool, &filter, after).await;
            assert!(!plan.contains("Seq Scan"), "{filter:?}, {after:?}:\n{plan}");
            assert!(plan.contains(index), "{filter:?}, {after:?}:\n{plan}");
        }
    }
}
