//! What a task is: its id, and the form that operators, code and the table share.
//!
//! [`TaskForm`] is what somebody wrote: texts and numbers, nothing promised. [`TaskSpec`] is what it means, and can only
//! be made by reading a form, which collects everything that is wrong with it in one go.

mod form;
mod spec;
mod words;

use std::fmt;

pub use form::{RetryForm, ScheduleForm, TaskForm};
pub use spec::{Retry, SpecProblem, SpecRefused, TaskSpec};

/// The name of a task: 1 to 128 of `a-z`, `0-9`, `.`, `_` and `-`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TaskId(String);

/// A text is no task's name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("task id `{text}` must be 1 to {max} of a-z, 0-9, `.`, `_` and `-`", max = TaskId::LENGTH_MAX)]
pub struct TaskIdRefused {
    /// The text, shortened.
    pub text: String,
}

impl TaskId {
    /// Characters of a name at most.
    pub const LENGTH_MAX: usize = 128;

    /// Reads a name.
    ///
    /// # Errors
    /// When it is empty, too long, or has another character.
    pub fn parse(text: &str) -> Result<Self, TaskIdRefused> {
        let fits = (1..=Self::LENGTH_MAX).contains(&text.len())
            && text.bytes().all(|byte| {
                byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._-".contains(&byte)
            });
        if fits {
            return Ok(Self(text.to_owned()));
        }
        Err(TaskIdRefused { text: text.chars().take(Self::LENGTH_MAX).collect() })
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_short_and_plain() {
        for good in ["a", "expire-unpaid", "a.b_c-9", &"x".repeat(128)] {
            assert_eq!(TaskId::parse(good).unwrap().as_str(), good);
        }
        for bad in ["", "A", "a b", "a/b", "ä", "a\0", &"x".repeat(129)] {
            assert!(TaskId::parse(bad).is_err(), "{bad:?}");
        }
    }
}
