//! A backlog in the outbox is carried to the broker; the topic is read afterwards to see whether all of it came in order.

use anyhow::{Context, Result, ensure};
use millrace_common::outbox::Relay;
use sqlx::PgPool;
use tokio::time::timeout;

use crate::bare;
use crate::job::{Fetch, Measured, Side};
use crate::ledger::{Ledger, Marks};
use crate::poller::Poller;
use crate::records::RecordSet;
use crate::settings::Settings;
use crate::target::{PATIENCE, broker_topic, measured};
use crate::usage::Mark;

/// Carries the outbox's rows, which are the set's, until none is left.
pub(crate) async fn measure(
    settings: &Settings,
    set: &RecordSet,
    by: Side,
    database_url: &str,
) -> Result<Measured> {
    let pool = PgPool::connect(database_url).await.context("connecting")?;
    let topic = broker_topic(settings);
    let (start, carried, end) = match by {
        Side::Product => {
            let relay = Relay::new(&pool, &settings.kafka, settings.outbox.clone(), "bench");
            let start = Mark::now();
            let carried = relay.relay_once().await.context("relaying")? as u64;
            (start, carried, Mark::now())
        }
        Side::Bare => {
            let mut poller = Poller::open(&settings.kafka, topic.clone(), database_url).await?;
            let start = Mark::now();
            let mut carried = 0;
            loop {
                match poller.turn().await? {
                    0 => break,
                    rows => carried += rows,
                }
            }
            (start, carried, Mark::now())
        }
    };
    ensure!(carried == u64::from(set.count), "{carried} of {} rows were carried", set.count);
    let left: i64 = sqlx::query_scalar("select count(*) from outbox").fetch_one(&pool).await?;
    ensure!(left == 0, "{left} rows are left");
    let marks = Marks { start, middle: start, end, records: carried };
    Ok(measured(Some(marks), arrived(settings, &topic, set).await?))
}

/// Whether the topic holds the set whole, once and in order.
pub(crate) async fn arrived(
    settings: &Settings,
    topic: &str,
    set: &RecordSet,
) -> Result<Result<(), String>> {
    let ledger = Ledger::new(set, 0);
    let consumer = bare::consumer(&settings.kafka, topic, Fetch::AsLibrary)?;
    tokio::select! {
        // What did not come in time is told by the books.
        _ = timeout(PATIENCE, ledger.all_handled()) => {}
        ended = bare::consume(&consumer, set.form, &ledger) => {
            return Err(ended.err().context("the bare consumer ended")?);
        }
    }
    Ok(ledger.promise())
}
