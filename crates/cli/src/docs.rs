//! The pages under docs/ that are made from the code: written by `millrace docs`, compared by a test.

mod configuration;
mod errors;
mod topics;

use std::path::Path;

use anyhow::{Context, bail};

/// Every generated page: its file name and its text.
pub(crate) fn pages() -> Vec<(&'static str, String)> {
    vec![
        ("configuration.md", configuration::page()),
        ("errors.md", errors::page()),
        ("topics.md", topics::page()),
    ]
}

/// Writes the pages into `folder`, or with `check` fails naming those that differ.
pub(crate) fn write(folder: &Path, check: bool) -> anyhow::Result<()> {
    let mut stale = Vec::new();
    for (name, text) in pages() {
        let path = folder.join(name);
        if check {
            if std::fs::read_to_string(&path).unwrap_or_default() != text {
                stale.push(name);
            }
        } else {
            std::fs::write(&path, text)
                .with_context(|| format!("could not write {}", path.display()))?;
        }
    }
    if !stale.is_empty() {
        bail!("not what the code says: {} (run `make docs`)", stale.join(", "));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_generated_pages_are_what_the_code_says() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs");
        write(&folder, true).unwrap();
    }
}
