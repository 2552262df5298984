//! Durations as `"250ms"`, `"5s"`, `"1h 30m"`; use as `#[serde(with = "millrace_runtime::settings::duration")]`.

use std::time::Duration;

use serde::{Deserialize, Deserializer, Serializer, de::Error};

/// Reads a duration with its unit.
///
/// # Errors
/// When the text is no duration; a bare number is refused, because its unit would be a guess.
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    humantime::parse_duration(&text).map_err(|cause| {
        D::Error::custom(format!(
            "`{text}` is not a duration such as \"250ms\" or \"5s\" ({cause})"
        ))
    })
}

/// Writes a duration as [`deserialize`] reads it.
///
/// # Errors
/// When the serializer fails.
pub fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&humantime::format_duration(*duration))
}
