//! What goes out to a call, and what comes back of it.
//!
//! A call's settlement says of each lane how it goes on and of each record what became of it: finished, in a letter, or
//! back in its lane. One of an assignment that is over says nothing any more.

use millrace_runtime::CancellationToken;

use super::super::lanes::{After, Item, LaneId};
use super::Tenure;

/// Records for one call of the handler.
#[derive(Debug)]
pub(in super::super) struct Work<R> {
    pub(in super::super) tenure: Tenure,
    pub(in super::super) call: u64,
    pub(in super::super) items: Vec<(LaneId, Item<R>)>,
    /// The partition's epoch, where one is drawn.
    pub(in super::super) epoch: Option<i64>,
    /// Cancelled when nothing more of the partition shall be started.
    pub(in super::super) finish: CancellationToken,
    /// Cancelled when the partition is taken away and the call shall end at once.
    pub(in super::super) abandon: CancellationToken,
}

/// What a call came to.
#[derive(Debug)]
pub(in super::super) struct Settlement<R, L> {
    pub(in super::super) tenure: Tenure,
    pub(in super::super) call: u64,
    /// Every lane of the work, once.
    pub(in super::super) lanes: Vec<LaneEnd<R>>,
    /// Records that are finished.
    pub(in super::super) finished: Vec<Finished>,
    /// At least one record is finished because its handler is done with it. A dead letter that was kept at once
    /// finishes its record too, and is no success.
    pub(in super::super) succeeded: bool,
    /// Records that failed, those with a letter included.
    pub(in super::super) failed: u32,
    /// Letters to be published with the offset of their records, which are finished by that.
    pub(in super::super) letters: Vec<Pending<L>>,
    /// A sink refused the epoch: a higher one is drawn.
    pub(in super::super) stale_epoch: bool,
}

impl<R, L> Settlement<R, L> {
    /// Of a call that came to nothing, yet.
    pub(in super::super) fn empty(tenure: Tenure, call: u64) -> Self {
        let (lanes, finished, letters) = (Vec::new(), Vec::new(), Vec::new());
        Self {
            tenure,
            call,
            lanes,
            finished,
            succeeded: false,
            failed: 0,
            letters,
            stale_epoch: false,
        }
    }
}

#[derive(Debug)]
pub(in super::super) struct LaneEnd<R> {
    pub(in super::super) lane: LaneId,
    pub(in super::super) returned: Vec<Item<R>>,
    pub(in super::super) after: After,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) struct Finished {
    pub(in super::super) offset: i64,
    pub(in super::super) bytes: usize,
}

/// A letter on its way; its record is unfinished and its lane held until it is acknowledged.
#[derive(Debug, Clone)]
pub(in super::super) struct Pending<L> {
    pub(in super::super) lane: LaneId,
    pub(in super::super) record: Finished,
    pub(in super::super) letter: L,
}
