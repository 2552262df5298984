//! Follows the notes while they are written.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use millrace_checker::{Event, History, Outcome, What};
use uuid::Uuid;

/// What the notes say so far. Reading again reads only what is new.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    read: BTreeMap<PathBuf, u64>,
    /// Records that the broker has acknowledged.
    pub(crate) acked: BTreeSet<Uuid>,
    /// Records that took effect outside a store.
    pub(crate) effects: BTreeSet<Uuid>,
    /// Records that a handler gave up.
    pub(crate) given_up: BTreeSet<Uuid>,
    /// Commits that were seen to bring a partition past its first record.
    pub(crate) commits: usize,
    /// Partitions that were given back or taken, by member.
    pub(crate) gone: BTreeMap<String, usize>,
    /// Records that handlers began, by member.
    pub(crate) started: BTreeMap<String, usize>,
}

impl Watch {
    /// Reads what was added to the notes in this directory.
    pub(crate) fn look(&mut self, directory: &Path) -> Result<()> {
        for entry in std::fs::read_dir(directory).context("listing the notes")? {
            let path = entry.context("listing the notes")?.path();
            if path.extension().is_none_or(|extension| extension != "jsonl") {
                continue;
            }
            for event in self.more_of(path)? {
                self.take(&event);
            }
        }
        Ok(())
    }

    fn more_of(&mut self, path: PathBuf) -> Result<Vec<Event>> {
        let mut file = File::open(&path).context("opening notes")?;
        let from = self.read.entry(path).or_default();
        file.seek(SeekFrom::Start(*from)).context("reading notes")?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).context("reading notes")?;
        // A line that is being written is read next time.
        let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        *from += u64::try_from(whole).unwrap_or(0);
        let text = std::str::from_utf8(&bytes[..whole]).context("reading notes")?;
        History::read_events(text).context("reading notes")
    }

    fn take(&mut self, event: &Event) {
        match &event.what {
            What::Acked { id, .. } => {
                self.acked.insert(*id);
            }
            What::Effect { id, .. } => {
                self.effects.insert(*id);
            }
            What::Settled { id, outcome: Outcome::Dead } => {
                self.given_up.insert(*id);
            }
            What::Started { .. } => *self.started.entry(event.by.clone()).or_default() += 1,
            What::Committed { offset, .. } => self.commits += usize::from(*offset > 0),
            What::Revoked { .. } | What::Lost { .. } => {
                *self.gone.entry(event.by.clone()).or_default() += 1;
            }
            What::Settled { outcome: Outcome::Done, .. }
            | What::Sent { .. }
            | What::SendFailed { .. }
            | What::SendUnknown { .. }
            | What::Assigned { .. }
            | What::Polled { .. }
            | What::Failed { .. }
            | What::Abandoned { .. }
            | What::Zombie { .. }
            | What::Silent { .. }
            | What::Ended { .. } => {}
        }
    }
}
