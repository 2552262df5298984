//! One attempt at a lease, from asking to knowing the answer.
//!
//! An attempt that ends without having heard Redis' answer (its future was dropped, or the answer was lost) takes
//! itself out of the queue and gives back what it may have been granted: otherwise a lease that nobody knows of
//! would block the others until it ends.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use millrace_telemetry::error_chain;
use tokio::sync::Notify;

use super::keys::{Keys, turns_channel};
use super::turns::Turn;
use super::{LeaseError, Leases};
use crate::{metrics, scripts};

pub(super) struct Attempt {
    leases: Leases,
    name: &'static str,
    id: String,
    turn: Option<Turn>,
    open: bool,
}

impl Attempt {
    pub(super) fn new(leases: &Leases, name: &'static str) -> Self {
        leases.know(name);
        let number = leases.0.attempts.fetch_add(1, Ordering::Relaxed);
        let id = format!("{}/{number}", leases.holder());
        Self { leases: leases.clone(), name, id, turn: None, open: true }
    }

    pub(super) fn name(&self) -> &'static str {
        self.name
    }

    pub(super) fn id(&self) -> &str {
        &self.id
    }

    /// What is notified when it is this attempt's turn.
    pub(super) fn listen(&mut self) -> Arc<Notify> {
        metrics::WAITERS.with_label_values(&[self.name]).inc();
        let turn = self.leases.0.turns.listen(&self.id);
        let notified = turn.notified();
        self.turn = Some(turn);
        notified
    }

    /// Its answer was heard, and it stands in no queue.
    pub(super) fn settle(mut self) {
        self.open = false;
    }

    /// Leaves the queue.
    pub(super) async fn leave(mut self) {
        let (leases, name, id) = (self.leases.clone(), self.name, std::mem::take(&mut self.id));
        self.open = false;
        drop(self);
        leave_or_log(leases, name, id).await;
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        if self.turn.is_some() {
            metrics::WAITERS.with_label_values(&[self.name]).dec();
        }
        if self.open {
            let (leases, name, id) = (self.leases.clone(), self.name, std::mem::take(&mut self.id));
            self.leases.afterwards("lease-leave", leave_or_log(leases, name, id));
        }
    }
}

async fn leave_or_log(leases: Leases, name: &'static str, attempt: String) {
    if let Err(error) = leave(&leases, name, &attempt).await {
        // The queue puts it out by itself, and a lease that was granted ends.
        let error = error_chain(&error);
        tracing::debug!(lease = name, attempt, error, "an attempt could not be taken back");
    }
}

async fn leave(leases: &Leases, name: &str, attempt: &str) -> Result<(), LeaseError> {
    let Keys { lease, queue, seen, .. } = leases.keys(name);
    let channel = turns_channel(&leases.0.redis);
    let keys = [&*lease, &*queue, &*seen];
    let arguments = (attempt, channel.as_str());
    let _granted: bool = leases.0.redis.script("leave", &scripts::LEAVE, &keys, &arguments).await?;
    Ok(())
}
