//! Where things lie: the checkout, its state directory, the binaries that were built.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// The checkout this test kit was compiled in.
#[must_use]
pub fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).unwrap_or(here).to_path_buf()
}

/// State of the native stack and of running tests; ignored by git, safe to delete when nothing runs.
#[must_use]
pub fn state_dir() -> PathBuf {
    root().join(".local")
}

/// The binary `name` beside the running executable: `target/debug/name` for a test in `target/debug/deps`.
///
/// # Errors
/// When it was not built; the message says how to build it.
pub fn binary(name: &str) -> Result<PathBuf> {
    let running = std::env::current_exe().context("finding the running executable")?;
    let directory = running.parent().context("the running executable has no directory")?;
    let target = if directory.ends_with("deps") {
        directory.parent().unwrap_or(directory)
    } else {
        directory
    };
    let path = target.join(name);
    anyhow::ensure!(
        path.is_file(),
        "{} was not built: run `cargo build --workspace` first",
        path.display()
    );
    Ok(path)
}
