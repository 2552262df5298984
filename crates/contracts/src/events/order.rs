//! `order-events`: what the order service decided. Keyed by order, so one order's events stay in sequence.

use millrace_envelope::events;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

events! {
    /// What happens to orders.
    pub enum OrderEvent on "order-events", aggregate "order", key order_id {
        "order.placed" v1 => Placed(OrderPlaced),
        "order.awaiting_payment" v1 => AwaitingPayment(OrderAwaitingPayment),
        "order.rejected" v1 => Rejected(OrderRejected),
        "order.confirmed" v1 => Confirmed(OrderConfirmed),
        "order.cancelled" v1 => Cancelled(OrderCancelled),
        "order.refund_due" v1 => RefundDue(RefundDue),
    }
}

/// A customer placed an order; inventory is asked to hold its lines.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderPlaced {
    /// The order.
    pub order_id: Uuid,
    /// Who placed it.
    pub customer_id: String,
    /// ISO 4217 code of all amounts.
    pub currency: String,
    /// The sum of all lines in minor units.
    pub total_minor: i64,
    /// What was ordered, 1 to 50 lines, each SKU once.
    pub lines: Vec<OrderLine>,
    /// When it was placed.
    pub placed_at: i64,
}

/// One line of an order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderLine {
    /// The product.
    pub sku: String,
    /// How many pieces, at least 1.
    pub quantity: u32,
    /// The price of one piece in minor units when the order was placed.
    pub unit_price_minor: i64,
}

/// Stock is held; the customer has until `pay_until` to pay.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderAwaitingPayment {
    /// The order.
    pub order_id: Uuid,
    /// Unpaid after this instant it expires.
    pub pay_until: i64,
}

/// Inventory could not hold every line; nothing is held.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderRejected {
    /// The order.
    pub order_id: Uuid,
    /// The lines that could not be held.
    pub shortages: Vec<super::Shortage>,
}

/// The payment is in; inventory is asked to turn the hold into a sale.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderConfirmed {
    /// The order.
    pub order_id: Uuid,
    /// The payment that settled it.
    pub payment_id: String,
}

/// The order is off; inventory is asked to release what it holds, now or when the reservation arrives.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderCancelled {
    /// The order.
    pub order_id: Uuid,
    /// Why.
    pub reason: CancelReason,
}

/// Why an order was cancelled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CancelReason {
    /// The customer asked.
    Customer,
    /// The payment provider refused.
    PaymentFailed,
    /// Nobody paid in time.
    Expired,
}

/// Money came in that the order can't take; somebody must send it back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefundDue {
    /// The order.
    pub order_id: Uuid,
    /// The payment to send back.
    pub payment_id: String,
    /// How much, in minor units.
    pub amount_minor: i64,
    /// ISO 4217 code.
    pub currency: String,
    /// Why the order can't take it.
    pub reason: RefundReason,
}

/// Why money must go back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RefundReason {
    /// The order was cancelled before the payment came.
    OrderCancelled,
    /// The order was rejected for lack of stock.
    OrderRejected,
    /// Another payment had settled the order.
    AlreadyPaid,
}
