//! `payment-results`: what the payment provider told. This service's own callback publishes them.

use millrace_common::envelope::Envelope;
use millrace_common::messaging::{Batch, Handler, HandlerError, Outcomes};
use millrace_contracts::events::PaymentEvent;

use super::{news, unreadable, unsettled};
use crate::app::App;
use crate::app::settle_payment::settle_payments;
use crate::wire::payment_in;

#[derive(Debug)]
pub(crate) struct PaymentResults {
    pub(crate) app: App,
}

impl Handler for PaymentResults {
    type Message = Envelope<PaymentEvent>;

    async fn handle(&self, batch: Batch<Self::Message>) -> Outcomes {
        self.apply(&batch).await.into()
    }
}

impl PaymentResults {
    async fn apply(&self, batch: &Batch<Envelope<PaymentEvent>>) -> Result<(), HandlerError> {
        let mut payments = Vec::with_capacity(batch.deliveries.len());
        for delivery in &batch.deliveries {
            let (order, payment) = payment_in(&delivery.message.payload).map_err(unreadable)?;
            payments.push(news(delivery, order, payment));
        }
        settle_payments(&self.app, &payments).await.map_err(unsettled)
    }
}
