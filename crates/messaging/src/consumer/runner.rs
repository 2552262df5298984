//! Tasks that make the calls.
//!
//! A few runners share all calls of a consumer, one a core: each holds many open calls and polls those that can go
//! on. A task for each record would cost a spawn, a wake-up and a lock for each.

use std::sync::Arc;
use std::time::Instant;

use futures::FutureExt as _;
use futures::stream::{FuturesUnordered, StreamExt as _};

use super::call::Caller;
use super::dispatch::Dispatch;
use super::outbound::Outbound;
use super::schedule::Settlement;
use crate::Handler;
use crate::message::RawRecord;

/// Settlements that are handed in at once, at most: a runner whose calls all end at once still looks for new work.
const SETTLEMENTS_MAX: usize = 256;

pub(super) type RecordDispatch = Dispatch<RawRecord, Outbound>;

pub(super) struct Runner<H: Handler> {
    pub(super) dispatch: Arc<RecordDispatch>,
    pub(super) caller: Arc<Caller<H>>,
    pub(super) seat: usize,
}

impl<H: Handler> Runner<H> {
    /// Runs until the dispatch is closed; calls that are still open then are dropped.
    pub(super) async fn run(self) {
        let _leaving = Leaving(Arc::clone(&self.dispatch));
        let mut calls = FuturesUnordered::new();
        let (mut settlements, mut works) = (Vec::new(), Vec::new());
        loop {
            let found = self.dispatch.exchange(
                self.seat,
                calls.len(),
                &mut settlements,
                &mut works,
                Instant::now(),
            );
            if found.closed {
                return;
            }
            for work in works.drain(..) {
                let (caller, dispatch) = (&self.caller, &self.dispatch);
                calls.push(async move {
                    // Calls that never wait would otherwise keep the thread for as long as there are records.
                    tokio::task::coop::consume_budget().await;
                    caller.call(work, dispatch).await
                });
            }
            tokio::select! {
                biased;
                Some(settlement) = calls.next(), if !calls.is_empty() => {
                    settlements.push(settlement);
                    Self::gather(&mut calls, &mut settlements);
                }
                () = std::future::poll_fn(|context| self.dispatch.poll_signal(self.seat, context)) => {}
                () = until(found.due) => {}
            }
        }
    }

    /// Takes the calls that are over by now, too.
    fn gather<C: Future<Output = Settlement<RawRecord, Outbound>>>(
        calls: &mut FuturesUnordered<C>,
        settlements: &mut Vec<Settlement<RawRecord, Outbound>>,
    ) {
        while settlements.len() < SETTLEMENTS_MAX {
            match calls.next().now_or_never() {
                Some(Some(settlement)) => settlements.push(settlement),
                Some(None) | None => return,
            }
        }
    }
}

/// Tells the dispatch however the runner ends.
struct Leaving(Arc<RecordDispatch>);

impl Drop for Leaving {
    fn drop(&mut self) {
        self.0.leave();
    }
}

async fn until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due.into()).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod interleavings;
