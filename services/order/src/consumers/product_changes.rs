//! `product-changes`: the copy of products and prices is kept in step.

use millrace_common::envelope::Envelope;
use millrace_common::messaging::{Batch, Handler, HandlerError, Outcomes};
use millrace_contracts::events::ProductEvent;

use super::{failed, unreadable};
use crate::app::App;
use crate::app::keep_products::keep_products;
use crate::wire::product_in;

#[derive(Debug)]
pub(crate) struct ProductChanges {
    pub(crate) app: App,
}

impl Handler for ProductChanges {
    type Message = Envelope<ProductEvent>;

    async fn handle(&self, batch: Batch<Self::Message>) -> Outcomes {
        self.apply(&batch).await.into()
    }
}

impl ProductChanges {
    async fn apply(&self, batch: &Batch<Envelope<ProductEvent>>) -> Result<(), HandlerError> {
        let mut products = Vec::with_capacity(batch.deliveries.len());
        for delivery in &batch.deliveries {
            products.push(product_in(&delivery.message.payload).map_err(unreadable)?);
        }
        keep_products(&self.app, products).await.map_err(failed)
    }
}
