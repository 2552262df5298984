//! What is judged: notes of holders and of whoever hurt them, and the sinks at the end.
//!
//! A holder notes before each step what it is about to do, and after it what came of it. A killed or frozen one misses
//! notes, so a missing note proves nothing; a row does.

use serde::{Deserialize, Serialize};

use crate::history::Event;

/// A lease that was granted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// The lease's name.
    pub lease: String,
    /// The fencing token.
    pub token: i64,
    /// A moment before the request that was granted.
    pub asked_us: i64,
    /// How long it lasts from there, at the least.
    pub lasts_us: i64,
}

/// One write under a lease.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Write {
    /// Where to.
    pub sink: String,
    /// The lease's name.
    pub lease: String,
    /// The fencing token that it is made under.
    pub token: i64,
    /// The unit of work; `None` when only the token is proven.
    pub unit: Option<u64>,
}

/// What can be noted about leases; who notes is the holder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
#[expect(
    missing_docs,
    reason = "the fields are the words of the field, said once at `Write` and `Grant`"
)]
pub enum LeaseNote {
    /// The lease is this holder's.
    Granted(Grant),
    /// A write is about to begin. A guarded one is cancelled with its lease; one that isn't stands for a packet that
    /// was sent and has not arrived.
    Begun {
        #[serde(flatten)]
        write: Write,
        guarded: bool,
    },
    /// The sink has it.
    Committed(Write),
    /// The sink refused the token.
    Refused(Write),
    /// The sink failed otherwise: it may have it.
    Unknown(Write),
    /// The holder was told, or knew by its clock, that the lease is over.
    Lost { lease: String, token: i64 },
    /// The holder is about to give it back.
    Releasing { lease: String, token: i64 },
    /// The process `holder` stands still from here on.
    Stopped { holder: String },
    /// It goes on.
    Continued { holder: String },
    /// It is gone.
    Ended { holder: String },
    /// The referee has forgotten, or is about to forget, what it knew.
    Forgot,
    /// Another server is the referee from here on; the old one may go on giving leases.
    Deposed,
}

/// A unit of work that was asked for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Unit {
    /// The sink that must have it in the end.
    pub sink: String,
    /// The lease that guards it.
    pub lease: String,
    /// Its number under that lease.
    pub unit: u64,
}

/// A row that a write left in a sink.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseRow {
    /// The sink.
    pub sink: String,
    /// The order in which the sink took the rows of one lease: higher is later.
    pub position: i64,
    /// The lease it was written under.
    pub lease: String,
    /// The unit of work.
    pub unit: u64,
    /// The token it was written under.
    pub token: i64,
    /// The process that wrote it.
    pub holder: String,
}

/// The end.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseFinals {
    /// Races for one lease.
    pub runs: usize,
    /// What was to be done.
    pub asked: Vec<Unit>,
    /// What stands in the sinks.
    pub rows: Vec<LeaseRow>,
}

/// All that is known about one run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseHistory {
    /// The notes; [`LeaseHistory::new`] lays them in the order of time.
    pub events: Vec<Event<LeaseNote>>,
    /// The end.
    pub finals: LeaseFinals,
}

impl LeaseHistory {
    /// Lays the notes of all processes together. Notes of one process keep their order, so hand them over process by
    /// process.
    #[must_use]
    pub fn new(mut events: Vec<Event<LeaseNote>>, finals: LeaseFinals) -> Self {
        events.sort_by_key(|event| event.at_us);
        Self { events, finals }
    }
}

/// What was promised beyond what the sinks promise anyway.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeasePromises {
    /// Guarded work that has lost its lease and isn't frozen has ended so long after the next grant, in microseconds: the
    /// promise is zero, the rest is what a busy machine may keep a living process from running.
    pub cancelled_within_us: i64,
}
