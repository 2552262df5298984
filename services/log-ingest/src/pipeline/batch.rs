//! Sorts what came: lines to store, and lines dropped with a reason. Pure.
//!
//! Every record of a batch is one or the other, so that the accounts add up: received = stored + duplicates +
//! dropped. A line outside the window is dropped, not moved to another day: a day that nobody keeps would be made
//! for it (a clock in 1970 or 2106), or it would lie about its time.

use std::collections::BTreeSet;

use chrono::{Days, NaiveDate};
use millrace_common::envelope::Envelope;
use millrace_common::request_log::RequestLogEvent;

use super::line::{Line, Malformed};

/// The days whose lines are stored, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Window {
    pub(crate) oldest: NaiveDate,
    pub(crate) newest: NaiveDate,
}

impl Window {
    /// The days around `today`.
    pub(crate) fn around(today: NaiveDate, days_back: u16, days_ahead: u16) -> Self {
        let back = Days::new(u64::from(days_back));
        let ahead = Days::new(u64::from(days_ahead));
        Self {
            oldest: today.checked_sub_days(back).unwrap_or(NaiveDate::MIN),
            newest: today.checked_add_days(ahead).unwrap_or(NaiveDate::MAX),
        }
    }

    fn contains(&self, day: NaiveDate) -> bool {
        (self.oldest..=self.newest).contains(&day)
    }
}

/// A batch, sorted.
#[derive(Debug, Default)]
pub(crate) struct Sorted {
    /// What is to be stored.
    pub(crate) lines: Vec<Line>,
    /// How many lay outside the window.
    pub(crate) out_of_window: u64,
    /// How many could not be stored as they are.
    pub(crate) malformed: u64,
    /// What was wrong with the first of those, for the log.
    pub(crate) first_malformed: Option<Malformed>,
}

impl Sorted {
    /// The days whose partitions the lines need.
    pub(crate) fn days(&self) -> BTreeSet<NaiveDate> {
        self.lines.iter().map(Line::day).collect()
    }
}

/// Sorts a batch.
pub(crate) fn sort<'a>(
    envelopes: impl Iterator<Item = &'a Envelope<RequestLogEvent>>,
    window: Window,
) -> Sorted {
    let mut sorted = Sorted::default();
    for envelope in envelopes {
        match Line::parse(envelope) {
            Ok(line) if window.contains(line.day()) => sorted.lines.push(line),
            Ok(_) => sorted.out_of_window += 1,
            Err(malformed) => {
                sorted.malformed += 1;
                sorted.first_malformed.get_or_insert(malformed);
            }
        }
    }
    sorted
}

#[cfg(test)]
mod tests {
    use super::super::line::tests::envelope;
    use super::*;

    fn at(day: &str) -> Envelope<RequestLogEvent> {
        let mut envelope = envelope(|_| {});
        let start: NaiveDate = day.parse().unwrap();
        envelope.timestamp = start.and_hms_opt(23, 59, 59).unwrap().and_utc().timestamp_millis();
        envelope
    }

    #[test]
    fn every_record_is_stored_or_dropped_with_a_reason() {
        let window = Window::around("2026-03-10".parse().unwrap(), 7, 1);
        let envelopes = [
            at("2026-03-02"),
            at("2026-03-03"),
            at("2026-03-10"),
            at("2026-03-11"),
            at("2026-03-12"),
            envelope(|logged| logged.route = "\0".into()),
        ];
        let sorted = sort(envelopes.iter(), window);
        assert_eq!(
            (sorted.lines.len(), sorted.out_of_window, sorted.malformed),
            (3, 2, 1),
            "{sorted:?}"
        );
        let days: Vec<String> = sorted.days().iter().map(ToString::to_string).collect();
        assert_eq!(days, ["2026-03-03", "2026-03-10", "2026-03-11"]);
        assert_eq!(sorted.first_malformed.unwrap().field, "route");
    }
}
