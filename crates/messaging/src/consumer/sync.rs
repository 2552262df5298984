//! The primitives that [`super::dispatch`] stands on; its tests put others in their place.

pub(super) use std::sync::{Mutex, MutexGuard};

use std::sync::PoisonError;

/// Locks; what a panicking holder left behind is as good as before, because holders only move values.
pub(super) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
