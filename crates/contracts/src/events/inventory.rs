//! `inventory-events`: what became of reservations. Keyed by order, like the events that caused them.

use millrace_envelope::events;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

events! {
    /// What happens to the reservations of orders.
    pub enum InventoryEvent on "inventory-events", aggregate "reservation", key order_id {
        "reservation.held" v1 => Held(ReservationHeld),
        "reservation.rejected" v1 => Rejected(ReservationRejected),
        "reservation.refused" v1 => Refused(ReservationRefused),
        "reservation.confirmed" v1 => Confirmed(ReservationConfirmed),
        "reservation.released" v1 => Released(ReservationReleased),
        "reservation.overdue" v1 => Overdue(ReservationOverdue),
    }
}

/// Every line of the order is held.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReservationHeld {
    /// The order.
    pub order_id: Uuid,
    /// Since when.
    pub held_at: i64,
}

/// Not every line could be held, so none is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReservationRejected {
    /// The order.
    pub order_id: Uuid,
    /// The lines that could not be held.
    pub shortages: Vec<Shortage>,
}

/// One line that could not be held.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shortage {
    /// The product.
    pub sku: String,
    /// How many were asked for.
    pub requested: u32,
    /// How many were free.
    pub free: i64,
    /// Why it could not be held.
    pub reason: ShortageReason,
}

/// Why a line could not be held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ShortageReason {
    /// Fewer pieces are free than were asked for.
    OutOfStock,
    /// Inventory has no such product.
    UnknownSku,
}

/// The order had been cancelled before its reservation was asked for; nothing is held.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReservationRefused {
    /// The order.
    pub order_id: Uuid,
}

/// The held pieces are sold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReservationConfirmed {
    /// The order.
    pub order_id: Uuid,
}

/// The held pieces are free again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReservationReleased {
    /// The order.
    pub order_id: Uuid,
}

/// A hold is older than it should be. A report only: the order service decides what becomes of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReservationOverdue {
    /// The order.
    pub order_id: Uuid,
    /// Since when it is held.
    pub held_at: i64,
}
