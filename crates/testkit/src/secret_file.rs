//! Files that only their owner may read.

use std::fs::{DirBuilder, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;

use anyhow::{Context, Result};

/// Writes `content` to a new file with mode 0600 and puts it in `path`'s place.
///
/// # Errors
/// When it can't be written.
pub fn write(path: &Path, content: &[u8]) -> Result<()> {
    if let Some(directory) = path.parent() {
        let mut builder = DirBuilder::new();
        builder.recursive(true).mode(0o700);
        builder.create(directory).with_context(|| format!("creating {}", directory.display()))?;
    }
    let draft = path.with_extension("draft");
    // A draft left by a killed run would keep its own mode.
    std::fs::remove_file(&draft).ok();
    let mut options = OpenOptions::new();
    options.create_new(true).write(true).mode(0o600);
    let mut file = options.open(&draft).with_context(|| format!("creating {}", draft.display()))?;
    file.write_all(content).with_context(|| format!("writing {}", draft.display()))?;
    std::fs::rename(&draft, path).with_context(|| format!("writing {}", path.display()))
}

/// The secret kept in `path`, a new random one if there is none: 64 hexadecimal digits.
///
/// # Errors
/// When it can't be read or written.
pub fn load_or_create(path: &Path) -> Result<String> {
    if !path.exists() {
        let bytes: [u8; 32] = rand::random();
        let text: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        write(path, text.as_bytes())?;
    }
    let text =
        std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
    Ok(text.trim().to_owned())
}
