//! A backlog in the outbox: the relay beside a loop that reads, produces and deletes without claims.
//!
//! The rows are those of real events; before each measurement the table is filled with copies of them and vacuumed, so
//! that no side pays for what the one before left behind.

use anyhow::{Context, Result};
use millrace_benches::report::{Figure, Goal};
use millrace_common::outbox::{self, append};
use millrace_testkit::TestDatabase;
use sqlx::{AssertSqlSafe, PgPool};

use crate::bench::{Bench, Tracing, ratio};
use crate::job::{Measured, Side, Work};
use crate::path::row;
use crate::records::{Form, RecordSet, Spread};

/// Twenty rows of each aggregate.
const SET: RecordSet = RecordSet {
    count: 200_000,
    keys: 10_000,
    form: Form::Enveloped,
    spread: Spread::Even,
    seed: 4,
};
const GOAL: f64 = 0.5;
const ROWS_AT_ONCE: usize = 1000;

pub(crate) async fn measure(bench: &mut Bench) -> Result<Vec<Figure>> {
    let stock = Stock::fill(bench).await?;
    let samples = bench
        .measure_sides(&[Side::Product, Side::Bare], async |bench, by| {
            stock.copy_to_outbox().await?;
            let topic = bench.topic().await;
            let tracing = match by {
                Side::Product => Tracing::Sampled,
                Side::Bare => Tracing::Off,
            };
            let database_url = stock.database.app_url();
            bench.run(&topic, tracing, Work::Relay { set: SET, by, database_url }).await
        })
        .await?;
    let [relay, bare] = &samples[..] else { anyhow::bail!("a side is missing") };
    let goal = Some(Goal::AtLeast(GOAL));
    let mut figures =
        vec![ratio("relay.ratio", goal, (relay, Measured::rate), (bare, Measured::rate))];
    figures.extend(relay.figures("relay.product"));
    figures.extend(bare.figures("relay.bare"));
    Ok(figures)
}

/// A database whose table `stock` holds the rows to copy.
struct Stock {
    database: TestDatabase,
    owner: PgPool,
    columns: String,
}

impl Stock {
    async fn fill(bench: &Bench) -> Result<Self> {
        let database = bench.stack.database("bench", &[&outbox::MIGRATIONS]).await;
        let owner = database.owner_pool();
        let numbered: Vec<(u32, u32)> = SET.numbered().collect();
        let mut connection = owner.acquire().await.context("connecting")?;
        for part in numbered.chunks(ROWS_AT_ONCE) {
            let rows: Result<Vec<_>> =
                part.iter().map(|(key, number)| row(*key, *number)).collect();
            append(&mut connection, &rows?).await.context("writing rows")?;
        }
        sqlx::query("create table stock as select * from outbox").execute(&owner).await?;
        // All that an insert may name; the sequence number is drawn anew.
        let columns: String = sqlx::query_scalar(
            "select string_agg(quote_ident(column_name), ', ') from information_schema.columns
             where table_schema = 'public' and table_name = 'outbox' and is_identity = 'NO'",
        )
        .fetch_one(&owner)
        .await
        .context("asking for the columns")?;
        Ok(Self { database, owner, columns })
    }

    async fn copy_to_outbox(&self) -> Result<()> {
        let Self { columns, .. } = self;
        let copy =
            format!("insert into outbox ({columns}) select {columns} from stock order by seq");
        for statement in ["truncate outbox", &copy, "vacuum (analyze) outbox"] {
            let ran = sqlx::query(AssertSqlSafe(statement.to_owned())).execute(&self.owner).await;
            ran.with_context(|| statement.to_owned())?;
        }
        Ok(())
    }
}
