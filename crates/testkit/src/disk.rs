//! A disk that can be full: a small file system in memory, mounted where a server keeps its data.
//!
//! Mounting needs root. A machine that doesn't allow it fails the test and says so: a full disk that was not tried is a
//! promise that was not kept.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

const BALLAST: &str = "ballast";

/// A mounted file system of a fixed size; unmounted when dropped.
#[derive(Debug)]
pub struct SmallDisk {
    path: PathBuf,
}

impl SmallDisk {
    /// Mounts one of so many bytes at `path`, which is made when it isn't there.
    ///
    /// # Errors
    /// When the system doesn't let us mount.
    pub fn mount(path: &Path, bytes: u64) -> Result<Self> {
        std::fs::create_dir_all(path).with_context(|| format!("creating {}", path.display()))?;
        let size = format!("size={bytes},mode=0755");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(path);
        run(&mut mount).context("a full disk needs the right to mount (run the tests as root)")?;
        Ok(Self { path: path.to_owned() })
    }

    /// Where it is mounted.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Fills what is left of it with a file of its own.
    ///
    /// # Errors
    /// When writing fails for another reason than that it is full.
    pub fn fill(&self) -> Result<()> {
        let mut ballast = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.path.join(BALLAST))
            .context("opening the ballast")?;
        // Smaller and smaller, so that not even a page is left.
        for size in [1 << 20, 4096, 1] {
            loop {
                match ballast.write_all(&vec![0xa5; size]) {
                    Ok(()) => {}
                    Err(error) if error.kind() == std::io::ErrorKind::StorageFull => break,
                    Err(error) => return Err(error).context("filling the disk"),
                }
            }
        }
        Ok(())
    }

    /// Makes room again.
    ///
    /// # Errors
    /// When the ballast can't be removed.
    pub fn free(&self) -> Result<()> {
        match std::fs::remove_file(self.path.join(BALLAST)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(error).context("removing the ballast")
            }
            Ok(()) | Err(_) => Ok(()),
        }
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        unmount(&self.path);
    }
}

/// Unmounts what killed runs left mounted below `directory`.
pub(crate) fn unmount_below(directory: &Path) {
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let points = mounts.lines().filter_map(|line| line.split(' ').nth(1)).map(Path::new);
    for point in points.filter(|point| point.starts_with(directory)) {
        unmount(point);
    }
}

/// Lazily: a server that ends just now may still have a file open.
fn unmount(path: &Path) {
    run(Command::new("umount").arg("--lazy").arg(path)).ok();
}

fn run(command: &mut Command) -> Result<()> {
    let output = command.output().context("running mount")?;
    let words = String::from_utf8_lossy(&output.stderr);
    anyhow::ensure!(output.status.success(), "{}: {}", output.status, words.trim());
    Ok(())
}
