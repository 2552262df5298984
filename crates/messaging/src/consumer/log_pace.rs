//! A record that keeps failing is told at its first failure and then once a minute, and not with each try.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::identity::Identity;
use super::lanes::Item;
use crate::message::RawRecord;

const INTERVAL: Duration = Duration::from_secs(60);
/// Failing records that are remembered; of more than these nothing is told but that there are.
const RECORDS_MAX: usize = 10_000;

/// When each failing record was told last.
#[derive(Debug, Default)]
pub(super) struct LogPace(Mutex<Told>);

#[derive(Debug, Default)]
struct Told {
    at: HashMap<(i32, i64), Instant>,
    /// When those were last thrown out that are of no more use.
    swept: Option<Instant>,
}

impl LogPace {
    pub(super) fn due(&self, identity: &Identity, item: &Item<RawRecord>) -> bool {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let place = (item.record.partition, item.offset);
        let known = told.at.get_mut(&place);
        if let Some(at) = known {
            let due = now - *at >= INTERVAL;
            *at = if due { now } else { *at };
            return due;
        }
        if told.at.len() >= RECORDS_MAX {
            // Once an interval: a flood would otherwise look through all of them for each record.
            if told.swept.is_some_and(|swept| now - swept < INTERVAL) {
                return false;
            }
            told.swept = Some(now);
            told.at.retain(|_, at| now - *at < INTERVAL);
            tracing::warn!(
                group = identity.group,
                known = told.at.len(),
                "so many records fail that not all are told"
            );
        }
        if told.at.len() >= RECORDS_MAX {
            return false;
        }
        told.at.insert(place, now);
        true
    }

    pub(super) fn forget(&self, item: &Item<RawRecord>) {
        let place = (item.record.partition, item.offset);
        self.0.lock().unwrap_or_else(PoisonError::into_inner).at.remove(&place);
    }
}
