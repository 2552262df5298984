//! Settings of the connection to Redis.

use std::time::Duration;

use millrace_runtime::settings::{Problems, Secret, duration};
use serde::Deserialize;

/// Defaults of the section `[redis]`.
pub const DEFAULTS: &str = include_str!("../config/redis.toml");

/// The section `[redis]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "the comments in config/redis.toml are the documentation")]
pub struct RedisSettings {
    pub host: String,
    pub port: u16,
    pub database: u16,
    pub tls: bool,
    pub tls_ca_file: String,
    pub user: String,
    pub password: Secret,
    pub password_file: String,
    pub key_prefix: String,
    pub pool_max: usize,
    #[serde(with = "duration")]
    pub connect_timeout: Duration,
    #[serde(with = "duration")]
    pub operation_timeout: Duration,
}

impl RedisSettings {
    /// Adds every problem of this section.
    pub fn validate(&self, problems: &mut Problems) {
        problems.require(!self.host.is_empty(), "redis.host", "is not set");
        problems.require(self.port != 0, "redis.port", "must not be 0");
        problems.require(
            (1..=1000).contains(&self.pool_max),
            "redis.pool_max",
            "must be 1 to 1000",
        );
        // Braces choose the slot of a key on a cluster, and the lease's keys bring their own.
        let plain = !self.key_prefix.contains(['{', '}']) && self.key_prefix.len() <= 64;
        problems.require(
            plain,
            "redis.key_prefix",
            "must have at most 64 characters and no braces",
        );
        let file_without_tls = !self.tls && !self.tls_ca_file.is_empty();
        problems.require(!file_without_tls, "redis.tls_ca_file", "is set but redis.tls is off");
        for (key, file) in
            [("password_file", &self.password_file), ("tls_ca_file", &self.tls_ca_file)]
        {
            let readable = file.is_empty() || std::fs::File::open(file).is_ok();
            problems.require(readable, format!("redis.{key}"), format!("can't read `{file}`"));
        }
        for (key, span) in [
            ("connect_timeout", self.connect_timeout),
            ("operation_timeout", self.operation_timeout),
        ] {
            let sane = span >= Duration::from_millis(1) && span <= Duration::from_secs(60);
            problems.require(sane, format!("redis.{key}"), "must be 1ms to 60s");
        }
    }
}

#[cfg(test)]
mod tests {
    use millrace_runtime::settings::{Layers, Validate, load};

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Only {
        redis: RedisSettings,
    }

    impl Validate for Only {
        fn validate(&self, problems: &mut Problems) {
            self.redis.validate(problems);
        }
    }

    fn load_with(environment: &[(&str, &str)]) -> Result<Only, Problems> {
        load(&Layers {
            defaults: vec![DEFAULTS],
            overlay: None,
            prefix: "T",
            environment: environment.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect(),
        })
    }

    #[test]
    fn the_defaults_are_complete_and_valid() {
        let settings = load_with(&[]).unwrap().redis;
        assert_eq!(settings.connect_timeout, Duration::from_secs(3));
        assert!(settings.password.is_empty());
    }

    #[test]
    fn every_bad_setting_has_its_line() {
        let problems = load_with(&[
            ("T__REDIS__HOST", ""),
            ("T__REDIS__POOL_MAX", "0"),
            ("T__REDIS__KEY_PREFIX", "{a}"),
            ("T__REDIS__TLS_CA_FILE", "/nowhere"),
            ("T__REDIS__OPERATION_TIMEOUT", "0s"),
        ])
        .unwrap_err();
        assert_eq!(problems.lines().len(), 6, "{problems}");
    }
}
