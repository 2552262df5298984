//! Time zones, from a database that is compiled in: all instances of one release agree on them, whatever their images
//! contain.

use std::fmt;

use chrono::{DateTime, Utc};
use jiff::Timestamp;
use jiff::tz::TimeZone;

/// A zone of the IANA database, such as `Europe/Berlin`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Zone(TimeZone);

/// The database has no such zone.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("time zone `{name}` is not in the IANA database")]
pub struct UnknownZone {
    /// What was asked for, shortened.
    pub name: String,
}

/// A span of time in which a zone's distance from UTC stays the same. All numbers are seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Segment {
    /// The change of the clock that it begins with, if there is one before.
    pub(super) start: Option<Change>,
    /// The instant of the next change; not part of it.
    pub(super) end: Option<i64>,
    /// Wall clock minus UTC.
    pub(super) offset: i64,
}

/// A change of the clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Change {
    pub(super) at: i64,
    pub(super) offset_before: i64,
}

impl Zone {
    /// Longer names don't exist.
    const NAME_LENGTH_MAX: usize = 64;

    /// Coordinated universal time: its clocks never change.
    #[must_use]
    pub fn utc() -> Self {
        Self(TimeZone::UTC)
    }

    /// Finds a zone by its name; upper and lower case are the same.
    ///
    /// # Errors
    /// When there is none.
    pub fn parse(name: &str) -> Result<Self, UnknownZone> {
        let unknown = || UnknownZone { name: name.chars().take(Self::NAME_LENGTH_MAX).collect() };
        // A name that isn't a region would be read as a file or as a rule of POSIX by some databases; neither is one.
        let plain = name.len() <= Self::NAME_LENGTH_MAX
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/_+-".contains(&byte));
        if !plain {
            return Err(unknown());
        }
        jiff::tz::db().get(name).map(Self).map_err(|_| unknown())
    }

    /// Its name as the database spells it.
    #[must_use]
    pub fn name(&self) -> &str {
        self.0.iana_name().unwrap_or("UTC")
    }

    /// The segment in which an instant lies. An instant of a change belongs to the segment that begins there.
    pub(super) fn segment_at(&self, second: i64) -> Segment {
        let instant = timestamp(second);
        let offset = i64::from(self.0.to_offset(instant).seconds());
        let end = self.changes_after(second).next();
        let start = self.0.preceding(timestamp(second.saturating_add(1))).find_map(|change| {
            let at = change.timestamp().as_second();
            let offset_before = self.offset_before(at);
            (offset_before != i64::from(change.offset().seconds()))
                .then_some(Change { at, offset_before })
        });
        Segment { start, end, offset }
    }

    /// Instants at which the offset changes; a change of the zone's name alone isn't one.
    fn changes_after(&self, second: i64) -> impl Iterator<Item = i64> + '_ {
        self.0.following(timestamp(second)).filter_map(|change| {
            let at = change.timestamp().as_second();
            (self.offset_before(at) != i64::from(change.offset().seconds())).then_some(at)
        })
    }

    fn offset_before(&self, second: i64) -> i64 {
        i64::from(self.0.to_offset(timestamp(second.saturating_sub(1))).seconds())
    }
}

impl fmt::Display for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Instants beyond the library's years (-9999 to 9999) are moved to their edge, where clocks no longer change.
fn timestamp(second: i64) -> Timestamp {
    let clamped = second.clamp(Timestamp::MIN.as_second(), Timestamp::MAX.as_second());
    Timestamp::from_second(clamped).unwrap_or(Timestamp::UNIX_EPOCH)
}

/// The last second at or before an instant.
pub(super) fn second_of(instant: DateTime<Utc>) -> i64 {
    instant.timestamp()
}
