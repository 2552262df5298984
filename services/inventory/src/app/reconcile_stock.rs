//! Stock is reconciled: for every product, free, held and sold pieces are what was loaded, and what is held and sold is
//! what the reservations say.
//!
//! The table's own constraint refuses a row that doesn't add up, and each move is one transaction with its reservation,
//! so a difference means that somebody wrote around the service. It is told and never mended here: which of the numbers
//! is wrong, only a person can find out. The result is an audit record either way.

use millrace_common::envelope::MessageContext;
use millrace_common::outbox::{StoreError, append};
use millrace_common::scheduler::{TaskError, TaskRun};
use millrace_common::telemetry::current_trace;
use millrace_contracts::events::AuditOutcome;

use super::App;
use super::journal::{Journal, audited};
use crate::store::reconciliation::{self, Difference};

/// Products with a difference that are read, logged and counted in one go; the audit record has the first few.
const DIFFERENCES_MAX: u32 = 1_000;
const NAMED_MAX: usize = 20;

/// Compares, tells, and ends the occurrence.
pub(crate) async fn reconcile_stock(app: &App, run: &TaskRun) -> Result<(), TaskError> {
    // Read outside the run's transaction, which has to be short.
    let found = reconciliation::read(&app.pool, DIFFERENCES_MAX).await?;
    let context = MessageContext::of_own_work(current_trace());
    let named: Vec<&str> = found
        .differences
        .iter()
        .take(NAMED_MAX)
        .map(|difference| difference.sku.as_str())
        .collect();
    let totals = &found.totals;
    let record = audited(&context, "stock.reconcile", ("stock", &"all"), AuditOutcome::Done)
        .with("products", totals.products)
        .with("loaded", totals.loaded)
        .with("free", totals.free)
        .with("held", totals.held)
        .with("sold", totals.sold)
        .with("differences", found.differences.len())
        .with("different", named.join(" "));
    let mut journal = Journal::new(&app.clock);
    journal.audit(record, &context)?;
    let mut transaction = run.begin().await?;
    append(&mut transaction, journal.records()).await.map_err(StoreError)?;
    run.finish(transaction).await?;
    app.relay.wake();
    app.metrics.stock_differences(found.differences.len());
    for difference in &found.differences {
        tell(difference);
    }
    tracing::info!(
        products = totals.products,
        differences = found.differences.len(),
        "stock was reconciled"
    );
    Ok(())
}

fn tell(difference: &Difference) {
    let Difference { sku, loaded, free, held, sold, held_reserved, sold_reserved } = difference;
    tracing::error!(
        sku,
        loaded,
        free,
        held,
        sold,
        held_reserved,
        sold_reserved,
        "stock of `{sku}` doesn't add up"
    );
}
