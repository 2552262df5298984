//! From wall-clock times to instants.
//!
//! Between two changes of the clock a zone is a fixed distance from UTC, so the walk goes from one such segment to the
//! next. Inside a segment wall clock and instant move together. At its beginning a jump forward has removed some
//! wall-clock times and a jump back repeats some: only there does [`DstPolicy`] decide.

use chrono::{DateTime, Utc};

use super::DstPolicy;
use super::expression::CronExpression;
use super::zone::{Segment, Zone, second_of};

/// More than any zone's wall clock differs from UTC, and more than any change of it.
const MOST_DIFFERENCE: i64 = 2 * 24 * 60 * 60;

pub(super) fn next_after(
    expression: &CronExpression,
    zone: &Zone,
    dst: DstPolicy,
    instant: DateTime<Utc>,
) -> Option<DateTime<Utc>> {
    // From here on `earliest` is the first second that may be answered.
    let mut earliest = second_of(instant).checked_add(1)?;
    loop {
        let segment = zone.segment_at(earliest);
        match in_segment(expression, dst, &segment, earliest)? {
            Found::At(second) => return DateTime::from_timestamp(second, 0),
            Found::NotBefore(second) => earliest = second,
        }
    }
}

enum Found {
    At(i64),
    /// Nothing in this segment, and nothing before this second, which lies behind it.
    NotBefore(i64),
}

/// `None` when the expression doesn't come true any more.
fn in_segment(
    expression: &CronExpression,
    dst: DstPolicy,
    segment: &Segment,
    earliest: i64,
) -> Option<Found> {
    let mut wall = earliest + segment.offset;
    if let Some(change) = segment.start {
        let before = change.at + change.offset_before;
        let after = change.at + segment.offset;
        if change.at >= earliest && dst != DstPolicy::Skip && comes_true(expression, before, after)
        {
            return Some(Found::At(change.at));
        }
        if dst != DstPolicy::Twice {
            // What the clock shows for the second time was taken the first time.
            wall = wall.max(before);
        }
    }
    let wall = expression.wall_at_or_after(wall)?;
    let second = wall - segment.offset;
    let Some(end) = segment.end else { return Some(Found::At(second)) };
    if second < end {
        return Some(Found::At(second));
    }
    // Years of changes before a match that is far away need no look. But a jump back at the end of this segment may repeat
    // times from before the search began; so nothing is left out unless the search began well before the end.
    let far = if earliest + MOST_DIFFERENCE < end { wall - MOST_DIFFERENCE } else { end };
    Some(Found::NotBefore(end.max(far)))
}

/// Is there a match in the wall-clock times that a jump forward removed?
fn comes_true(expression: &CronExpression, from: i64, to: i64) -> bool {
    from < to && expression.wall_at_or_after(from).is_some_and(|wall| wall < to)
}
