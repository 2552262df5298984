#![doc = include_str!("../README.md")]

pub mod anomaly;
mod checks;
pub mod history;
pub mod leases;
pub mod occurrences;
pub mod promises;
pub mod report;
mod view;

pub use anomaly::{Anomaly, AnomalyName};
pub use history::{EffectRow, Event, Finals, History, InboxRow, LogRecord, Outcome, What};
pub use promises::{Order, Promises};
pub use report::{Ledger, Report, check};
