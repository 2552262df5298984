//! The payment provider calls back: the result is taken down and published, each exactly once.
//!
//! Nothing about the order is decided here. The result goes through the outbox to `payment-results`, keyed by
//! order, and this service's own consumer settles the order by it: one way for results, whoever publishes them.

use millrace_common::envelope::MessageContext;
use millrace_common::outbox::idempotency::{
    Claim, Fingerprint, IdempotencyKey, claim, store_reply,
};
use millrace_common::outbox::{EncodeError, OutboxRecord, append};
use millrace_contracts::events::AuditOutcome;

use super::place_order::Answer;
use super::{App, Failure};
use crate::domain::{OrderId, Payment, PaymentResult};
use crate::store::orders;
use crate::{metrics, wire};

const ACTION: &str = "payment.receive";
/// Who the provider is in idempotency rows, events and audit records.
pub(crate) const PROVIDER: &str = "payment-provider";

/// One callback whose signature was right.
#[derive(Debug)]
pub(crate) struct ReceivePayment {
    pub(crate) order: OrderId,
    pub(crate) payment: Payment,
    /// The payment's id: the provider's own repeat guard.
    pub(crate) key: IdempotencyKey,
    pub(crate) fingerprint: Fingerprint,
    pub(crate) context: MessageContext,
}

/// Why a callback was not taken down.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReceivePaymentError {
    #[error("order `{0}` is not known here")]
    UnknownOrder(OrderId),
    #[error("payment came before with another content")]
    KeyReused,
    #[error("the same payment's callback is at work")]
    InFlight,
    #[error(transparent)]
    Failed(#[from] Failure),
}

impl From<sqlx::Error> for ReceivePaymentError {
    fn from(error: sqlx::Error) -> Self {
        Self::Failed(error.into())
    }
}

impl From<EncodeError> for ReceivePaymentError {
    fn from(error: EncodeError) -> Self {
        Self::Failed(error.into())
    }
}

/// Takes the result down; `status` and `body` are the answer that repeats of the callback get, too.
pub(crate) async fn receive_payment(
    app: &App,
    command: &ReceivePayment,
    (status, body): (u16, String),
) -> Result<Answer, ReceivePaymentError> {
    let ReceivePayment { order, key, fingerprint, .. } = command;
    let mut transaction = app.begin().await?;
    let ttl = app.rules().reply_ttl;
    let claimed = claim(&mut transaction, PROVIDER, key, fingerprint, ttl).await?;
    if let Some(answer) = known(claimed) {
        // Now and not some time after the drop: until then the key looks as if it were being worked on.
        transaction.rollback().await?;
        return answer;
    }
    // Under lock, so that what is said about one order gets its sequence in the order of the commits.
    if !orders::order_lock(&mut transaction, *order).await? {
        // Nothing is kept: when the order becomes known, the same callback is welcome.
        transaction.rollback().await?;
        return Err(ReceivePaymentError::UnknownOrder(*order));
    }
    append(&mut transaction, &records(app, command)?).await?;
    store_reply(&mut transaction, PROVIDER, key, status, &body).await?;
    transaction.commit().await?;
    app.wake_relay();
    metrics::payment_received(command.payment.result.as_str());
    Ok(Answer { status, body, replayed: false })
}

/// The answer when the callback is not new.
fn known(claim: Claim) -> Option<Result<Answer, ReceivePaymentError>> {
    match claim {
        Claim::New => None,
        Claim::Replay { status, body } => {
            metrics::reply_replayed();
            Some(Ok(Answer { status, body, replayed: true }))
        }
        Claim::Mismatch => Some(Err(ReceivePaymentError::KeyReused)),
        Claim::InFlight => Some(Err(ReceivePaymentError::InFlight)),
    }
}

fn records(app: &App, command: &ReceivePayment) -> Result<[OutboxRecord; 2], EncodeError> {
    let ReceivePayment { order, payment, context, .. } = command;
    let event = wire::payment_out(*order, payment);
    let mut details = vec![
        ("payment_id", payment.id.as_str().to_owned()),
        ("result", payment.result.as_str().to_owned()),
    ];
    match &payment.result {
        PaymentResult::Succeeded(money) => details.push(("paid", money.to_string())),
        PaymentResult::Failed { .. } => {}
    }
    let audit = wire::audit_out(context, ACTION, *order, AuditOutcome::Done, &details);
    Ok([
        OutboxRecord::of(wire::SERVICE, &event, context, app.clock())?,
        OutboxRecord::of(wire::SERVICE, &audit, context, app.clock())?,
    ])
}
