//! One file a question; each check reads the view and says what it found.

mod commits;
mod emitted;
mod epochs;
mod log;
mod order;
mod outcomes;
mod ownership;
mod polls;
mod repeats;
mod sends;

use crate::anomaly::Anomaly;
use crate::promises::Promises;
use crate::view::View;

/// A question to the history.
pub(crate) type Check = fn(&View<'_>, &Promises) -> Vec<Anomaly>;

/// All of them.
pub(crate) const ALL: [Check; 10] = [
    outcomes::check,
    log::check,
    polls::check,
    sends::check,
    order::check,
    epochs::check,
    commits::check,
    ownership::check,
    repeats::check,
    emitted::check,
];
