//! The test kit tried on itself: real servers, isolation, faults.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, helpers of tests included")]

mod databases;
mod faults;
mod kafka_records;
mod life;
