//! A batch of order events against the stock it wants, in memory.
//!
//! The use case locks the rows, opens the book on them, walks the batch through [`Book::apply`] and writes what
//! changed. Fifty orders for one hot SKU are fifty subtractions here and one row update there.
//! The walk is also safe without the inbox: every command that has already had its effect is answered with
//! [`Decision::Unchanged`], so the state machine alone gives a redelivery no second effect.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::reservation::EndReason;
use super::{
    CancelReason, Command, Lines, NotApplicable, Quantity, Reservation, ReservationStatus,
    Shortage, ShortageReason, Sku, Stock,
};

/// Stock and reservations of one batch.
#[derive(Debug, Default)]
pub(crate) struct Book {
    stock: BTreeMap<Sku, StockMove>,
    reservations: HashMap<Uuid, Reservation>,
    /// Orders whose reservation differs from what was read.
    written: BTreeSet<Uuid>,
}

/// One product's stock before and after the batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct StockMove {
    pub(crate) before: Stock,
    pub(crate) after: Stock,
}

impl StockMove {
    fn is_move(&self) -> bool {
        self.before != self.after
    }
}

/// What one command came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Decision {
    /// Every line is held.
    Held { held_at: DateTime<Utc> },
    /// Not every line could be held, so none is.
    Rejected { shortages: Vec<Shortage> },
    /// The order had been cancelled before: nothing is held.
    Refused,
    /// The held pieces are sold.
    Confirmed,
    /// The held pieces are free again.
    Released { reason: CancelReason },
    /// The cancellation is noted for the reservation that is still to come.
    CancelledFirst { reason: CancelReason },
    /// It was so already.
    Unchanged,
}

impl Book {
    /// A book on rows as they were read under lock.
    pub(crate) fn open(
        stock: impl IntoIterator<Item = (Sku, Stock)>,
        reservations: impl IntoIterator<Item = Reservation>,
    ) -> Self {
        let both = |(sku, stock)| (sku, StockMove { before: stock, after: stock });
        let keyed = |reservation: Reservation| (reservation.order_id, reservation);
        Self {
            stock: stock.into_iter().map(both).collect(),
            reservations: reservations.into_iter().map(keyed).collect(),
            written: BTreeSet::new(),
        }
    }

    /// Carries one command out, or says that it can never be.
    pub(crate) fn apply(
        &mut self,
        command: &Command,
        now: DateTime<Utc>,
    ) -> Result<Decision, NotApplicable> {
        match command {
            Command::Reserve { order_id, lines } => Ok(self.reserve(*order_id, lines, now)),
            Command::Confirm { order_id } => self.confirm(*order_id),
            Command::Release { order_id, reason } => self.release(*order_id, *reason),
        }
    }

    /// The products whose pieces ended elsewhere than they began, each at its next version.
    pub(crate) fn moves(&self) -> impl Iterator<Item = (&Sku, StockMove)> {
        self.stock.iter().filter(|(_, moved)| moved.is_move()).map(|(sku, moved)| {
            (sku, StockMove { before: moved.before, after: moved.after.next_version() })
        })
    }

    /// The reservations to write, by order.
    pub(crate) fn written(&self) -> impl Iterator<Item = &Reservation> {
        self.written.iter().filter_map(|order_id| self.reservations.get(order_id))
    }

    /// What one order holds, for a caller that wants to know which products a decision touched.
    pub(crate) fn lines(&self, order_id: Uuid) -> impl Iterator<Item = (&Sku, Quantity)> {
        self.reservations
            .get(&order_id)
            .into_iter()
            .flat_map(|reservation| reservation.lines.iter())
    }

    fn reserve(&mut self, order_id: Uuid, lines: &Lines, now: DateTime<Utc>) -> Decision {
        match self.reservations.get(&order_id).map(|reservation| reservation.status) {
            Some(ReservationStatus::Cancelled) => {
                self.set_status(order_id, ReservationStatus::Refused);
                return Decision::Refused;
            }
            Some(
                ReservationStatus::Held
                | ReservationStatus::Confirmed
                | ReservationStatus::Released
                | ReservationStatus::Rejected
                | ReservationStatus::Refused,
            ) => return Decision::Unchanged,
            None => {}
        }
        let shortages: Vec<Shortage> =
            lines.iter().filter_map(|(sku, quantity)| self.shortage(sku, quantity)).collect();
        if let Some(first) = shortages.first() {
            let reason = EndReason::Short(first.reason);
            self.insert(
                order_id,
                ReservationStatus::Rejected,
                Lines::default(),
                None,
                Some(reason),
            );
            return Decision::Rejected { shortages };
        }
        for (sku, quantity) in lines.iter() {
            if let Some(moved) = self.stock.get_mut(sku)
                && let Some(after) = moved.after.hold(quantity)
            {
                moved.after = after;
            }
        }
        self.insert(order_id, ReservationStatus::Held, lines.clone(), Some(now), None);
        Decision::Held { held_at: now }
    }

    fn confirm(&mut self, order_id: Uuid) -> Result<Decision, NotApplicable> {
        let verb = "confirmed";
        let reservation = self
            .reservations
            .get(&order_id)
            .ok_or(NotApplicable::NoReservation { order_id, verb })?;
        match reservation.status {
            ReservationStatus::Held => {
                self.move_lines(order_id, Stock::sell)?;
                self.set_status(order_id, ReservationStatus::Confirmed);
                Ok(Decision::Confirmed)
            }
            ReservationStatus::Confirmed => Ok(Decision::Unchanged),
            status @ (ReservationStatus::Released
            | ReservationStatus::Rejected
            | ReservationStatus::Refused
            | ReservationStatus::Cancelled) => {
                Err(NotApplicable::WrongStatus { order_id, status, verb })
            }
        }
    }

    fn release(&mut self, order_id: Uuid, reason: CancelReason) -> Result<Decision, NotApplicable> {
        let ended = Some(EndReason::Cancelled(reason));
        let Some(reservation) = self.reservations.get(&order_id) else {
            self.insert(order_id, ReservationStatus::Cancelled, Lines::default(), None, ended);
            return Ok(Decision::CancelledFirst { reason });
        };
        match reservation.status {
            ReservationStatus::Held => {
                self.move_lines(order_id, Stock::release)?;
                self.set_status(order_id, ReservationStatus::Released);
                if let Some(reservation) = self.reservations.get_mut(&order_id) {
                    reservation.reason = ended;
                }
                Ok(Decision::Released { reason })
            }
            // Nothing is held, which is all that a cancellation asks for.
            ReservationStatus::Released
            | ReservationStatus::Rejected
            | ReservationStatus::Refused
            | ReservationStatus::Cancelled => Ok(Decision::Unchanged),
            status @ ReservationStatus::Confirmed => {
                Err(NotApplicable::WrongStatus { order_id, status, verb: "released" })
            }
        }
    }

    fn shortage(&self, sku: &Sku, requested: Quantity) -> Option<Shortage> {
        let (free, reason) = match self.stock.get(sku) {
            None => (0, ShortageReason::UnknownSku),
            Some(moved) if moved.after.hold(requested).is_some() => return None,
            Some(moved) => (moved.after.free, ShortageReason::OutOfStock),
        };
        Some(Shortage { sku: sku.clone(), requested, free, reason })
    }

    /// Moves all pieces that the order holds, or none.
    fn move_lines(
        &mut self,
        order_id: Uuid,
        step: fn(Stock, Quantity) -> Option<Stock>,
    ) -> Result<(), NotApplicable> {
        let moved: Vec<(Sku, Stock)> = self
            .lines(order_id)
            .map(|(sku, quantity)| {
                let stock = self.stock.get(sku).map(|moved| moved.after);
                let after = stock.and_then(|stock| step(stock, quantity));
                after
                    .map(|after| (sku.clone(), after))
                    .ok_or_else(|| NotApplicable::HeldTooFew { order_id, sku: sku.clone() })
            })
            .collect::<Result<_, _>>()?;
        for (sku, after) in moved {
            if let Some(entry) = self.stock.get_mut(&sku) {
                entry.after = after;
            }
        }
        Ok(())
    }

    fn set_status(&mut self, order_id: Uuid, status: ReservationStatus) {
        if let Some(reservation) = self.reservations.get_mut(&order_id) {
            reservation.status = status;
            self.written.insert(order_id);
        }
    }

    fn insert(
        &mut self,
        order_id: Uuid,
        status: ReservationStatus,
        lines: Lines,
        held_at: Option<DateTime<Utc>>,
        reason: Option<EndReason>,
    ) {
        self.reservations
            .insert(order_id, Reservation { order_id, status, lines, held_at, reason });
        self.written.insert(order_id);
    }
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
