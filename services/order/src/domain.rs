//! What an order is and what may become of it: pure, so every rule is a table in a unit test.
//!
//! Instants and ids come in as arguments; nothing here reads a clock, draws an id, writes a row or publishes. A
//! decision returns the order after it and the events that must be published with it, and the app writes both.

pub(crate) mod event;
pub(crate) mod line;
pub(crate) mod money;
pub(crate) mod order;
pub(crate) mod payment;
pub(crate) mod product;
pub(crate) mod refusal;
pub(crate) mod status;

#[cfg(test)]
mod redelivery_tests;

pub(crate) use event::{OrderEvent, RefundReason, Shortage, ShortageReason};
pub(crate) use line::{Basket, Line, Quantity, Sku, Wanted};
pub(crate) use money::{Currency, Money};
pub(crate) use order::{Customer, Order, OrderId, Placed, ReservationOutcome, Transition};
pub(crate) use payment::{Payment, PaymentId, PaymentRecord, PaymentResult, PaymentState};
pub(crate) use product::Product;
pub(crate) use refusal::{CancelRefusal, NotApplicable, PaymentRefusal, PlaceOrderRefusal};
pub(crate) use status::{CancelReason, OrderStatus};
