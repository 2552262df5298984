//! Was a lease given as it must be, and did the work under it end with it?
//!
//! Of two grants of one lease, the one with the higher token is the later one as long as the referee remembers: what a
//! holder's clock says about the moment of its grant may be late, because it may be frozen before it looks at the clock.

use std::collections::BTreeMap;

use super::history::{Grant, LeaseHistory, LeaseNote, LeasePromises, Write};
use crate::anomaly::{Anomaly, AnomalyName};

/// A grant and who noted it when.
#[derive(Debug, Clone, Copy)]
struct Noted<'h> {
    grant: &'h Grant,
    holder: &'h str,
    at_us: i64,
    /// When its holder knew, first, that it is over.
    over_us: Option<i64>,
}

#[derive(Debug, Default)]
struct View<'h> {
    /// By lease, in the order of the notes.
    grants: BTreeMap<&'h str, Vec<Noted<'h>>>,
    /// When the referee forgot.
    forgot_us: Vec<i64>,
    deposed_us: Option<i64>,
    /// When each holder was let go on.
    continued_us: BTreeMap<&'h str, Vec<i64>>,
}

pub(super) fn check(history: &LeaseHistory, promises: &LeasePromises) -> Vec<Anomaly> {
    let view = View::of(history);
    let mut found = Vec::new();
    for grants in view.grants.values() {
        found.extend(shared(grants));
        found.extend(backward(&view, grants));
        found.extend(early(&view, grants));
    }
    found.extend(work_after_loss(history, &view, promises.cancelled_within_us));
    found
}

impl<'h> View<'h> {
    fn of(history: &'h LeaseHistory) -> Self {
        let mut view = Self::default();
        for event in &history.events {
            let (holder, at_us) = (event.by.as_str(), event.at_us);
            match &event.what {
                LeaseNote::Granted(grant) => {
                    let noted = Noted { grant, holder, at_us, over_us: None };
                    view.grants.entry(&grant.lease).or_default().push(noted);
                }
                LeaseNote::Lost { lease, token } | LeaseNote::Releasing { lease, token } => {
                    view.end(holder, lease, *token, at_us);
                }
                LeaseNote::Forgot => view.forgot_us.push(at_us),
                LeaseNote::Deposed => {
                    view.deposed_us.get_or_insert(at_us);
                }
                LeaseNote::Continued { holder } => {
                    view.continued_us.entry(holder).or_default().push(at_us);
                }
                LeaseNote::Begun { .. }
                | LeaseNote::Committed(_)
                | LeaseNote::Refused(_)
                | LeaseNote::Unknown(_)
                | LeaseNote::Stopped { .. }
                | LeaseNote::Ended { .. } => {}
            }
        }
        view
    }

    fn end(&mut self, holder: &str, lease: &str, token: i64, at_us: i64) {
        let grants = self.grants.get_mut(lease).into_iter().flatten();
        let mut own = grants.filter(|noted| noted.holder == holder && noted.grant.token == token);
        if let Some(noted) = own.next() {
            noted.over_us.get_or_insert(at_us);
        }
    }

    fn forgot_between(&self, from_us: i64, until_us: i64) -> bool {
        self.forgot_us.iter().any(|at_us| (from_us..=until_us).contains(at_us))
    }
}

/// A token belongs to one grant.
fn shared(grants: &[Noted<'_>]) -> Vec<Anomaly> {
    let mut owners: BTreeMap<i64, &Noted<'_>> = BTreeMap::new();
    let mut found = Vec::new();
    for noted in grants {
        if let Some(owner) = owners.insert(noted.grant.token, noted) {
            let text = format!("{} and {}", told(owner), told(noted));
            found.push(Anomaly::new(AnomalyName::SharedToken, text));
        }
    }
    found
}

/// Whoever asks after another one was granted the lease gets a higher token, whatever the referee forgot meanwhile. A
/// primary that was replaced and doesn't know it yet may still give lower ones, which the sinks refuse.
fn backward(view: &View<'_>, grants: &[Noted<'_>]) -> Vec<Anomaly> {
    let judged = |noted: &&Noted<'_>| view.deposed_us.is_none_or(|deposed| noted.at_us < deposed);
    let mut found = Vec::new();
    let mut highest: Option<&Noted<'_>> = None;
    for noted in grants.iter().filter(judged) {
        let before = highest.get_or_insert(noted);
        if noted.grant.asked_us > before.at_us && noted.grant.token < before.grant.token {
            let text = format!("{} after {}", told(noted), told(before));
            found.push(Anomaly::new(AnomalyName::NonmonotonicGrant, text));
        } else if noted.grant.token > before.grant.token {
            highest = Some(noted);
        }
    }
    found
}

/// Another one was granted the lease before its time was over, though its holder had not given it back.
fn early(view: &View<'_>, grants: &[Noted<'_>]) -> Vec<Anomaly> {
    let mut found = Vec::new();
    for noted in grants {
        let ends_us = noted.grant.asked_us + noted.grant.lasts_us;
        let later = grants.iter().find(|other| {
            other.grant.token > noted.grant.token
                && other.at_us < ends_us
                && noted.over_us.is_none_or(|over_us| over_us > other.at_us)
                && !view.forgot_between(noted.grant.asked_us, other.at_us)
                && view.deposed_us.is_none_or(|deposed| other.at_us < deposed)
        });
        if let Some(later) = later {
            let left_ms = (ends_us - later.at_us) / 1000;
            let text = format!("{}, {left_ms} ms before the end of {}", told(later), told(noted));
            found.push(Anomaly::new(AnomalyName::EarlyGrant, text));
        }
    }
    found
}

/// Guarded work began a write though somebody else had been granted its lease for long, and nothing had frozen it.
fn work_after_loss(history: &LeaseHistory, view: &View<'_>, within_us: i64) -> Vec<Anomaly> {
    let mut found = Vec::new();
    for event in &history.events {
        let LeaseNote::Begun { write, guarded: true } = &event.what else { continue };
        let Write { lease, token, .. } = write;
        let grants = view.grants.get(lease.as_str()).into_iter().flatten();
        let Some(later) = grants.into_iter().find(|noted| noted.grant.token > *token) else {
            continue;
        };
        let continued = view.continued_us.get(event.by.as_str()).into_iter().flatten();
        let awake = continued.filter(|at_us| **at_us <= event.at_us).max();
        let since_us = awake.copied().unwrap_or(i64::MIN).max(later.at_us);
        if event.at_us > since_us + within_us {
            let late_ms = (event.at_us - since_us) / 1000;
            let text = format!(
                "{} began {write:?} {late_ms} ms after it had lost the lease: {}",
                event.by,
                told(later)
            );
            found.push(Anomaly::new(AnomalyName::WorkAfterLoss, text));
        }
    }
    found
}

fn told(noted: &Noted<'_>) -> String {
    let Grant { lease, token, .. } = noted.grant;
    format!("{} was granted {lease} with token {token}", noted.holder)
}
