//! Where log lines go.

use std::collections::VecDeque;
use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};

/// A test that logs more than this has other problems.
const CAPTURED_LINES_MAX: usize = 50_000;

/// Log lines kept in memory, so that a test can read them. Cloning shares them.
#[derive(Debug, Clone, Default)]
pub struct LogCapture(Arc<Mutex<VecDeque<String>>>);

impl LogCapture {
    /// The lines so far, oldest first.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }

    /// The lines of one level (`ERROR`, `WARN`, ...).
    #[must_use]
    pub fn lines_at(&self, level: &str) -> Vec<String> {
        let mark = format!("\"level\":\"{level}\"");
        self.lines().into_iter().filter(|line| line.contains(&mark)).collect()
    }

    fn push(&self, line: &str) {
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.len() == CAPTURED_LINES_MAX {
            lines.pop_front();
        }
        lines.push_back(line.trim_end().to_owned());
    }
}

/// Standard output for services, memory for tests.
#[derive(Debug, Clone)]
pub(crate) enum Sink {
    Stdout,
    Memory(LogCapture),
}

impl Sink {
    /// Writes one line, which ends with a newline, in one call: lines of several threads never mix.
    pub(crate) fn write(&self, line: &str) {
        match self {
            // Nobody is left to tell when standard output is closed.
            Self::Stdout => drop(std::io::stdout().lock().write_all(line.as_bytes())),
            Self::Memory(capture) => capture.push(line),
        }
    }
}
