//! A process's notes.
//!
//! Each is one line and one write to the file, before the process takes its next step: what the kernel has taken
//! survives SIGKILL, and a line that is torn by it is the last one, which the checker skips.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::marker::PhantomData;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result};
use millrace_checker::{Event, What};
use millrace_runtime::Clock;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Where one process notes what it does, about messages unless `W` says otherwise. Cloning shares the file.
#[derive(Debug, Clone)]
pub struct Notes<W = What> {
    by: Arc<str>,
    file: Arc<Mutex<File>>,
    clock: Clock,
    words: PhantomData<fn(W)>,
}

impl<W: Serialize> Notes<W> {
    /// Opens the file for the process called `by`.
    ///
    /// # Errors
    /// When it can't be opened.
    pub fn open(path: &Path, by: &str) -> Result<Self> {
        let mut options = OpenOptions::new();
        let file = options.create(true).append(true).open(path);
        let file = file.with_context(|| format!("opening {}", path.display()))?;
        let file = Arc::new(Mutex::new(file));
        Ok(Self { by: by.into(), file, clock: Clock::system(), words: PhantomData })
    }

    /// The name under which it notes.
    #[must_use]
    pub fn by(&self) -> &str {
        &self.by
    }

    /// The instant that a note of now would carry.
    #[must_use]
    pub fn now_us(&self) -> i64 {
        self.clock.now().timestamp_micros()
    }

    /// Notes that this happens now.
    ///
    /// # Panics
    /// When the file can't be written: a drill without notes proves nothing.
    pub fn note(&self, what: W) {
        // Inside the lock, so that the file is in the order of its times.
        let file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        write(&file, &Event { at_us: self.now_us(), by: self.by.to_string(), what });
    }

    /// Notes what happened at an instant that has passed.
    ///
    /// # Panics
    /// As [`Notes::note`].
    pub fn note_at(&self, at_us: i64, what: W) {
        let file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        write(&file, &Event { at_us, by: self.by.to_string(), what });
    }
}

/// All notes in this directory, process by process.
pub(crate) fn read_all<W: DeserializeOwned>(directory: &Path) -> Result<Vec<Event<W>>> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(directory).context("listing the notes")? {
        let path = entry.context("listing the notes")?.path();
        if path.extension().is_none_or(|extension| extension != "jsonl") {
            continue;
        }
        let text = std::fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
        let text = String::from_utf8_lossy(&text);
        let events = Event::read_all(&text);
        all.extend(events.with_context(|| format!("reading {}", path.display()))?);
    }
    Ok(all)
}

fn write<W: Serialize>(mut file: &File, event: &Event<W>) {
    let mut line = serde_json::to_string(event).expect("texts, numbers and ids are always JSON");
    line.push('\n');
    file.write_all(line.as_bytes()).expect("a drill without notes proves nothing");
}
