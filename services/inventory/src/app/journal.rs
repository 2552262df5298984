//! What one transaction has to tell: the events and audit records that go to the outbox with its state.

use millrace_common::envelope::{Event, MessageContext};
use millrace_common::outbox::{EncodeError, OutboxRecord};
use millrace_common::runtime::Clock;
use millrace_contracts::events::{AuditEvent, AuditOutcome, AuditRecorded};

use crate::SERVICE;
use crate::domain::{Sku, StockMove};
use crate::wire;

/// Records in the order in which they will be published.
pub(super) struct Journal<'a> {
    clock: &'a Clock,
    records: Vec<OutboxRecord>,
}

impl<'a> Journal<'a> {
    pub(super) fn new(clock: &'a Clock) -> Self {
        Self { clock, records: Vec::new() }
    }

    /// Adds an event that happened in `context`.
    pub(super) fn event<E: Event + Clone>(
        &mut self,
        event: &E,
        context: &MessageContext,
    ) -> Result<(), EncodeError> {
        self.records.push(OutboxRecord::of(SERVICE, event, context, self.clock)?);
        Ok(())
    }

    /// Adds an audit record.
    pub(super) fn audit(
        &mut self,
        audited: AuditRecorded,
        context: &MessageContext,
    ) -> Result<(), EncodeError> {
        self.event(&AuditEvent::Recorded(audited), context)
    }

    /// Adds a product's move and its new level.
    pub(super) fn stock_move(
        &mut self,
        sku: &Sku,
        moved: StockMove,
        context: &MessageContext,
    ) -> Result<(), EncodeError> {
        self.event(&wire::stock_changed_of(sku, moved), context)?;
        self.event(&wire::stock_level_of(sku, &moved.after), context)
    }

    pub(super) fn records(&self) -> &[OutboxRecord] {
        &self.records
    }
}

/// An audit record of what this service did or refused in `context`.
pub(super) fn audited(
    context: &MessageContext,
    action: &str,
    resource: (&str, &dyn std::fmt::Display),
    outcome: AuditOutcome,
) -> AuditRecorded {
    AuditRecorded::of(context, SERVICE, action, resource, outcome)
}
