//! A gate that handlers wait at until the conductor opens it.
//!
//! A drill that kills or freezes a member while it has work in hand must not hope that the member is slow enough: it
//! holds the work there, waits until it sees it begun, strikes, and opens the gate when all that it wanted has
//! happened. The gate is a file, open as soon as it exists: a member that stood still sees it at once when it goes on.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

/// How often a handler that is held looks whether the gate is open.
const INTERVAL: Duration = Duration::from_millis(5);

/// Which records wait, and for what.
#[derive(Debug, Clone, Args)]
pub(super) struct Gate {
    /// The file whose existence opens the gate; without it nothing is held.
    #[arg(long)]
    gate: Option<PathBuf>,
    /// Records from this offset of their partition on are held.
    #[arg(long, default_value_t = 0)]
    hold_from: i64,
    /// Records from this offset of their partition on are not held.
    #[arg(long, default_value_t = i64::MAX)]
    hold_below: i64,
}

impl Gate {
    /// Returns when a record at this offset may go on.
    pub(super) async fn pass(&self, offset: i64) {
        let Some(gate) = &self.gate else { return };
        if !(self.hold_from..self.hold_below).contains(&offset) {
            return;
        }
        while !gate.exists() {
            tokio::time::sleep(INTERVAL).await;
        }
    }
}
