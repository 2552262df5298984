//! Holds records in a member's hands until they are released.

use std::ops::Range;
use std::path::PathBuf;

use anyhow::{Context, Result};

use super::{Arena, Member};

/// Records that members keep in hand until [`Hold::release`].
#[derive(Debug)]
pub struct Hold {
    file: PathBuf,
    offsets: Range<i64>,
}

impl Arena<'_> {
    /// Holds the records at these offsets, of every partition.
    #[must_use]
    pub fn hold(&self, offsets: Range<i64>) -> Hold {
        Hold { file: self.directory().join(format!("{}.gate", self.next_name())), offsets }
    }

    /// Starts a member that keeps these records in hand.
    ///
    /// # Errors
    /// As [`Arena::start`].
    pub fn start_holding(&self, hold: &Hold, arguments: &[&str]) -> Result<Member> {
        let own = hold.arguments();
        let all: Vec<&str> =
            arguments.iter().copied().chain(own.iter().map(String::as_str)).collect();
        self.start(&all)
    }

    /// Holds every record from this offset on, of every partition.
    #[must_use]
    pub fn hold_from(&self, offset: i64) -> Hold {
        self.hold(offset..i64::MAX)
    }
}

impl Hold {
    fn arguments(&self) -> Vec<String> {
        [
            ("--gate", self.file.display().to_string()),
            ("--hold-from", self.offsets.start.to_string()),
            ("--hold-below", self.offsets.end.to_string()),
        ]
        .into_iter()
        .flat_map(|(name, value)| [name.to_owned(), value])
        .collect()
    }

    /// Lets them go on, those of a member that stands still as soon as it goes on.
    ///
    /// # Errors
    /// When the file can't be made.
    pub fn release(&self) -> Result<()> {
        std::fs::write(&self.file, "").context("opening the gate")
    }
}
