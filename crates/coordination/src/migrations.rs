//! The schema of the fence: versions 50 to 74.

use sqlx::migrate::Migrator;

/// Table `lease_fence` and sequence `lease_incarnation`; merge them into a service's set with the outbox crate's
/// `migrator`.
pub static MIGRATIONS: Migrator = sqlx::migrate!("./migrations");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_versions_stay_in_this_crates_range() {
        assert!(MIGRATIONS.iter().all(|migration| (50..=74).contains(&migration.version)));
    }
}
