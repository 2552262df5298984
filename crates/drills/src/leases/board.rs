//! What is to be done: a file that the conductor writes and holders look at.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use millrace_runtime::CancellationToken;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

const INTERVAL: Duration = Duration::from_millis(10);

/// How far each lease's work is to go.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Board {
    /// The round, from 1.
    pub round: u64,
    /// Units of each lease, from 0, that are to be done in the end.
    pub units: u64,
    /// Whether work may hang in this round.
    pub hangs: bool,
}

impl Board {
    /// Shows it to the holders.
    ///
    /// # Errors
    /// When the file can't be written.
    pub fn show(self, file: &Path) -> Result<()> {
        let text = serde_json::to_string(&self).context("writing the board")?;
        let new = file.with_extension("new");
        std::fs::write(&new, text).context("writing the board")?;
        // In one step: nobody reads half of it.
        std::fs::rename(&new, file).context("showing the board")
    }

    fn read(file: &Path) -> Option<Self> {
        serde_json::from_str(&std::fs::read_to_string(file).ok()?).ok()
    }
}

/// Looks at the board until `stop`.
pub(super) async fn look(
    file: std::path::PathBuf,
    board: watch::Sender<Board>,
    stop: CancellationToken,
) {
    while !stop.is_cancelled() {
        if let Some(now) = Board::read(&file) {
            board.send_if_modified(|seen| std::mem::replace(seen, now) != now);
        }
        tokio::select! {
            () = stop.cancelled() => {}
            () = tokio::time::sleep(INTERVAL) => {}
        }
    }
}
