//! What conductors ask about the processes that they conduct.

use std::path::Path;

use anyhow::{Context, Result};
use millrace_testkit::Process;
use millrace_testkit::pid::ProcessId;

const TAIL_LINES: usize = 60;

/// Its output lies beside its notes, for whoever has to find out what it thought.
pub(crate) fn keep_output(directory: &Path, name: &str, process: &Process) {
    let file = directory.join(format!("{name}.log"));
    if let Err(error) = std::fs::write(&file, process.output()) {
        tracing::warn!(%error, "the output of {name} was not kept");
    }
}

/// Fails when a process has ended before anybody asked it to, and tells how: by which signal, when it was one, and what
/// it said last.
pub(crate) fn still_runs(name: &str, process: &Process) -> Result<()> {
    let Some(status) = process.exited() else { return Ok(()) };
    let output = process.output();
    let lines: Vec<&str> = output.lines().collect();
    let last = lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n");
    anyhow::bail!("{name} ended by itself with {status}, and said last:\n{last}")
}

/// True when the kernel says so, and the process's state when not.
pub(crate) fn stopped(pid: u32) -> Result<(), String> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
    match state {
        Some('T') => Ok(()),
        other => Err(format!("{other:?}, {:?}", ProcessId::of(pid))),
    }
}

/// Copies what was noted to where it stays.
pub(crate) fn copy_notes(from: &Path, to: &Path) -> Result<()> {
    std::fs::create_dir_all(to).context("making the directory for the notes")?;
    for entry in std::fs::read_dir(from).context("listing the notes")? {
        let entry = entry.context("listing the notes")?;
        std::fs::copy(entry.path(), to.join(entry.file_name())).context("copying notes")?;
    }
    Ok(())
}
