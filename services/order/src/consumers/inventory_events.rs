//! `inventory-events`: what became of reservations.

use millrace_common::envelope::Envelope;
use millrace_common::messaging::{Batch, Handler, HandlerError, Outcomes};
use millrace_contracts::events::InventoryEvent;

use super::{news, unsettled};
use crate::app::App;
use crate::app::settle_reservation::settle_reservations;
use crate::metrics;
use crate::wire::{InventoryNews, inventory_news};

#[derive(Debug)]
pub(crate) struct InventoryEvents {
    pub(crate) app: App,
}

impl Handler for InventoryEvents {
    type Message = Envelope<InventoryEvent>;

    async fn handle(&self, batch: Batch<Self::Message>) -> Outcomes {
        self.apply(&batch).await.into()
    }
}

impl InventoryEvents {
    async fn apply(&self, batch: &Batch<Envelope<InventoryEvent>>) -> Result<(), HandlerError> {
        let mut settled = Vec::with_capacity(batch.deliveries.len());
        let mut noted = Vec::new();
        for delivery in &batch.deliveries {
            match inventory_news(&delivery.message.payload) {
                InventoryNews::Settled(order, outcome) => {
                    settled.push(news(delivery, order, outcome))
                }
                InventoryNews::Noted(order, kind) => noted.push((delivery, order, kind)),
            }
        }
        settle_reservations(&self.app, &settled).await.map_err(unsettled)?;
        for (delivery, order, kind) in noted {
            delivery.span.in_scope(|| {
                tracing::debug!(order.id = %order, kind, "reservation of order {order} was {kind}");
            });
            metrics::reservation_noted(kind);
        }
        Ok(())
    }
}
