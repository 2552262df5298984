//! The primitives of the shell. Its second build, in the tests, takes them from a model checker.

pub(super) use std::sync::atomic::{AtomicU64, Ordering};
pub(super) use std::sync::{Condvar, Mutex, MutexGuard};
