//! From where each bucket is read: below its floor no row is left and none can appear.
//!
//! Rows that were deleted stay in table and index until they are vacuumed. A look that began at the front of the table
//! would walk over all of them, each time. And it must not begin behind the last row that was read: sequence numbers
//! are drawn before commit, so an older transaction may still commit a row in front of it, and a later row of that
//! row's aggregate would go first. A floor lies where neither can happen. It is the lowest of three:
//!
//! - **Covered**: up to there, looks that left nothing out have read every visible row, since the horizon rose last. (A
//!   row that was committed between the look before and the rise was seen by neither.)
//! - **The first open row**: read and not yet deleted, whatever became of it. It is read again if it has to be.
//! - **The horizon**: no transaction that is still open has drawn a number up to there.
//!
//! The horizon is found by asking twice. A transaction that draws a number has locked the table before, and holds that
//! lock until its rows are visible or it failed. So: take the highest number that was seen, *then* ask who holds such a
//! lock ([`Floors::asks`], [`Floors::hears`]). As soon as none of them does any more, nobody is left who could have
//! drawn a number up to that one. Others who come meanwhile draw higher ones, so steady writers don't keep the horizon
//! from moving; one transaction that stays open does, and then the dead rows behind it are walked over.
//!
//! Only one thing puts a row back where it was: releasing an aggregate that was set aside. It counts itself in
//! `outbox_release`, and the statement that reads compares that count within its own snapshot; when it changed, it
//! begins at the front. Whatever else may be done to the table by hand is found within [`FRONT_INTERVAL`].

use std::collections::{BTreeSet, HashMap, HashSet};
use std::time::{Duration, Instant};

/// The front of every bucket.
pub(super) const FRONT: i64 = i64::MIN;

/// At least so often the whole table is read from its front, whatever is known of it.
const FRONT_INTERVAL: Duration = Duration::from_secs(10);

/// So many rows must have been deleted before it's worth asking for a higher horizon.
const ASK_ROWS: usize = 1024;

/// What stands for a transaction that is prepared and belongs to no session. Its name isn't the one it had before, so
/// while there is one nothing is known.
pub(super) const PREPARED: &str = "prepared";

#[derive(Debug)]
pub(super) struct Floors {
    buckets: HashMap<i16, Bucket>,
    horizon: i64,
    /// The highest number that was seen.
    seen: i64,
    /// Numbers are drawn one by one and in order; otherwise there are no floors.
    in_order: bool,
    /// Waiting for those who had the table locked when this number had been seen.
    awaited: Option<(i64, HashSet<String>)>,
    /// Deleted since the last question.
    deleted: usize,
    /// Releases counted when the table was last read from its front.
    releases: Option<i64>,
    front_read: Instant,
}

#[derive(Debug)]
struct Bucket {
    covered: i64,
    open: BTreeSet<i64>,
}

impl Bucket {
    /// What was read up to the first row that is still there.
    fn settled(&self) -> i64 {
        self.open.first().map_or(self.covered, |first| self.covered.min(first - 1))
    }
}

impl Default for Bucket {
    fn default() -> Self {
        Self { covered: FRONT, open: BTreeSet::new() }
    }
}

impl Floors {
    pub(super) fn new(in_order: bool, now: Instant) -> Self {
        Self {
            buckets: HashMap::new(),
            horizon: FRONT,
            seen: FRONT,
            in_order,
            awaited: None,
            deleted: 0,
            releases: None,
            front_read: now,
        }
    }

    /// A bucket's rows are to be read behind this number.
    pub(super) fn of(&self, bucket: i16) -> i64 {
        self.buckets.get(&bucket).map_or(FRONT, |bucket| bucket.settled().min(self.horizon))
    }

    /// The count of releases under which the floors hold.
    pub(super) fn releases(&self) -> i64 {
        self.releases.unwrap_or(-1)
    }

    /// Forgets every floor from time to time.
    pub(super) fn refresh(&mut self, now: Instant) {
        if now.duration_since(self.front_read) >= FRONT_INTERVAL {
            self.front_read = now;
            self.start_over();
        }
    }

    /// Takes note of what a look returned: the first rows of each bucket behind its floor, in sequence. `whole` when
    /// it left out nothing but open rows.
    pub(super) fn read(
        &mut self,
        rows: impl Iterator<Item = (i16, i64)>,
        releases: i64,
        whole: bool,
    ) {
        if self.releases.replace(releases) != Some(releases) {
            // This look began at the front already.
            self.start_over();
        }
        for (number, seq) in rows {
            let bucket = self.buckets.entry(number).or_default();
            bucket.open.insert(seq);
            self.seen = self.seen.max(seq);
            if whole {
                bucket.covered = bucket.covered.max(seq);
            }
        }
    }

    /// These rows are no longer in their buckets.
    pub(super) fn gone(&mut self, rows: &[(i16, i64)]) {
        self.deleted += rows.len();
        for (bucket, seq) in rows {
            if let Some(bucket) = self.buckets.get_mut(bucket) {
                bucket.open.remove(seq);
            }
        }
    }

    /// The bucket may be another relay's from now on, which deletes without telling: what it leaves is behind the
    /// floor, and is read again.
    pub(super) fn released(&mut self, bucket: i16) {
        if let Some(bucket) = self.buckets.get_mut(&bucket) {
            bucket.covered = bucket.settled();
            bucket.open.clear();
        }
    }

    /// The number to ask about, when a higher horizon would raise a floor. Who has the table locked must be asked
    /// after this call.
    pub(super) fn asks(&mut self) -> Option<i64> {
        if !self.in_order || self.deleted < ASK_ROWS {
            return None;
        }
        self.deleted = 0;
        let raised = self.buckets.values().any(|bucket| bucket.settled() > self.horizon);
        raised.then_some(self.seen)
    }

    /// The answer: the transactions that may have drawn numbers.
    pub(super) fn hears(&mut self, seen: i64, writers: HashSet<String>) {
        if writers.contains(PREPARED) {
            return;
        }
        if let Some((awaited, before)) = &self.awaited
            && before.is_disjoint(&writers)
        {
            let awaited = *awaited;
            self.rise(awaited);
        }
        if writers.is_empty() {
            self.rise(seen);
        } else if self.awaited.is_none() {
            self.awaited = Some((seen, writers));
        }
    }

    /// The floors stay where they are until rows were read under the new horizon.
    fn rise(&mut self, horizon: i64) {
        self.awaited = None;
        if horizon > self.horizon {
            for bucket in self.buckets.values_mut() {
                bucket.covered = bucket.settled().min(self.horizon);
            }
            self.horizon = horizon;
        }
    }

    fn start_over(&mut self) {
        self.buckets.values_mut().for_each(|bucket| bucket.covered = FRONT);
    }
}

#[cfg(test)]
mod tests;
