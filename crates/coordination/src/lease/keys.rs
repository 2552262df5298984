//! The keys of one lease.
//!
//! Counters aren't kept per lease but in a fixed number of slots, so that lease names can't fill Redis with keys that
//! never expire; every other key expires. All keys of one name share a hash tag and so a node of a cluster.

use crate::Redis;

/// Counters in Redis, whatever the number of leases.
const FENCE_SLOTS: u32 = 64;

/// The channel on which the next waiter is told that it is its turn.
const TURNS: &str = "lease-turns";

pub(super) struct Keys {
    /// Who holds it: `incarnation:counter:since:attempt`, the third in Redis' milliseconds.
    pub(super) lease: String,
    /// Incarnation, replication id and counter.
    pub(super) fence: String,
    /// Attempts that wait, by ticket.
    pub(super) queue: String,
    /// The same ones by the moment they last looked.
    pub(super) seen: String,
}

impl Keys {
    pub(super) fn of(redis: &Redis, name: &str) -> Self {
        let slot = slot_of(name);
        Self {
            lease: redis.key(&format!("lease:{{{slot}}}:{name}")),
            fence: redis.key(&format!("fence:{{{slot}}}")),
            queue: redis.key(&format!("queue:{{{slot}}}:{name}")),
            seen: redis.key(&format!("seen:{{{slot}}}:{name}")),
        }
    }
}

pub(super) fn turns_channel(redis: &Redis) -> String {
    redis.key(TURNS)
}

/// FNV-1a: stable across releases, which a lease held during a rolling update needs.
fn slot_of(name: &str) -> u32 {
    let hash = name
        .bytes()
        .fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    hash % FENCE_SLOTS
}
