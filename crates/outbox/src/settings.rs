//! Settings of the database and of the relay.

use std::time::Duration;

use millrace_runtime::settings::{Problems, Secret, duration};
use serde::Deserialize;

/// Defaults of the section `[database]`.
pub const DATABASE_DEFAULTS: &str = include_str!("../config/database.toml");
/// Defaults of the section `[outbox]`.
pub const RELAY_DEFAULTS: &str = include_str!("../config/outbox.toml");

/// How connections to PostgreSQL are secured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TlsMode {
    /// Plain text.
    Disable,
    /// Encrypted when the server can.
    Prefer,
    /// Encrypted or not at all; the certificate is not checked unless a CA file is given.
    Require,
    /// Encrypted, certificate signed by the CA.
    VerifyCa,
    /// Encrypted, certificate signed by the CA and made out to the host.
    VerifyFull,
}

/// The section `[database]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "the comments in config/database.toml are the documentation")]
pub struct DatabaseSettings {
    pub host: String,
    pub port: u16,
    pub name: String,
    pub user: String,
    pub password: Secret,
    pub password_file: String,
    pub tls: TlsMode,
    pub tls_ca_file: String,
    pub pool_max: u32,
    pub pool_min: u32,
    #[serde(with = "duration")]
    pub connect_timeout: Duration,
    #[serde(with = "duration")]
    pub acquire_timeout: Duration,
    #[serde(with = "duration")]
    pub lock_timeout: Duration,
    #[serde(with = "duration")]
    pub idle_in_transaction_timeout: Duration,
    #[serde(with = "duration")]
    pub statement_timeout: Duration,
}

impl DatabaseSettings {
    /// Adds every problem of this section.
    pub fn validate(&self, problems: &mut Problems) {
        problems.require(!self.host.is_empty(), "database.host", "is not set");
        problems.require(self.port != 0, "database.port", "must not be 0");
        problems.require(!self.name.is_empty(), "database.name", "is not set");
        problems.require(!self.user.is_empty(), "database.user", "is not set");
        problems.require(
            (1..=1000).contains(&self.pool_max),
            "database.pool_max",
            "must be 1 to 1000",
        );
        for (key, file) in
            [("password_file", &self.password_file), ("tls_ca_file", &self.tls_ca_file)]
        {
            let readable = file.is_empty() || std::fs::File::open(file).is_ok();
            problems.require(readable, format!("database.{key}"), format!("can't read `{file}`"));
        }
        for (key, span) in [
            ("connect_timeout", self.connect_timeout),
            ("acquire_timeout", self.acquire_timeout),
            ("lock_timeout", self.lock_timeout),
            ("idle_in_transaction_timeout", self.idle_in_transaction_timeout),
            ("statement_timeout", self.statement_timeout),
        ] {
            // PostgreSQL reads 0 as «no limit», and everything here is bounded.
            let bounded = span >= Duration::from_millis(1) && span <= Duration::from_secs(3600);
            problems.require(bounded, format!("database.{key}"), "must be 1ms to 1h");
        }
    }
}

/// The section `[outbox]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "the comments in config/outbox.toml are the documentation")]
pub struct RelaySettings {
    #[serde(with = "duration")]
    pub poll_interval: Duration,
    pub bucket_batch_max: u16,
    pub aside_after: u32,
    #[serde(with = "duration")]
    pub claim_max: Duration,
    #[serde(with = "duration")]
    pub contended_retry: Duration,
    #[serde(with = "duration")]
    pub connect_timeout: Duration,
    #[serde(with = "duration")]
    pub measure_interval: Duration,
}

impl RelaySettings {
    /// Adds every problem of this section.
    pub fn validate(&self, problems: &mut Problems) {
        let batch = self.bucket_batch_max;
        problems.require(
            (1..=1000).contains(&batch),
            "outbox.bucket_batch_max",
            "must be 1 to 1000",
        );
        problems.require(
            (1..=1000).contains(&self.aside_after),
            "outbox.aside_after",
            "must be 1 to 1000",
        );
        for (key, span) in [
            ("poll_interval", self.poll_interval),
            ("claim_max", self.claim_max),
            ("contended_retry", self.contended_retry),
            ("connect_timeout", self.connect_timeout),
            ("measure_interval", self.measure_interval),
        ] {
            let sane = span >= Duration::from_millis(1) && span <= Duration::from_secs(60);
            problems.require(sane, format!("outbox.{key}"), "must be 1ms to 60s");
        }
    }
}

#[cfg(test)]
mod tests {
    use millrace_runtime::settings::{Layers, Validate, load};

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Both {
        database: DatabaseSettings,
        outbox: RelaySettings,
    }

    impl Validate for Both {
        fn validate(&self, problems: &mut Problems) {
            self.database.validate(problems);
            self.outbox.validate(problems);
        }
    }

    fn layers(environment: &[(&str, &str)]) -> Layers {
        Layers {
            defaults: vec![DATABASE_DEFAULTS, RELAY_DEFAULTS],
            overlay: None,
            prefix: "T",
            environment: environment.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect(),
        }
    }

    #[test]
    fn the_defaults_need_only_a_database_and_a_role() {
        let settings: Both =
            load(&layers(&[("T__DATABASE__NAME", "d"), ("T__DATABASE__USER", "u")])).unwrap();
        assert_eq!(settings.database.lock_timeout, Duration::from_secs(2));
        assert_eq!(settings.database.tls, TlsMode::Prefer);
        assert_eq!(settings.outbox.poll_interval, Duration::from_secs(1));
    }

    #[test]
    fn every_bad_setting_has_its_line() {
        let problems = load::<Both>(&layers(&[
            ("T__DATABASE__TLS", "maybe"),
            ("T__DATABASE__POOL_MAX", "0"),
            ("T__DATABASE__LOCK_TIMEOUT", "0s"),
            ("T__DATABASE__PASSWORD_FILE", "/nowhere/at/all"),
            ("T__OUTBOX__BUCKET_BATCH_MAX", "0"),
        ]))
        .unwrap_err()
        .to_string();
        for key in
            ["tls", "pool_max", "lock_timeout", "password_file", "name", "user", "bucket_batch_max"]
        {
            assert!(problems.contains(key), "{key} is missing in {problems}");
        }
    }
}
