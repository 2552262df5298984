//! Every event of Millrace, a file a topic.
//!
//! Money is integer minor units of a currency; times are milliseconds since 1970-01-01 UTC.

mod audit;
mod inventory;
mod order;
mod payment;
mod product;
mod stock;

pub use audit::{AuditEvent, AuditOutcome, AuditRecorded};
pub use inventory::{
    InventoryEvent, ReservationConfirmed, ReservationHeld, ReservationOverdue, ReservationRefused,
    ReservationRejected, ReservationReleased, Shortage, ShortageReason,
};
pub use order::{
    CancelReason, OrderAwaitingPayment, OrderCancelled, OrderConfirmed, OrderEvent, OrderLine,
    OrderPlaced, OrderRejected, RefundDue, RefundReason,
};
pub use payment::{PaymentEvent, PaymentFailed, PaymentSucceeded};
pub use product::{ProductChanged, ProductEvent};
pub use stock::{StockChangeEvent, StockChanged, StockLevel, StockLevelEvent};
