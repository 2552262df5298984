//! What search endpoints share: the values of their query strings, checked while they are read, so that a problem
//! names its parameter; and pages by keyset, newest first.
//!
//! A text filter holds no NUL: PostgreSQL's text can't, so nothing could match and the statement would fail.

use std::fmt;

use chrono::{DateTime, Utc};
use serde::de::{Error, Unexpected};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use uuid::Uuid;

/// 9999-12-31T23:59:59.999Z: the last instant that RFC 3339 can write.
const INSTANT_MS_MAX: i64 = 253_402_300_799_999;

/// A text to compare with: 1 to `BYTES_MAX` bytes, no NUL.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct SearchText<const BYTES_MAX: usize>(String);

impl<const BYTES_MAX: usize> SearchText<BYTES_MAX> {
    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl<'de, const BYTES_MAX: usize> Deserialize<'de> for SearchText<BYTES_MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text.is_empty() || text.len() > BYTES_MAX {
            return Err(D::Error::custom(format!("must be 1 to {BYTES_MAX} bytes long")));
        }
        if text.contains('\0') {
            return Err(D::Error::custom("must not hold a NUL"));
        }
        Ok(Self(text))
    }
}

/// A trace id: 32 hexadecimal digits, kept in lower case.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct SearchTraceId(String);

impl SearchTraceId {
    /// The digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl<'de> Deserialize<'de> for SearchTraceId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text.len() != 32 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(D::Error::custom("must be 32 hexadecimal digits"));
        }
        Ok(Self(text.to_ascii_lowercase()))
    }
}

/// An instant as RFC 3339 or as milliseconds since 1970-01-01 UTC, within the years 1970 to 9999.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct SearchInstant(DateTime<Utc>);

impl SearchInstant {
    /// The instant.
    #[must_use]
    pub fn get(self) -> DateTime<Utc> {
        self.0
    }

    fn parse(text: &str) -> Option<Self> {
        let instant = match text.parse::<i64>() {
            Ok(milliseconds) => DateTime::from_timestamp_millis(milliseconds)?,
            // A plus sign that was not escaped arrives as a blank.
            Err(_) => DateTime::parse_from_rfc3339(&text.replace(' ', "+")).ok()?.to_utc(),
        };
        (0..=INSTANT_MS_MAX).contains(&instant.timestamp_millis()).then_some(Self(instant))
    }
}

impl<'de> Deserialize<'de> for SearchInstant {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| {
            D::Error::custom(
                "must be an instant such as 2026-01-31T12:00:00Z, or milliseconds since 1970-01-01 UTC",
            )
        })
    }
}

impl Serialize for SearchInstant {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // To the microsecond, which is what PostgreSQL keeps.
        serializer.serialize_i64(self.0.timestamp_micros())
    }
}

/// How many items a page has at most: 1 to `MAX`, `DEFAULT` when not asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageLimit<const DEFAULT: u16, const MAX: u16>(u16);

impl<const DEFAULT: u16, const MAX: u16> PageLimit<DEFAULT, MAX> {
    /// The number.
    #[must_use]
    pub fn get(self) -> u16 {
        self.0
    }
}

impl<const DEFAULT: u16, const MAX: u16> Default for PageLimit<DEFAULT, MAX> {
    fn default() -> Self {
        Self(DEFAULT)
    }
}

impl<'de, const DEFAULT: u16, const MAX: u16> Deserialize<'de> for PageLimit<DEFAULT, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(LimitText(MAX)).map(Self)
    }
}

struct LimitText(u16);

impl serde::de::Visitor<'_> for LimitText {
    type Value = u16;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a whole number from 1 to {}", self.0)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<u16, E> {
        match text.parse() {
            Ok(limit) if (1..=self.0).contains(&limit) => Ok(limit),
            _ => Err(E::invalid_value(Unexpected::Str(text), &self)),
        }
    }
}

/// A place in the order of the pages, newest first. The id breaks ties, so the order is total and a page that
/// begins behind a position neither repeats nor skips an item, whatever is inserted meanwhile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// When the item happened; to the microsecond, which is what PostgreSQL keeps.
    pub at: DateTime<Utc>,
    /// The item's id.
    pub id: Uuid,
}

impl Serialize for Position {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (self.at.timestamp_micros(), self.id).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Position {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (microseconds, id) = <(i64, Uuid)>::deserialize(deserializer)?;
        let at = DateTime::from_timestamp_micros(microseconds);
        Ok(Self { at: at.ok_or_else(|| D::Error::custom("not an instant"))?, id })
    }
}

/// One page, and behind which position the next one begins when there is more.
#[derive(Debug)]
pub struct Page<T> {
    /// The items.
    pub items: Vec<T>,
    /// The last item's position, unless this is the last page.
    pub next: Option<Position>,
}

impl<T> Page<T> {
    /// A page of at most `limit` out of items that were read with one more than that: the one more tells that
    /// there is another page, without counting.
    pub fn cut(mut items: Vec<T>, limit: u16, position: impl Fn(&T) -> Position) -> Self {
        let more = items.len() > usize::from(limit);
        items.truncate(usize::from(limit));
        let next = if more { items.last().map(position) } else { None };
        Self { items, next }
    }
}

#[cfg(test)]
mod tests {
    use serde::de::IntoDeserializer;
    use serde::de::value::Error;

    use super::*;

    fn read<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, Error> {
        T::deserialize(text.into_deserializer())
    }

    #[test]
    fn an_instant_is_read_in_both_forms() {
        for text in [
            "1700000000123",
            "2023-11-14T22:13:20.123Z",
            "2023-11-15T00:13:20.123+02:00",
            "2023-11-15T00:13:20.123 02:00",
        ] {
            let instant: SearchInstant = read(text).unwrap();
            assert_eq!(instant.get().timestamp_millis(), 1_700_000_000_123, "{text}");
        }
        for text in
            ["", "now", "-1", "253402300800000", "9223372036854775808", "2023-13-01T00:00:00Z"]
        {
            assert!(read::<SearchInstant>(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_page_has_a_next_only_when_there_is_more() {
        let position = |id: &u128| Position { at: DateTime::UNIX_EPOCH, id: Uuid::from_u128(*id) };
        let exact = Page::cut(vec![3, 2], 2, position);
        assert_eq!((exact.items.len(), exact.next), (2, None));
        let more = Page::cut(vec![3, 2, 1], 2, position);
        assert_eq!((more.items.len(), more.next), (2, Some(position(&2))));
        assert_eq!(Page::cut(Vec::new(), 2, position).next, None);
        let text = serde_json::to_string(&position(&2)).unwrap();
        assert_eq!(serde_json::from_str::<Position>(&text).unwrap(), position(&2));
        assert!(
            serde_json::from_str::<Position>(&text.replace("[0,", "[9223372036854775807,"))
                .is_err()
        );
    }

    #[test]
    fn a_limit_is_a_whole_number_in_its_range() {
        assert_eq!(read::<PageLimit<100, 1000>>("1000").unwrap().get(), 1000);
        assert_eq!(PageLimit::<100, 1000>::default().get(), 100);
        for text in ["0", "1001", "-1", "1.0", "", "99999999999"] {
            assert!(read::<PageLimit<100, 1000>>(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_text_that_no_row_could_hold_is_refused() {
        assert_eq!(read::<SearchText<4>>("éé").unwrap().as_str(), "éé");
        for text in ["", "ééé", "a\0b"] {
            assert!(read::<SearchText<4>>(text).is_err(), "{text:?}");
        }
        let trace = "0AF7651916CD43DD8448EB211C80319C";
        assert_eq!(read::<SearchTraceId>(trace).unwrap().as_str(), trace.to_ascii_lowercase());
        assert!(read::<SearchTraceId>("0af7").is_err());
    }
}
