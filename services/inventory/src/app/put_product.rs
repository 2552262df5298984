//! An administrator creates or changes a product.
//!
//! A refused change leaves its audit record behind, so that also commits.

use millrace_common::envelope::MessageContext;
use millrace_common::outbox::append;
use millrace_contracts::events::AuditOutcome;
use sqlx::PgConnection;

use super::journal::{Journal, audited};
use super::{App, Failure};
use crate::domain::{Product, ProductChange, ProductTerms, PutProductRefusal, Sku};
use crate::store::products::{ProductAvailability, product_insert, product_lock, product_update};
use crate::wire;

/// What an administrator asks for.
#[derive(Debug, Clone)]
pub(crate) struct PutProduct {
    pub(crate) sku: Sku,
    pub(crate) terms: ProductTerms,
    /// The version that the administrator saw, 0 for «none yet».
    pub(crate) expected_version: Option<i64>,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PutDone {
    pub(crate) product: ProductAvailability,
    pub(crate) created: bool,
}

/// Puts the product, or says why not.
pub(crate) async fn put_product(
    app: &App,
    put: &PutProduct,
    context: &MessageContext,
) -> Result<Result<PutDone, PutProductRefusal>, Failure> {
    let mut transaction = app.pool.begin().await?;
    let outcome = loop {
        // A product that somebody else makes between our look and our insert is there at the second look;
        // products are never deleted, so there is no third.
        if let Some(outcome) = try_put(app, &mut transaction, put, context).await? {
            break outcome;
        }
    };
    transaction.commit().await?;
    app.relay.wake();
    Ok(outcome)
}

/// `None` when somebody else made the product meanwhile.
async fn try_put(
    app: &App,
    conn: &mut PgConnection,
    put: &PutProduct,
    context: &MessageContext,
) -> Result<Option<Result<PutDone, PutProductRefusal>>, Failure> {
    let found = product_lock(conn, &put.sku).await?;
    let free = found.as_ref().map_or(0, |found| found.free);
    let current = found.map(|found| found.product);
    let decided = Product::put(current, put.sku.clone(), put.terms.clone(), put.expected_version);
    let mut journal = Journal::new(&app.clock);
    let resource: (&str, &dyn std::fmt::Display) = ("product", &put.sku);
    let mut tell = |action, product: &Product| {
        journal.event(&wire::product_changed_of(product), context)?;
        let record = audited(context, action, resource, AuditOutcome::Done)
            .with("row_version", product.row_version)
            .with("price_minor", product.terms.price.minor())
            .with("currency", product.terms.currency.as_str())
            .with("sellable", product.terms.sellable);
        journal.audit(record, context)
    };
    let outcome = match decided {
        Ok(ProductChange::Created(product)) => {
            if !product_insert(conn, &product, app.clock.now()).await? {
                return Ok(None);
            }
            tell("product.create", &product)?;
            Ok(PutDone { product: ProductAvailability { product, free }, created: true })
        }
        Ok(ProductChange::Changed(product)) => {
            product_update(conn, &product, app.clock.now()).await?;
            tell("product.change", &product)?;
            Ok(PutDone { product: ProductAvailability { product, free }, created: false })
        }
        Ok(ProductChange::Unchanged(product)) => {
            Ok(PutDone { product: ProductAvailability { product, free }, created: false })
        }
        Err(refusal) => {
            let PutProductRefusal::VersionConflict { expected, actual, .. } = &refusal;
            let record = audited(context, "product.change", resource, AuditOutcome::Refused)
                .with("reason", "version_conflict")
                .with("expected_version", expected)
                .with("row_version", actual);
            journal.audit(record, context)?;
            Err(refusal)
        }
    };
    append(conn, journal.records()).await?;
    Ok(Some(outcome))
}
