//! The order: every decision about it, and nothing else.
//!
//! Each verb takes the order as it is and returns what it becomes together with the events that say so, or says
//! that nothing changes. Repeats are expected (events are delivered at least once), so a verb that finds its work
//! done answers `Unchanged`; only what contradicts the order is an error.

use std::collections::HashMap;

use chrono::{DateTime, TimeDelta, Utc};
use uuid::Uuid;

use super::money::AMOUNT_MINOR_MAX;
use super::{
    Basket, CancelReason, CancelRefusal, Line, Money, NotApplicable, OrderEvent, OrderStatus,
    Payment, PaymentId, PaymentRecord, PaymentRefusal, PaymentResult, PaymentState,
    PlaceOrderRefusal, Product, RefundReason, Shortage, Sku,
};

/// The id of an order, a UUIDv7.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct OrderId(pub(crate) Uuid);

impl std::fmt::Display for OrderId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// Whose order it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Customer {
    pub(crate) id: String,
    pub(crate) tenant: Option<String>,
}

/// An order without its lines, which no later decision needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Order {
    pub(crate) id: OrderId,
    pub(crate) customer: Customer,
    pub(crate) status: OrderStatus,
    pub(crate) total: Money,
    pub(crate) placed_at: DateTime<Utc>,
    pub(crate) pay_until: Option<DateTime<Utc>>,
    /// The payment that settled it.
    pub(crate) payment_id: Option<PaymentId>,
    /// Every payment result it has taken notice of, in the order in which they came.
    pub(crate) payments: Vec<PaymentRecord>,
    /// The version this was read or written as.
    pub(crate) version: i64,
}

/// An order that was accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Placed {
    pub(crate) order: Order,
    pub(crate) lines: Vec<Line>,
}

/// What a decision leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Transition {
    /// The order is now this, and these events must be published.
    Changed { order: Box<Order>, events: Vec<OrderEvent> },
    /// It had been done before, or there is nothing to do.
    Unchanged,
}

/// What became of an order's reservation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ReservationOutcome {
    Held,
    Rejected { shortages: Vec<Shortage> },
}

impl ReservationOutcome {
    pub(crate) const fn as_str(&self) -> &'static str {
        match self {
            Self::Held => "held",
            Self::Rejected { .. } => "rejected",
        }
    }
}

impl Order {
    /// Accepts a basket at the prices of `products`. A price that changes meanwhile changes nothing here: the
    /// price of the moment of placing counts.
    pub(crate) fn place(
        id: OrderId,
        customer: Customer,
        basket: &Basket,
        products: &HashMap<Sku, Product>,
        now: DateTime<Utc>,
    ) -> Result<Placed, PlaceOrderRefusal> {
        let lines = priced(basket, products)?;
        let total = total(&lines, products)?;
        let order = Self {
            id,
            customer,
            status: OrderStatus::Placed,
            total,
            placed_at: now,
            pay_until: None,
            payment_id: None,
            payments: Vec::new(),
            version: 1,
        };
        Ok(Placed { order, lines })
    }

    /// The customer changes their mind, before paying.
    pub(crate) fn cancel(&self) -> Result<Transition, CancelRefusal> {
        match self.status {
            OrderStatus::Placed | OrderStatus::AwaitingPayment => {
                Ok(self.change(|draft| draft.cancel(CancelReason::Customer)))
            }
            OrderStatus::Cancelled(CancelReason::Customer) => Ok(Transition::Unchanged),
            OrderStatus::Cancelled(CancelReason::PaymentFailed | CancelReason::Expired)
            | OrderStatus::Confirmed
            | OrderStatus::Rejected => Err(CancelRefusal { status: self.status }),
        }
    }

    /// Inventory answered. A payment that came before is applied at once, in the same decision.
    pub(crate) fn settle_reservation(
        &self,
        outcome: &ReservationOutcome,
        now: DateTime<Utc>,
        pay_within: TimeDelta,
    ) -> Result<Transition, NotApplicable> {
        match (self.status, outcome) {
            (OrderStatus::Placed, ReservationOutcome::Held) => Ok(self.change(|draft| {
                let pay_until = now + pay_within;
                draft.order.status = OrderStatus::AwaitingPayment;
                draft.order.pay_until = Some(pay_until);
                draft.events.push(OrderEvent::AwaitingPayment { pay_until });
                draft.apply_kept();
            })),
            (OrderStatus::Placed, ReservationOutcome::Rejected { shortages }) => {
                Ok(self.change(|draft| {
                    draft.order.status = OrderStatus::Rejected;
                    draft.events.push(OrderEvent::Rejected { shortages: shortages.clone() });
                    draft.apply_kept();
                }))
            }
            // A repeat, or an order that was cancelled meanwhile: inventory learns that from `order.cancelled`.
            (OrderStatus::AwaitingPayment | OrderStatus::Confirmed, ReservationOutcome::Held)
            | (OrderStatus::Rejected, ReservationOutcome::Rejected { .. })
            | (OrderStatus::Cancelled(_), _) => Ok(Transition::Unchanged),
            (
                status @ (OrderStatus::AwaitingPayment | OrderStatus::Confirmed),
                ReservationOutcome::Rejected { .. },
            )
            | (status @ OrderStatus::Rejected, ReservationOutcome::Held) => {
                Err(NotApplicable::Reservation { outcome: outcome.as_str(), status })
            }
        }
    }

    /// The payment provider told a result.
    pub(crate) fn settle_payment(&self, payment: &Payment) -> Result<Transition, PaymentRefusal> {
        if self.payments.iter().any(|known| known.same_as(payment)) {
            return Ok(Transition::Unchanged);
        }
        if let (PaymentResult::Succeeded(paid), true) = (&payment.result, self.takes_payment())
            && *paid != self.total
        {
            return Err(PaymentRefusal { paid: paid.clone(), due: self.total.clone() });
        }
        Ok(self.change(|draft| {
            let state = draft.apply(payment);
            draft.order.payments.push(PaymentRecord { payment: payment.clone(), state });
        }))
    }

    /// Nobody paid in time.
    pub(crate) fn expire_unpaid(&self, now: DateTime<Utc>) -> Transition {
        let due = self.status == OrderStatus::AwaitingPayment
            && self.pay_until.is_some_and(|pay_until| pay_until <= now);
        self.expire_if(due)
    }

    /// Inventory did not answer in time. Should it have held the stock, it learns from `order.cancelled` to let go.
    pub(crate) fn expire_placed(&self, now: DateTime<Utc>, limit: TimeDelta) -> Transition {
        self.expire_if(self.status == OrderStatus::Placed && self.placed_at <= now - limit)
    }

    fn expire_if(&self, due: bool) -> Transition {
        if due {
            self.change(|draft| draft.cancel(CancelReason::Expired))
        } else {
            Transition::Unchanged
        }
    }

    /// True while a success would settle the order. Afterwards every success goes back, whatever its amount.
    fn takes_payment(&self) -> bool {
        match self.status {
            OrderStatus::Placed | OrderStatus::AwaitingPayment => true,
            OrderStatus::Confirmed | OrderStatus::Rejected | OrderStatus::Cancelled(_) => false,
        }
    }

    fn change(&self, work: impl FnOnce(&mut Draft)) -> Transition {
        let mut draft = Draft { order: self.clone(), events: Vec::new() };
        work(&mut draft);
        draft.order.version += 1;
        Transition::Changed { order: Box::new(draft.order), events: draft.events }
    }
}

/// An order on its way to its next version.
struct Draft {
    order: Order,
    events: Vec<OrderEvent>,
}

impl Draft {
    fn cancel(&mut self, reason: CancelReason) {
        self.order.status = OrderStatus::Cancelled(reason);
        self.events.push(OrderEvent::Cancelled { reason });
        // Money that came before its time has nothing to wait for any more.
        self.apply_kept();
    }

    /// Applies kept payments in the order in which they came; the first that settles the order wins.
    fn apply_kept(&mut self) {
        let mut payments = std::mem::take(&mut self.order.payments);
        for record in &mut payments {
            if record.state == PaymentState::Kept {
                record.state = self.apply(&record.payment);
            }
        }
        self.order.payments = payments;
    }

    fn apply(&mut self, payment: &Payment) -> PaymentState {
        match (self.order.status, &payment.result) {
            (OrderStatus::Placed, _) => PaymentState::Kept,
            (OrderStatus::AwaitingPayment, PaymentResult::Succeeded(_)) => {
                self.order.status = OrderStatus::Confirmed;
                self.order.payment_id = Some(payment.id.clone());
                self.events.push(OrderEvent::Confirmed { payment_id: payment.id.clone() });
                PaymentState::Applied
            }
            (OrderStatus::AwaitingPayment, PaymentResult::Failed { .. }) => {
                self.order.status = OrderStatus::Cancelled(CancelReason::PaymentFailed);
                self.events.push(OrderEvent::Cancelled { reason: CancelReason::PaymentFailed });
                PaymentState::Applied
            }
            (OrderStatus::Confirmed, PaymentResult::Succeeded(money)) => {
                self.refund(payment, money, RefundReason::AlreadyPaid)
            }
            (OrderStatus::Rejected, PaymentResult::Succeeded(money)) => {
                self.refund(payment, money, RefundReason::OrderRejected)
            }
            (OrderStatus::Cancelled(_), PaymentResult::Succeeded(money)) => {
                self.refund(payment, money, RefundReason::OrderCancelled)
            }
            (
                OrderStatus::Confirmed | OrderStatus::Rejected | OrderStatus::Cancelled(_),
                PaymentResult::Failed { .. },
            ) => PaymentState::Ignored,
        }
    }

    fn refund(&mut self, payment: &Payment, money: &Money, reason: RefundReason) -> PaymentState {
        self.events.push(OrderEvent::RefundDue {
            payment_id: payment.id.clone(),
            money: money.clone(),
            reason,
        });
        PaymentState::RefundDue
    }
}

fn priced(
    basket: &Basket,
    products: &HashMap<Sku, Product>,
) -> Result<Vec<Line>, PlaceOrderRefusal> {
    let mut currency = None;
    let lines = basket.lines().iter().enumerate().map(|(index, wanted)| {
        let product = products
            .get(&wanted.sku)
            .filter(|product| product.sellable)
            .ok_or_else(|| PlaceOrderRefusal::UnknownSku { index, sku: wanted.sku.clone() })?;
        if currency.get_or_insert(&product.currency) != &&product.currency {
            return Err(PlaceOrderRefusal::MixedCurrencies { index, sku: wanted.sku.clone() });
        }
        Ok(Line {
            sku: wanted.sku.clone(),
            quantity: wanted.quantity,
            unit_price_minor: product.price_minor,
        })
    });
    lines.collect()
}

fn total(lines: &[Line], products: &HashMap<Sku, Product>) -> Result<Money, PlaceOrderRefusal> {
    let minor = lines
        .iter()
        .try_fold(0_i64, |sum, line| {
            let line_minor = line.unit_price_minor.checked_mul(line.quantity.pieces().into())?;
            sum.checked_add(line_minor)
        })
        .filter(|minor| *minor <= AMOUNT_MINOR_MAX)
        .ok_or(PlaceOrderRefusal::TotalTooLarge)?;
    // A basket has at least one line, and every line was priced from `products`.
    let currency = &products[&lines[0].sku].currency;
    Ok(Money { minor, currency: currency.clone() })
}

#[cfg(test)]
#[path = "order_tests.rs"]
mod tests;
