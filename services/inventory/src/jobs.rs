//! What the service does on its own, by a timer.

pub(crate) mod report_overdue;
