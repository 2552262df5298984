//! Where the native stack keeps its things, all under .local.

use std::fs::{File, OpenOptions};
use std::path::PathBuf;

use anyhow::{Context, Result};
use millrace_testkit::{postgres, workspace};

/// Pid files.
pub(crate) fn run() -> PathBuf {
    workspace::state_dir().join("run")
}

/// Output of every component.
pub(crate) fn logs() -> PathBuf {
    workspace::state_dir().join("log")
}

/// One component's output.
pub(crate) fn log(component: &str) -> PathBuf {
    logs().join(format!("{component}.log"))
}

/// Keys and passwords, readable by their owner alone.
pub(crate) fn secrets() -> PathBuf {
    workspace::state_dir().join("secrets")
}

/// Received spans.
pub(crate) fn traces() -> PathBuf {
    workspace::state_dir().join("traces")
}

/// PostgreSQL's data; outside the checkout when the postgres account can't enter it.
pub(crate) fn postgres() -> PathBuf {
    postgres::reachable(workspace::state_dir().join("postgres"), || {
        let place: String = workspace::root()
            .display()
            .to_string()
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
            .collect();
        PathBuf::from("/var/tmp").join(format!("millrace{place}"))
    })
}

/// Redis' data.
pub(crate) fn redis() -> PathBuf {
    workspace::state_dir().join("redis")
}

/// Kafka's data and settings.
pub(crate) fn kafka() -> PathBuf {
    workspace::state_dir().join("kafka-data")
}

/// Held by `up` and `down`, so that two of them don't start or stop the same thing.
pub(crate) fn lock() -> Result<File> {
    std::fs::create_dir_all(run()).context("creating .local/run")?;
    let path = run().join("lock");
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .with_context(|| format!("opening {}", path.display()))?;
    file.try_lock().context("another `make up` or `make down` is at work")?;
    Ok(file)
}
