//! Domain to contracts and back, and nothing else.

use chrono::{DateTime, Utc};
use millrace_contracts::events::{
    self, InventoryEvent, OrderEvent, OrderPlaced, ProductChanged, ProductEvent,
    ReservationConfirmed, ReservationHeld, ReservationOverdue, ReservationRefused,
    ReservationRejected, ReservationReleased, StockChangeEvent, StockChanged, StockLevel,
    StockLevelEvent,
};
use uuid::Uuid;

use crate::domain::{
    BadValue, CancelReason, Command, Decision, Lines, NotApplicable, Product, Quantity, Shortage,
    ShortageReason, Sku, Stock, StockMove,
};

/// What an order event asks of the stock; `None` for what is only news to others.
pub(crate) fn command_of(event: &OrderEvent) -> Result<Option<Command>, NotApplicable> {
    match event {
        OrderEvent::Placed(placed) => {
            Ok(Some(Command::Reserve { order_id: placed.order_id, lines: lines_of(placed)? }))
        }
        OrderEvent::Confirmed(confirmed) => {
            Ok(Some(Command::Confirm { order_id: confirmed.order_id }))
        }
        OrderEvent::Cancelled(cancelled) => Ok(Some(Command::Release {
            order_id: cancelled.order_id,
            reason: match cancelled.reason {
                events::CancelReason::Customer => CancelReason::Customer,
                events::CancelReason::PaymentFailed => CancelReason::PaymentFailed,
                events::CancelReason::Expired => CancelReason::Expired,
            },
        })),
        // Answers to our own events, and a matter between the order service and the payment provider.
        OrderEvent::AwaitingPayment(_) | OrderEvent::Rejected(_) | OrderEvent::RefundDue(_) => {
            Ok(None)
        }
    }
}

fn lines_of(placed: &OrderPlaced) -> Result<Lines, NotApplicable> {
    let order_id = placed.order_id;
    let bad = |field: String| {
        move |problem: BadValue| NotApplicable::BadField { order_id, field, problem }
    };
    let mut lines = Vec::with_capacity(placed.lines.len().min(Lines::MAX));
    for (index, line) in placed.lines.iter().enumerate() {
        let sku = Sku::parse(&line.sku).map_err(bad(format!("lines[{index}].sku")))?;
        let quantity =
            Quantity::try_new(line.quantity).map_err(bad(format!("lines[{index}].quantity")))?;
        lines.push((sku, quantity));
    }
    Lines::try_new(lines).map_err(bad("lines".to_owned()))
}

/// What others learn from a decision about an order; `None` when there is nothing new.
pub(crate) fn event_of(order_id: Uuid, decision: &Decision) -> Option<InventoryEvent> {
    match decision {
        Decision::Held { held_at } => {
            let held_at = held_at.timestamp_millis();
            Some(InventoryEvent::Held(ReservationHeld { order_id, held_at }))
        }
        Decision::Rejected { shortages } => {
            let shortages = shortages.iter().map(shortage_of).collect();
            Some(InventoryEvent::Rejected(ReservationRejected { order_id, shortages }))
        }
        Decision::Refused => Some(InventoryEvent::Refused(ReservationRefused { order_id })),
        Decision::Confirmed => Some(InventoryEvent::Confirmed(ReservationConfirmed { order_id })),
        Decision::Released { .. } => {
            Some(InventoryEvent::Released(ReservationReleased { order_id }))
        }
        Decision::CancelledFirst { .. } | Decision::Unchanged => None,
    }
}

fn shortage_of(shortage: &Shortage) -> events::Shortage {
    events::Shortage {
        sku: shortage.sku.to_string(),
        requested: shortage.requested.get(),
        free: shortage.free,
        reason: match shortage.reason {
            ShortageReason::OutOfStock => events::ShortageReason::OutOfStock,
            ShortageReason::UnknownSku => events::ShortageReason::UnknownSku,
        },
    }
}

/// A hold that is older than it should be.
pub(crate) fn overdue_of(order_id: Uuid, held_at: DateTime<Utc>) -> InventoryEvent {
    let held_at = held_at.timestamp_millis();
    InventoryEvent::Overdue(ReservationOverdue { order_id, held_at })
}

/// How a product's stock moved.
pub(crate) fn stock_changed_of(
    sku: &Sku,
    StockMove { before, after }: StockMove,
) -> StockChangeEvent {
    StockChangeEvent::Changed(StockChanged {
        sku: sku.to_string(),
        free_change: after.free - before.free,
        held_change: after.held - before.held,
        sold_change: after.sold - before.sold,
        row_version: after.row_version,
    })
}

/// Where a product's stock stands.
pub(crate) fn stock_level_of(sku: &Sku, stock: &Stock) -> StockLevelEvent {
    StockLevelEvent::Level(StockLevel {
        sku: sku.to_string(),
        free: stock.free,
        held: stock.held,
        sold: stock.sold,
        row_version: stock.row_version,
    })
}

pub(crate) fn product_changed_of(product: &Product) -> ProductEvent {
    ProductEvent::Changed(ProductChanged {
        sku: product.sku.to_string(),
        name: product.terms.name.as_str().to_owned(),
        price_minor: product.terms.price.minor(),
        currency: product.terms.currency.as_str().to_owned(),
        sellable: product.terms.sellable,
        row_version: product.row_version,
    })
}

#[cfg(test)]
mod tests;
