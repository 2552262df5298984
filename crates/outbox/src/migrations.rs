//! One migrator out of several sets.
//!
//! A service's schema has four authors: this crate (versions 1 to 49), the coordination crate (50 to 74), the
//! scheduler crate (75 to 99) and the service itself (from 100). Each keeps its own set; [`migrator`] lays them together.

use sqlx::Connection as _;
use sqlx::migrate::{MigrateError, Migrator};

use crate::DatabaseSettings;
use crate::database::{ConnectOnceError, connect_once};

/// The tables of this crate: outbox, inbox, idempotency, epochs. Versions 1 to 49.
pub static MIGRATIONS: Migrator = sqlx::migrate!("./migrations");

/// All sets as one, in the order of their versions.
///
/// # Panics
/// When two sets use one version: an author's mistake that every test of the service finds.
#[must_use]
pub fn migrator(sets: &[&Migrator]) -> Migrator {
    let mut all: Vec<_> = sets.iter().flat_map(|set| set.iter().cloned()).collect();
    all.sort();
    for pair in all.windows(2) {
        let distinct =
            pair[0].version != pair[1].version || pair[0].migration_type != pair[1].migration_type;
        assert!(distinct, "two migrations have version {}", pair[0].version);
    }
    Migrator::with_migrations(all)
}

/// Why the schema was not brought up to date.
#[derive(Debug, thiserror::Error)]
pub enum MigrateFailed {
    /// No connection as the owner role.
    #[error(transparent)]
    Connect(#[from] ConnectOnceError),
    /// A migration failed, or one that ran has changed since.
    #[error("migrating database `{database}`")]
    Migrate {
        /// The database's name.
        database: String,
        /// What the migrator said.
        #[source]
        source: MigrateError,
    },
}

/// Brings the database up to date over one connection of its own, as the role in `settings` (the owner).
/// Two at once are harmless: the second waits for the first.
///
/// # Errors
/// See [`MigrateFailed`].
pub async fn migrate(
    settings: &DatabaseSettings,
    migrator: &Migrator,
) -> Result<(), MigrateFailed> {
    let database = || settings.name.clone();
    // Without the limits of a service's session: building an index may take longer than a request.
    let mut connection = connect_once(settings, "millrace-migrate").await?;
    migrator
        .run(&mut connection)
        .await
        .map_err(|source| MigrateFailed::Migrate { database: database(), source })?;
    connection
        .close()
        .await
        .map_err(|source| ConnectOnceError::Connect { database: database(), source }.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_versions_stay_in_this_crates_range() {
        assert!(MIGRATIONS.iter().all(|migration| (1..=49).contains(&migration.version)));
        assert_eq!(migrator(&[&MIGRATIONS]).iter().count(), 8);
    }

    #[test]
    #[should_panic(expected = "two migrations have version 1")]
    fn one_version_used_twice_is_found() {
        let merged = migrator(&[&MIGRATIONS, &MIGRATIONS]);
        drop(merged);
    }
}
