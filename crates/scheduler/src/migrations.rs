use sqlx::migrate::Migrator;

/// The tables of this crate: tasks and their occurrences. Versions 75 to 99.
pub static MIGRATIONS: Migrator = sqlx::migrate!("./migrations");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_versions_stay_in_this_crates_range() {
        assert!(MIGRATIONS.iter().all(|migration| (75..=99).contains(&migration.version)));
    }
}
