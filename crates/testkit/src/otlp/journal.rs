//! Spans on disk for the native stack: JSON lines in a few files of bounded size, the oldest file thrown away.

use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::SpanRecord;

/// A file is closed when it is this long.
const FILE_BYTES_MAX: u64 = 32 * 1024 * 1024;
/// So many files are kept, the current one included.
const FILES_MAX: usize = 4;
const PREFIX: &str = "spans-";

/// The writing side; one process at a time.
#[derive(Debug)]
pub struct Journal {
    directory: PathBuf,
    number: u64,
    file: File,
    bytes: u64,
}

impl Journal {
    /// Goes on where the last one ended.
    ///
    /// # Errors
    /// When the directory can't be written.
    pub fn open(directory: &Path) -> Result<Self> {
        std::fs::create_dir_all(directory)
            .with_context(|| format!("creating {}", directory.display()))?;
        let number = numbers(directory).last().copied().unwrap_or(1);
        let (file, bytes) = open(directory, number)?;
        Ok(Self { directory: directory.to_path_buf(), number, file, bytes })
    }

    /// Appends spans; a full file is followed by the next one.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn append(&mut self, spans: &[SpanRecord]) -> Result<()> {
        let mut lines = Vec::new();
        for span in spans {
            serde_json::to_writer(&mut lines, span).context("writing a span")?;
            lines.push(b'\n');
        }
        if self.bytes > 0 && self.bytes + lines.len() as u64 > FILE_BYTES_MAX {
            self.next_file()?;
        }
        self.file.write_all(&lines).context("writing spans")?;
        self.bytes += lines.len() as u64;
        Ok(())
    }

    fn next_file(&mut self) -> Result<()> {
        self.number += 1;
        (self.file, self.bytes) = open(&self.directory, self.number)?;
        let all = numbers(&self.directory);
        for old in &all[..all.len().saturating_sub(FILES_MAX)] {
            std::fs::remove_file(path(&self.directory, *old))
                .context("removing the oldest spans")?;
        }
        Ok(())
    }
}

/// All spans of the journal that `wanted` picks.
///
/// # Errors
/// When a file can't be read.
pub fn read(directory: &Path, wanted: impl Fn(&SpanRecord) -> bool) -> Result<Vec<SpanRecord>> {
    let mut spans = Vec::new();
    for number in numbers(directory) {
        let file = File::open(path(directory, number)).context("opening the spans")?;
        for line in BufReader::new(file).lines() {
            // The last line may be half written right now.
            let line = line.context("reading the spans")?;
            if let Ok(span) = serde_json::from_str::<SpanRecord>(&line)
                && wanted(&span)
            {
                spans.push(span);
            }
        }
    }
    Ok(spans)
}

/// All spans of the traces in which an order went a step: those with a span that bears its id, as a message's key
/// or in a path. Somebody merely reading the order is no step.
///
/// # Errors
/// When a file can't be read.
pub fn of_order(directory: &Path, order: &str) -> Result<Vec<SpanRecord>> {
    let concerned = read(directory, |span| {
        span.attribute("http.request.method") != Some("GET")
            && span.attributes.values().any(|value| value.contains(order))
    })?;
    let traces: BTreeSet<String> = concerned.into_iter().map(|span| span.trace_id).collect();
    read(directory, |span| traces.contains(&span.trace_id))
}

fn open(directory: &Path, number: u64) -> Result<(File, u64)> {
    let path = path(directory, number);
    let file = OpenOptions::new()
        .create(true)
        .append(true)
        .open(&path)
        .with_context(|| format!("opening {}", path.display()))?;
    let bytes = file.metadata().context("measuring the spans")?.len();
    Ok((file, bytes))
}

fn path(directory: &Path, number: u64) -> PathBuf {
    directory.join(format!("{PREFIX}{number:06}.jsonl"))
}

fn numbers(directory: &Path) -> Vec<u64> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let mut numbers: Vec<u64> = entries
        .filter_map(|entry| {
            let name = entry.file_name().to_string_lossy().into_owned();
            name.strip_prefix(PREFIX)?.strip_suffix(".jsonl")?.parse().ok()
        })
        .collect();
    numbers.sort_unstable();
    numbers
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(name: &str, ballast: usize) -> SpanRecord {
        let text = "x".repeat(ballast);
        serde_json::from_value(serde_json::json!({
            "trace_id": "t", "span_id": name, "parent_span_id": "", "name": name, "service": "s",
            "kind": "server", "start_ns": 1, "end_ns": 2, "attributes": {"ballast": text},
            "links": [], "error": false, "status_message": ""
        }))
        .unwrap()
    }

    #[test]
    fn the_journal_keeps_the_newest_spans_within_its_bound() {
        let directory = tempfile::tempdir().unwrap();
        let mut journal = Journal::open(directory.path()).unwrap();
        let ballast = usize::try_from(FILE_BYTES_MAX / 2 + 1).unwrap();
        for number in 0..7 {
            journal.append(&[span(&number.to_string(), ballast)]).unwrap();
        }
        drop(journal);
        let mut again = Journal::open(directory.path()).unwrap();
        again.append(&[span("last", 0)]).unwrap();

        let kept = read(directory.path(), |_| true).unwrap();
        let names: Vec<&str> = kept.iter().map(|span| span.name.as_str()).collect();
        assert_eq!(names, ["3", "4", "5", "6", "last"]);
        assert_eq!(numbers(directory.path()).len(), FILES_MAX);
    }
}
