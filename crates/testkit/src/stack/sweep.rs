//! The files of one run, and the removal of those that killed runs left behind.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::pid::ProcessId;

const PREFIX: &str = "test-";
const OWNER_FILE: &str = "owner.json";

/// A directory `.local/test-...` that is removed with its stack.
pub(crate) struct RunDirectory {
    path: PathBuf,
    outside: PathBuf,
}

impl RunDirectory {
    /// Makes a new one, after removing those whose owner is dead.
    pub(crate) fn create() -> Result<Self> {
        let runs = super::runs();
        sweep(&runs);
        let name = format!("{PREFIX}{}-{:08x}", std::process::id(), rand::random::<u32>());
        let path = runs.join(&name);
        std::fs::create_dir_all(&path).context("creating the run's directory")?;
        let owner = ProcessId::current().context("reading this process's start time")?;
        let text = serde_json::to_string(&owner).context("writing the run's owner")?;
        std::fs::write(path.join(OWNER_FILE), text).context("writing the run's owner")?;
        Ok(Self { path, outside: outside(&name) })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// A place for what may not lie under the run's directory (see `postgres::reachable`).
    pub(crate) fn outside(&self, name: &str) -> PathBuf {
        self.outside.join(name)
    }
}

impl Drop for RunDirectory {
    fn drop(&mut self) {
        remove(&self.path);
        remove(&self.outside);
    }
}

fn outside(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("millrace-{name}"))
}

fn sweep(runs: &Path) {
    for entry in std::fs::read_dir(runs).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if !name.starts_with(PREFIX) {
            continue;
        }
        // A directory without an owner yet is being made right now.
        let owner: Option<ProcessId> = std::fs::read_to_string(entry.path().join(OWNER_FILE))
            .ok()
            .and_then(|text| serde_json::from_str(&text).ok());
        if owner.is_some_and(|owner| !owner.alive()) {
            remove(&entry.path());
            remove(&outside(&name));
        }
    }
}

/// Best effort: what can't be removed now is swept by a later run.
fn remove(path: &Path) {
    crate::disk::unmount_below(path);
    drop(std::fs::remove_dir_all(path));
}
