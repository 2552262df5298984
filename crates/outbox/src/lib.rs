#![doc = include_str!("../README.md")]

pub mod aside;
pub mod database;
mod dead_letters;
pub mod epoch;
pub mod idempotency;
mod inbox;
mod migrations;
mod raw;
mod record;
mod relay;
mod rows;
mod settings;
mod store_error;
pub mod upkeep;

pub use database::{ConnectError, DatabaseHealth, connect};
pub use dead_letters::DeadLetters;
pub use epoch::Epochs;
pub use inbox::{INBOX_WINDOW, inbox_claim, inbox_clean};
pub use migrations::{MIGRATIONS, MigrateFailed, migrate, migrator};
pub use record::{EncodeError, OutboxRecord, RECORD_BYTES_MAX};
pub use relay::{Relay, RelayError, RelayHealth, RelayNotifier, RelayStatus, RelayWaker, RowError};
pub use rows::{OutboxRows, append};
pub use settings::{DATABASE_DEFAULTS, DatabaseSettings, RELAY_DEFAULTS, RelaySettings, TlsMode};
pub use store_error::{StoreError, class_of};
