//! What can be asked of the log: filters that all must hold.

use chrono::{DateTime, Utc};

use crate::pipeline::line::Level;

/// Statuses from one to another, both included: one status, or a class such as `5xx`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct StatusRange {
    pub(crate) first: u16,
    pub(crate) last: u16,
}

impl StatusRange {
    /// Reads `404` or `4xx`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        if text.len() != 3 {
            return None;
        }
        let (first, last) = match text.strip_suffix("xx") {
            Some(class) => (format!("{class}00"), format!("{class}99")),
            None => (text.to_owned(), text.to_owned()),
        };
        // `parse` alone would take a sign.
        let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        let (first, last) =
            (digits(&first) && digits(&last)).then(|| (first.parse().ok(), last.parse().ok()))?;
        let range = Self { first: first?, last: last? };
        (100..=599).contains(&range.first).then_some(range)
    }
}

/// Filters; those that are given must all hold.
#[derive(Debug, Clone, Default)]
pub(crate) struct LineFilter {
    pub(crate) service: Option<String>,
    pub(crate) trace_id: Option<String>,
    pub(crate) level: Option<Level>,
    pub(crate) status: Option<StatusRange>,
    /// From this instant on.
    pub(crate) from: Option<DateTime<Utc>>,
    /// Before this instant.
    pub(crate) to: Option<DateTime<Utc>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_exact_or_a_class() {
        let range = |text| StatusRange::parse(text).map(|range| (range.first, range.last));
        assert_eq!(range("404"), Some((404, 404)));
        assert_eq!(range("5xx"), Some((500, 599)));
        for text in
            ["", "x", "xxx", "6xx", "0xx", "99", "600", "+40", "-xx", "4XX", "40x", "4xxx", "é0"]
        {
            assert_eq!(range(text), None, "{text}");
        }
    }
}
