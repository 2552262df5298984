//! An administrator loads pieces or takes some off, once per idempotency key.
//!
//! The reply is stored in the transaction of its effect, so whoever repeats the request gets the first answer. A
//! refusal («fewer are free») is an answer too: it is audited and stored. A product that doesn't exist is not: nothing
//! is written, and the same key may be used once the product is there.

use millrace_common::envelope::MessageContext;
use millrace_common::outbox::append;
use millrace_common::outbox::idempotency::{self, Claim, Fingerprint, IdempotencyKey, REPLY_TTL};
use millrace_contracts::events::AuditOutcome;

use super::journal::{Journal, audited};
use super::{App, Failure};
use crate::domain::{AdjustStockRefusal, Sku, Stock, StockChange, StockMove};
use crate::store::stock::{stock_adjust, stock_lock};

/// What an administrator asks for.
#[derive(Debug, Clone)]
pub(crate) struct AdjustStock {
    pub(crate) sku: Sku,
    pub(crate) change: StockChange,
    pub(crate) reason: AdjustReason,
}

/// Why stock is adjusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AdjustReason {
    Received,
    Correction,
    Damaged,
}

impl AdjustReason {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Received => "received",
            Self::Correction => "correction",
            Self::Damaged => "damaged",
        }
    }
}

/// Whose request this is, and how its repeat is recognised.
#[derive(Debug, Clone)]
pub(crate) struct Repeatable {
    pub(crate) caller: String,
    pub(crate) key: IdempotencyKey,
    pub(crate) fingerprint: Fingerprint,
}

/// An answer as it was, or will be, given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: String,
}

/// What came of the request.
#[derive(Debug)]
pub(crate) enum Adjusted {
    /// The answer, this time's or the first time's.
    Answered(Answer),
    /// There is no such product.
    UnknownSku,
    /// The key was used for another request.
    KeyReused,
    /// The same request is being worked on.
    InFlight,
}

/// Adjusts the stock. `render` turns the outcome into the answer that is stored and given.
pub(crate) async fn adjust_stock(
    app: &App,
    adjust: &AdjustStock,
    repeatable: &Repeatable,
    context: &MessageContext,
    render: impl Fn(&Result<Stock, AdjustStockRefusal>) -> Answer + Send,
) -> Result<Adjusted, Failure> {
    let Repeatable { caller, key, fingerprint } = repeatable;
    let mut transaction = app.pool.begin().await?;
    let known =
        match idempotency::claim(&mut transaction, caller, key, fingerprint, REPLY_TTL).await? {
            Claim::New => None,
            Claim::Replay { status, body } => Some(Adjusted::Answered(Answer { status, body })),
            Claim::Mismatch => Some(Adjusted::KeyReused),
            Claim::InFlight => Some(Adjusted::InFlight),
        };
    if let Some(known) = known {
        // Before the answer, or the key would still be claimed when the next request with it comes.
        transaction.rollback().await?;
        return Ok(known);
    }
    let Some((sku, before)) = stock_lock(&mut transaction, [&adjust.sku]).await?.pop() else {
        transaction.rollback().await?;
        return Ok(Adjusted::UnknownSku);
    };
    let outcome = before.adjust(&sku, adjust.change);
    let mut journal = Journal::new(&app.clock);
    let audit = |outcome| {
        audited(context, "stock.adjust", ("stock", &sku), outcome)
            .with("change", adjust.change.pieces())
            .with("reason", adjust.reason.as_str())
    };
    match &outcome {
        Ok(after) => {
            stock_adjust(&mut transaction, &sku, after).await?;
            journal.stock_move(&sku, StockMove { before, after: *after }, context)?;
            journal.audit(audit(AuditOutcome::Done).with("free", after.free), context)?;
        }
        Err(_) => journal.audit(audit(AuditOutcome::Refused).with("free", before.free), context)?,
    }
    let answer = render(&outcome);
    idempotency::store_reply(&mut transaction, caller, key, answer.status, &answer.body).await?;
    append(&mut transaction, journal.records()).await?;
    transaction.commit().await?;
    app.relay.wake();
    if outcome.is_ok() {
        app.metrics.adjusted(adjust.change.pieces());
    }
    Ok(Adjusted::Answered(answer))
}
