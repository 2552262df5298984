//! A shift of the moment of firing, the same for everybody who computes it.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

/// When an occurrence is fired: at its instant or up to `jitter` later.
///
/// The shift comes from the task's name and the instant alone (FNV-1a, 64 bits), so two dispatchers agree on it and a
/// repeat doesn't draw again. The occurrence is still known by its instant.
#[must_use]
pub fn fire_at(task: &str, instant: DateTime<Utc>, jitter: Duration) -> DateTime<Utc> {
    let Ok(jitter_ms) = u64::try_from(jitter.as_millis()) else { return instant };
    let name = task.bytes().chain(instant.timestamp_millis().to_be_bytes());
    let shift_ms = fnv(name) % (jitter_ms + 1);
    let shift = i64::try_from(shift_ms).ok().and_then(TimeDelta::try_milliseconds);
    shift.and_then(|shift| instant.checked_add_signed(shift)).unwrap_or(instant)
}

fn fnv(bytes: impl Iterator<Item = u8>) -> u64 {
    let hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    // Its lower bits alone are uneven for names that differ in their last bytes.
    hash ^ (hash >> 32)
}
