//! Cron expressions, parsed by the crate `croner`.
//!
//! A parsed expression takes some 12 KiB and tens of microseconds, so clones share one, and who reads many stored
//! tasks keeps the last ones in [`Expressions`].

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use chrono::{DateTime, Utc};
use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};

/// Times of the wall clock: minute, hour, day of month, month, day of week, optionally seconds before them.
///
/// As in POSIX, an expression that names both days matches when either fits. `L`, `W` and `#` and the names
/// `@hourly` to `@yearly` are understood too. Cloning shares what was parsed.
#[derive(Clone)]
pub struct CronExpression {
    text: String,
    cron: Arc<Cron>,
}

/// Why a text is no expression that a task can have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CronRefusal {
    /// Longer than any sensible expression.
    #[error("cron expression has {length} characters, {max} are allowed")]
    TooLong {
        /// Its length.
        length: usize,
        /// The limit.
        max: usize,
    },
    /// Not an expression.
    #[error("cron expression `{text}` can't be read: {reason}")]
    Malformed {
        /// The expression.
        text: String,
        /// What the parser says.
        reason: String,
    },
    /// Well-formed, and no day fits it, like the 30th of February.
    #[error("cron expression `{text}` never comes true")]
    Never {
        /// The expression.
        text: String,
    },
}

impl CronExpression {
    /// Characters of an expression at most.
    pub const LENGTH_MAX: usize = 256;

    /// Reads an expression and makes sure that it comes true some day.
    ///
    /// # Errors
    /// See [`CronRefusal`].
    pub fn parse(text: &str) -> Result<Self, CronRefusal> {
        let text = text.trim();
        let length = text.chars().count();
        if length > Self::LENGTH_MAX {
            return Err(CronRefusal::TooLong { length, max: Self::LENGTH_MAX });
        }
        let parser =
            CronParser::builder().seconds(Seconds::Optional).year(Year::Disallowed).build();
        let cron = parser.parse(text).map_err(|refusal| CronRefusal::Malformed {
            text: text.to_owned(),
            reason: refusal.to_string(),
        })?;
        let expression = Self { text: text.to_owned(), cron: Arc::new(cron) };
        match expression.wall_at_or_after(0) {
            Some(_) => Ok(expression),
            None => Err(CronRefusal::Never { text: text.to_owned() }),
        }
    }

    /// The expression as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// What it means, in English.
    #[must_use]
    pub fn describe(&self) -> String {
        self.cron.describe()
    }

    /// The first match of the wall clock at or after a time of it. Wall-clock times are counted in seconds as if the
    /// wall hung in Greenwich: the parser then meets no change of the clock and its own rules for them never apply.
    pub(super) fn wall_at_or_after(&self, wall: i64) -> Option<i64> {
        let from: DateTime<Utc> = DateTime::from_timestamp(wall, 0)?;
        self.cron.find_next_occurrence(&from, true).ok().map(|found| found.timestamp())
    }
}

impl fmt::Debug for CronExpression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.text.fmt(f)
    }
}

impl PartialEq for CronExpression {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for CronExpression {}

impl fmt::Display for CronExpression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Parsed expressions by their text, at most [`Expressions::KEPT_MAX`]. Cloning shares them.
#[derive(Debug, Clone, Default)]
pub struct Expressions(Arc<Mutex<HashMap<String, CronExpression>>>);

impl Expressions {
    /// Expressions that are kept at most; some 6 MiB.
    pub const KEPT_MAX: usize = 512;

    /// The expression of this text, parsed now or earlier.
    ///
    /// # Errors
    /// As [`CronExpression::parse`]; refusals are not kept.
    pub fn parse(&self, text: &str) -> Result<CronExpression, CronRefusal> {
        let text = text.trim();
        if let Some(known) = self.lock().get(text) {
            return Ok(known.clone());
        }
        // Outside the lock: others need not wait for a parser.
        let parsed = CronExpression::parse(text)?;
        let mut kept = self.lock();
        if kept.len() >= Self::KEPT_MAX {
            // Which one goes hardly matters: who has more texts than places parses some again, at a bounded cost.
            let one = kept.keys().next().cloned();
            one.and_then(|text| kept.remove(&text));
        }
        kept.insert(text.to_owned(), parsed.clone());
        Ok(parsed)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, CronExpression>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_that_never_come_true_or_mean_nothing_are_refused() {
        for never in ["0 0 30 2 *", "0 0 31 4 *", "0 0 31 2,4,6,9,11 *"] {
            let refused = CronExpression::parse(never);
            assert!(matches!(refused, Err(CronRefusal::Never { .. })), "{never}: {refused:?}");
        }
        for bad in
            ["", "61 * * * *", "* * * *", "*/0 * * * *", "0 0 0 * * * 2030", "\u{0}", "@never"]
        {
            let refused = CronExpression::parse(bad);
            assert!(matches!(refused, Err(CronRefusal::Malformed { .. })), "{bad:?}: {refused:?}");
        }
        let long = CronExpression::parse(&"1,".repeat(200));
        assert!(matches!(long, Err(CronRefusal::TooLong { length: 400, .. })));
    }

    #[test]
    fn only_so_many_expressions_are_kept_and_all_are_answered() {
        let expressions = Expressions::default();
        for minute in 0..60 {
            for hour in 0..10 {
                let text = format!("{minute} {hour} * * *");
                assert_eq!(expressions.parse(&text).unwrap().as_str(), text);
            }
        }
        assert_eq!(expressions.lock().len(), Expressions::KEPT_MAX);
        assert!(expressions.parse("0 0 30 2 *").is_err());
    }
}
