//! Settings: defaults, one overlay file, then the environment, and nothing else.
//!
//! The defaults are complete TOML texts, compiled in, one per section, owned by the crate whose struct reads
//! them. Because they are complete, a key that they don't have is unknown, and a value of the wrong type can be
//! put aside for its default so that the next problem is found too: a start with five bad settings reports five
//! lines. Environment variables are `PREFIX__SECTION__KEY`.

pub mod duration;
mod layers;
mod secret;

use std::fmt;

pub use bytesize::ByteSize;
pub use layers::{Layers, load};
pub use secret::Secret;

/// Everything that is wrong with the settings, found in one go.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Problems(Vec<String>);

impl Problems {
    /// No problem yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds one: `key` is the dotted path, `problem` completes the sentence «key ...».
    pub fn add(&mut self, key: impl fmt::Display, problem: impl fmt::Display) {
        self.0.push(format!("{key}: {problem}"));
    }

    /// Adds the problem unless `holds`.
    pub fn require(&mut self, holds: bool, key: impl fmt::Display, problem: impl fmt::Display) {
        if !holds {
            self.add(key, problem);
        }
    }

    /// True when nothing was found.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The problems, a line each.
    #[must_use]
    pub fn lines(&self) -> &[String] {
        &self.0
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} problem(s) in the configuration", self.0.len())?;
        for line in &self.0 {
            write!(f, "\n  {line}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

/// Settings that can check themselves once they are typed.
pub trait Validate {
    /// Adds every problem found to `problems`.
    fn validate(&self, problems: &mut Problems);
}
