//! The broker's jars, resolved once by Maven and kept in .local/kafka/lib.

use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use sha2::{Digest as _, Sha256};
use tokio::process::Command;

const POM: &str = include_str!("../../../../deploy/local/kafka/pom.xml");

/// The directory with the jars that deploy/local/kafka/pom.xml names, fetched when it is not there yet.
///
/// # Errors
/// When Maven is missing or can't resolve them.
pub async fn fetch() -> Result<PathBuf> {
    let base = crate::workspace::state_dir().join("kafka");
    let library = base.join("lib");
    // The name carries the pom's hash: another Kafka version is fetched again, a half copy is never used.
    let complete = base.join(format!("complete-{}", short_hash(POM)));
    if complete.exists() {
        return Ok(library);
    }
    std::fs::create_dir_all(&base).context("creating the directory for Kafka's jars")?;
    let lock = lock(&base.join("lock")).await?;
    if !complete.exists() {
        copy_jars(&library).await?;
        std::fs::write(&complete, "").context("marking Kafka's jars as complete")?;
    }
    drop(lock);
    Ok(library)
}

/// A file that is kept beside the jars, and made anew for another Kafka version.
pub(super) fn kept_beside(name: &str) -> PathBuf {
    crate::workspace::state_dir().join("kafka").join(format!("{}-{name}", short_hash(POM)))
}

/// Two test binaries may start at once; the second waits for the first one's copy.
async fn lock(path: &Path) -> Result<File> {
    let mut options = OpenOptions::new();
    options.create(true).truncate(false).write(true);
    let file = options.open(path).context("opening the lock for Kafka's jars")?;
    tokio::task::spawn_blocking(move || file.lock().map(|()| file))
        .await
        .context("waiting for another fetch of Kafka's jars")?
        .context("locking the fetch of Kafka's jars")
}

async fn copy_jars(library: &Path) -> Result<()> {
    if library.exists() {
        std::fs::remove_dir_all(library).context("removing an older Kafka")?;
    }
    let pom = crate::workspace::root().join("deploy/local/kafka/pom.xml");
    let mut maven = Command::new("mvn");
    maven
        .args(["--batch-mode", "--quiet", "--file"])
        .arg(pom)
        .arg("dependency:copy-dependencies")
        .args(["-DincludeScope=runtime", &format!("-DoutputDirectory={}", library.display())])
        .kill_on_drop(true);
    crate::postgres::run("mvn", maven).await.context(
        "fetching Kafka's jars (a JDK and Maven are needed: apt-get install default-jdk-headless maven)",
    )
}

fn short_hash(text: &str) -> String {
    Sha256::digest(text.as_bytes()).iter().take(6).map(|byte| format!("{byte:02x}")).collect()
}
