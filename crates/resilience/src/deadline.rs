//! An instant that a request must be answered by, handed from hop to hop.
//!
//! On the wire it is a header with the milliseconds that are left, because clocks of two machines differ and a
//! span survives the journey better than an instant.

use std::time::{Duration, Instant};

/// The header that carries the milliseconds left.
pub const DEADLINE_HEADER: &str = "x-millrace-deadline-ms";

/// A hop keeps this much for its own answer when it passes the deadline on.
const HOP_RESERVE: Duration = Duration::from_millis(10);

/// The instant by which the caller wants an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Deadline(Instant);

impl Deadline {
    /// `budget` from `now`.
    #[must_use]
    pub fn after(now: Instant, budget: Duration) -> Self {
        Self(now + budget)
    }

    /// The caller's wish, at most `longest`. A missing or unreadable header means `longest`.
    #[must_use]
    pub fn from_header(now: Instant, header: Option<&str>, longest: Duration) -> Self {
        let asked = header.and_then(|text| text.trim().parse().ok()).map(Duration::from_millis);
        Self(now + asked.unwrap_or(longest).min(longest))
    }

    /// What is left; zero once it has passed.
    #[must_use]
    pub fn left(&self, now: Instant) -> Duration {
        self.0.saturating_duration_since(now)
    }

    /// True when nothing is left.
    #[must_use]
    pub fn passed(&self, now: Instant) -> bool {
        self.left(now).is_zero()
    }

    /// What the next hop may use: what is left less this hop's own reserve. `None` when that is nothing, and the
    /// call shouldn't be made.
    #[must_use]
    pub fn for_next_hop(&self, now: Instant) -> Option<Duration> {
        self.left(now).checked_sub(HOP_RESERVE).filter(|left| !left.is_zero())
    }

    /// The instant itself, for a timer.
    #[must_use]
    pub fn instant(&self) -> Instant {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_caller_can_shorten_the_deadline_but_not_stretch_it() {
        let now = Instant::now();
        let longest = Duration::from_millis(500);
        let left = |header| Deadline::from_header(now, header, longest).left(now).as_millis();
        assert_eq!(left(Some("200")), 200);
        assert_eq!(left(Some("9000")), 500);
        assert_eq!(left(Some("-1")), 500);
        assert_eq!(left(Some("18446744073709551616")), 500);
        assert_eq!(left(None), 500);
        assert_eq!(left(Some("0")), 0);
    }

    #[test]
    fn a_call_is_not_started_when_only_the_reserve_is_left() {
        let now = Instant::now();
        assert_eq!(Deadline::after(now, Duration::from_millis(10)).for_next_hop(now), None);
        assert_eq!(
            Deadline::after(now, Duration::from_millis(60)).for_next_hop(now),
            Some(Duration::from_millis(50))
        );
    }
}
