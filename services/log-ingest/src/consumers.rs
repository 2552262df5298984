//! What this service reads from topics.

mod request_logs;

pub(crate) use request_logs::RequestLogs;
