//! What this service reads from topics.

mod audit_records;

pub(crate) use audit_records::AuditRecords;
