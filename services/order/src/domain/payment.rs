//! What the payment provider told, and what an order made of it.

use std::fmt;

use super::Money;

/// A payment id is never longer.
pub(crate) const PAYMENT_ID_BYTES_MAX: usize = 128;

/// The provider's id of a payment: 1 to 128 visible ASCII characters.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct PaymentId(String);

impl PaymentId {
    /// `None` when the text is no payment id.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let valid = (1..=PAYMENT_ID_BYTES_MAX).contains(&text.len())
            && text.bytes().all(|byte| byte.is_ascii_graphic());
        valid.then(|| Self(text.to_owned()))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for PaymentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One result of one payment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Payment {
    pub(crate) id: PaymentId,
    pub(crate) result: PaymentResult,
}

/// What became of a payment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum PaymentResult {
    Succeeded(Money),
    Failed { reason: String },
}

impl PaymentResult {
    pub(crate) const fn as_str(&self) -> &'static str {
        match self {
            Self::Succeeded(_) => "succeeded",
            Self::Failed { .. } => "failed",
        }
    }
}

/// A payment result that an order has taken notice of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PaymentRecord {
    pub(crate) payment: Payment,
    pub(crate) state: PaymentState,
}

impl PaymentRecord {
    /// True for the same result of the same payment, told again. One id may fail first and succeed later; those
    /// are two results.
    pub(crate) fn same_as(&self, payment: &Payment) -> bool {
        self.payment.id == payment.id && self.payment.result.as_str() == payment.result.as_str()
    }
}

/// What the order made of a payment result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PaymentState {
    /// Waits for the reservation's outcome.
    Kept,
    /// Settled the order, one way or the other.
    Applied,
    /// Changed nothing: a failure of an order that didn't wait for it.
    Ignored,
    /// The money has to go back.
    RefundDue,
}

impl PaymentState {
    const ALL: [Self; 4] = [Self::Kept, Self::Applied, Self::Ignored, Self::RefundDue];

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Kept => "kept",
            Self::Applied => "applied",
            Self::Ignored => "ignored",
            Self::RefundDue => "refund_due",
        }
    }

    pub(crate) fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payment_id_is_short_and_visible() {
        let long = "p".repeat(129);
        for (text, valid) in [
            ("pay_1", true),
            ("", false),
            ("a b", false),
            ("é", false),
            (&long, false),
            (&long[1..], true),
        ] {
            assert_eq!(PaymentId::parse(text).is_some(), valid, "{text}");
        }
    }
}
