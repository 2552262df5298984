//! The test kit tried on itself: real servers, isolation, faults.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, helpers of tests included")]

mod cluster;
mod databases;
mod disks;
mod faults;
mod groups;
mod kafka_records;
mod life;
mod proxies;
mod redis;
mod topic_faults;
