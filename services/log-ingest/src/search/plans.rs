//! Every filter that selects little is answered from an index, and a page begins in the partition of its
//! position: asked of the planner, on filled partitions.

use chrono::{DateTime, Duration, Utc};
use millrace_common::http::search::Position;
use millrace_common::runtime::Clock;
use millrace_testkit::Stack;
use sqlx::{PgPool, Row as _};

use super::store::search_statement;
use super::{LineFilter, StatusRange};
use crate::pipeline::line::Level;
use crate::pipeline::partitions::partitions_ensure;

/// Five thousand lines in each of the last four days: most alike, every two-hundredth special in each column.
async fn fill(pool: &PgPool, start: DateTime<Utc>) {
    let days = (0..4).map(|days| (start + Duration::days(days)).date_naive());
    partitions_ensure(pool, days).await.unwrap();
    sqlx::query(
        "insert into request_logs
             (id, occurred_at, service, level, method, route, status, latency_us, trace_id)
         select gen_random_uuid(),
                $1 + n * interval '17 seconds',
                case n % 200 when 0 then 'audit' else 'service-' || n % 5 end,
                case n % 200 when 0 then 'ERROR' else 'INFO' end,
                'GET', '/',
                case n % 200 when 0 then 503 else 200 end,
                n,
                md5((n / 5)::text)
         from generate_series(0, 20000) as n",
    )
    .bind(start)
    .execute(pool)
    .await
    .unwrap();
}

async fn plan(pool: &PgPool, filter: &LineFilter, after: Option<Position>) -> String {
    let mut statement = search_statement("explain ", filter, after, 101);
    let rows = statement.build().fetch_all(pool).await.unwrap();
    rows.iter().map(|row| row.get::<String, _>(0) + "\n").collect()
}

#[tokio::test]
async fn no_selective_search_reads_a_whole_partition() {
    let stack = Stack::shared().await;
    let database = stack.database("logs", &[&crate::MIGRATIONS]).await;
    let pool = database.app_pool();
    let midnight = Clock::system().now().date_naive().and_time(chrono::NaiveTime::MIN).and_utc();
    let start = midnight - Duration::days(3);
    fill(&pool, start).await;
    sqlx::query("analyze request_logs").execute(&database.owner_pool()).await.unwrap();
    let text = |text: &str| Some(text.to_owned());
    let nothing = LineFilter::default;
    let filters = [
        LineFilter { service: text("audit"), ..nothing() },
        LineFilter { trace_id: text("c4ca4238a0b923820dcc509a6f75849b"), ..nothing() },
        LineFilter { level: Some(Level::Error), ..nothing() },
        LineFilter { status: StatusRange::parse("5xx"), ..nothing() },
        LineFilter { status: StatusRange::parse("503"), ..nothing() },
        LineFilter { from: Some(midnight), ..nothing() },
        nothing(),
    ];
    let somewhere = Position { at: start + Duration::hours(30), id: uuid::Uuid::max() };
    for filter in filters {
        for after in [None, Some(somewhere)] {
            let plan = plan(&pool, &filter, after).await;
            assert!(!plan.contains("Seq Scan"), "{filter:?}, {after:?}:\n{plan}");
        }
    }
    let newest = midnight.format("request_logs_%Y%m%d").to_string();
    let from_the_middle = plan(&pool, &nothing(), Some(somewhere)).await;
    assert!(!from_the_middle.contains(&newest), "the newest day is read:\n{from_the_middle}");
}
