//! `payment-results`: what the payment provider told the order service's callback. Keyed by order.

use millrace_envelope::events;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

events! {
    /// What became of payments.
    pub enum PaymentEvent on "payment-results", aggregate "payment", key order_id {
        "payment.succeeded" v1 => Succeeded(PaymentSucceeded),
        "payment.failed" v1 => Failed(PaymentFailed),
    }
}

/// The provider took the money.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PaymentSucceeded {
    /// The order it is for.
    pub order_id: Uuid,
    /// The provider's id of the payment.
    pub payment_id: String,
    /// How much, in minor units.
    pub amount_minor: i64,
    /// ISO 4217 code.
    pub currency: String,
}

/// The provider could not take the money.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PaymentFailed {
    /// The order it was for.
    pub order_id: Uuid,
    /// The provider's id of the payment.
    pub payment_id: String,
    /// What the provider said.
    pub reason: String,
}
