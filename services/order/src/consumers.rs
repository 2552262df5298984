//! What other services say, one handler a consumer group: envelope to command, outcome to done or dead letter.

mod inventory_events;
mod payment_results;
mod product_changes;

pub(crate) use inventory_events::InventoryEvents;
pub(crate) use payment_results::PaymentResults;
pub(crate) use product_changes::ProductChanges;

use millrace_common::envelope::Envelope;
use millrace_common::messaging::{Delivery, HandlerError};
use millrace_common::resilience::{Class, Classify};
use millrace_contracts::codes;

use crate::app::{Failure, News, SettleError};
use crate::domain::OrderId;
use crate::wire::Unreadable;

fn news<E, T>(delivery: &Delivery<Envelope<E>>, order: OrderId, content: T) -> News<T> {
    News {
        id: delivery.message.id,
        order,
        content,
        context: delivery.context.clone(),
        span: delivery.span.clone(),
    }
}

fn unreadable(error: Unreadable) -> HandlerError {
    HandlerError::permanent(&codes::EVENT_UNDECODABLE, error)
}

fn unsettled(error: SettleError) -> HandlerError {
    match error {
        SettleError::UnknownOrder(_) | SettleError::NotApplicable { .. } => {
            HandlerError::permanent(&codes::EVENT_NOT_APPLICABLE, error)
        }
        SettleError::Failed(failure) => failed(failure),
    }
}

fn failed(failure: Failure) -> HandlerError {
    match failure.class() {
        Class::Transient => HandlerError::transient(&codes::STORE_UNAVAILABLE, failure),
        Class::Permanent => HandlerError::permanent(&codes::STORE_FAILED, failure),
    }
}
