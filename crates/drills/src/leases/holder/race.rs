//! One process's race for one lease, again and again, as long as there is work under it.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use millrace_checker::leases::{Grant, LeaseNote};
use millrace_coordination::{Fenced, Lease};
use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, sleep};

use super::Holder;
use super::freeze::FreezeAt;
use super::sinks::Written;
use crate::dice::{Dice, mix};
use crate::leases::board::Board;

/// Between plain attempts, at most.
const PAUSE_MS: u64 = 60;
/// How long an attempt that stands in the queue waits.
const WAIT: Duration = Duration::from_secs(1);
const GATE_INTERVAL: Duration = Duration::from_millis(5);

pub(super) struct Race {
    holder: Arc<Holder>,
    lease: &'static str,
    dice: Dice,
    /// The last round in which its work hung or might have.
    hung_in: u64,
}

impl Race {
    pub(super) fn new(holder: Arc<Holder>, lease: &'static str) -> Self {
        let (by, seed) = (holder.notes.by(), holder.seed);
        let seed =
            by.bytes().chain(lease.bytes()).fold(seed, |seed, byte| mix(seed ^ u64::from(byte)));
        Self { holder, lease, dice: Dice::new(seed), hung_in: 0 }
    }

    pub(super) async fn run(mut self, mut board: watch::Receiver<Board>) {
        let stop = self.holder.stop.clone();
        while !stop.is_cancelled() {
            let now = *board.borrow_and_update();
            // Contending for a lease only to find nothing to do would cost the others their turn.
            let next = self.holder.sinks.next(self.lease).await;
            if next.is_ok_and(|next| next >= now.units) {
                tokio::select! {
                    () = stop.cancelled() => {}
                    _ = board.changed() => {}
                }
                continue;
            }
            // Whoever has the lease ends its turn, so that its end is noted.
            let acquired = tokio::select! {
                () = stop.cancelled() => None,
                acquired = self.acquired() => acquired,
            };
            if let Some(lease) = acquired {
                self.turn(lease, now).await;
            }
        }
    }

    /// Half of the attempts stand in the queue, half come by and look.
    async fn acquired(&mut self) -> Option<Lease> {
        let ttl = Duration::from_millis(self.holder.habits.ttl_ms);
        let acquired = if self.dice.below(2) == 0 {
            self.holder.leases.acquire_within(self.lease, ttl, WAIT).await
        } else {
            self.holder.leases.acquire(self.lease, ttl).await
        };
        let Ok(Some(lease)) = acquired else {
            // Somebody has it, or the referee is away: both are a part of the drill.
            sleep(Duration::from_millis(self.dice.below(PAUSE_MS))).await;
            return None;
        };
        // The clock of the notes first: frozen in between, a holder must not believe to have asked later than it has.
        let now_us = self.holder.notes.now_us();
        let asked = (Instant::now() + ttl).saturating_duration_since(lease.ends());
        let micros = |span: Duration| i64::try_from(span.as_micros()).unwrap_or(i64::MAX);
        self.holder.notes.note(LeaseNote::Granted(Grant {
            lease: self.lease.to_owned(),
            token: lease.token().as_i64(),
            asked_us: now_us - micros(asked),
            lasts_us: micros(ttl),
        }));
        Some(lease)
    }

    async fn turn(&mut self, lease: Lease, board: Board) {
        let holder = Arc::clone(&self.holder);
        let (lease_name, token) = (self.lease.to_owned(), lease.token().as_i64());
        let progress_within = holder.habits.progress_ms.map(Duration::from_millis);
        let guard = lease.keep(&holder.tasks, progress_within);
        let worked = guard.run(|fenced| self.work(fenced, board)).await;
        if worked.is_err() || worked == Ok(Written::Lost) {
            holder.notes.note(LeaseNote::Lost { lease: lease_name.clone(), token });
        }
        holder.notes.note(LeaseNote::Releasing { lease: lease_name, token });
        holder.freezer.pass(FreezeAt::BeforeRelease);
        guard.release().await;
    }

    async fn work(&mut self, fenced: Fenced, board: Board) -> Written {
        let first = match self.holder.sinks.open(&fenced).await {
            Ok(first) => first,
            Err(written) => return written,
        };
        let habits = self.holder.habits.clone();
        if board.hangs && std::mem::replace(&mut self.hung_in, board.round) < board.round {
            let hangs = self.dice.below(1000) < habits.hang_per_mille;
            if hangs {
                std::future::pending::<()>().await;
            }
        }
        let more = habits.turn_max.saturating_sub(habits.turn_min) + 1;
        let last = board.units.min(first + habits.turn_min + self.dice.below(more));
        for unit in first..last {
            sleep(Duration::from_millis(self.dice.below(habits.think_ms.max(1)))).await;
            if let Some(gate) = habits.gate.as_deref().filter(|_| unit >= habits.hold_from) {
                pass_gate(gate, &fenced).await;
            }
            let freezes = self.holder.freezer.is_due(FreezeAt::BeforeBegin);
            let late = freezes || self.dice.below(1000) < habits.late_per_mille;
            let written = match late {
                true => self.late(&fenced, unit, habits.late_ms).await,
                false => self.holder.sinks.unit(&fenced, unit, true).await,
            };
            if written != Written::Committed {
                return written;
            }
        }
        Written::Committed
    }

    /// Hands the write to a task that nobody cancels, as a packet is handed to a network.
    async fn late(&mut self, fenced: &Fenced, unit: u64, late_ms: u64) -> Written {
        let delay = Duration::from_millis(self.dice.below(late_ms.max(1)));
        let (sinks, fenced) = (self.holder.sinks.clone(), fenced.clone());
        let (told, written) = oneshot::channel();
        self.holder.tasks.spawn("late-write", async move {
            sleep(delay).await;
            // Whoever asked may be gone.
            told.send(sinks.unit(&fenced, unit, false).await).ok();
        });
        written.await.unwrap_or(Written::Unknown)
    }
}

async fn pass_gate(gate: &Path, fenced: &Fenced) {
    while !gate.exists() {
        fenced.progress();
        sleep(GATE_INTERVAL).await;
    }
}
