//! The `[http]` and `[auth]` sections.

use std::path::PathBuf;
use std::time::Duration;

use millrace_runtime::settings::{ByteSize, Problems, duration};
use serde::Deserialize;

/// The `[http]` section with every key, its default and what it means.
pub const HTTP_DEFAULTS: &str = include_str!("../config/http.toml");
/// The `[auth]` section with every key, its default and what it means.
pub const AUTH_DEFAULTS: &str = include_str!("../config/auth.toml");

/// How a service takes requests; the keys are explained in [`HTTP_DEFAULTS`].
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(
    missing_docs,
    reason = "each key is documented in HTTP_DEFAULTS, from which docs/configuration.md is made"
)]
pub struct HttpSettings {
    pub bind: String,
    pub port: u16,
    pub admin_port: u16,
    pub workers: usize,
    pub connections_max: usize,
    pub body_max: ByteSize,
    pub header_max: ByteSize,
    #[serde(with = "duration")]
    pub keep_alive: Duration,
    #[serde(with = "duration")]
    pub head_timeout: Duration,
    #[serde(with = "duration")]
    pub deadline: Duration,
    #[serde(with = "duration")]
    pub health_timeout: Duration,
}

/// The largest request head that the HTTP parser takes at all.
const HEAD_BYTES_PARSED_MAX: u64 = 131_072;

impl HttpSettings {
    /// Adds every problem found to `problems`.
    pub fn validate(&self, problems: &mut Problems) {
        let is_address = self.bind.parse::<std::net::IpAddr>().is_ok();
        problems.require(is_address, "http.bind", "is not an IP address");
        problems.require(
            self.port == 0 || self.port != self.admin_port,
            "http.admin_port",
            "must differ from http.port",
        );
        problems.require(
            (1..=256).contains(&self.workers),
            "http.workers",
            "must be between 1 and 256",
        );
        problems.require(self.connections_max > 0, "http.connections_max", "must be at least 1");
        let body_max = self.body_max.as_u64();
        problems.require(
            (1..=64 * 1024 * 1024).contains(&body_max),
            "http.body_max",
            "must be between 1B and 64MiB",
        );
        problems.require(
            (1024..=HEAD_BYTES_PARSED_MAX).contains(&self.header_max.as_u64()),
            "http.header_max",
            "must be between 1KiB and 128KiB",
        );
        for (key, value) in [
            ("keep_alive", self.keep_alive),
            ("head_timeout", self.head_timeout),
            ("deadline", self.deadline),
            ("health_timeout", self.health_timeout),
        ] {
            problems.require(!value.is_zero(), format!("http.{key}"), "must be longer than zero");
        }
    }

    /// The largest body in bytes.
    #[must_use]
    pub fn body_bytes_max(&self) -> usize {
        usize::try_from(self.body_max.as_u64()).unwrap_or(usize::MAX)
    }
}

/// Whose tokens are accepted; the keys are explained in [`AUTH_DEFAULTS`].
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(
    missing_docs,
    reason = "each key is documented in AUTH_DEFAULTS, from which docs/configuration.md is made"
)]
pub struct AuthSettings {
    pub jwks_file: PathBuf,
    pub issuer: String,
    pub audience: String,
    pub algorithms: Vec<String>,
    #[serde(with = "duration")]
    pub leeway: Duration,
    #[serde(with = "duration")]
    pub reload_interval: Duration,
}

impl AuthSettings {
    /// Adds every problem found to `problems`.
    pub fn validate(&self, problems: &mut Problems) {
        problems.require(!self.jwks_file.as_os_str().is_empty(), "auth.jwks_file", "is not set");
        problems.require(!self.issuer.is_empty(), "auth.issuer", "is not set");
        problems.require(!self.audience.is_empty(), "auth.audience", "is not set");
        problems.require(!self.algorithms.is_empty(), "auth.algorithms", "must name at least one");
        for name in &self.algorithms {
            // Symmetric algorithms are refused by name: with them a public key would be a signing key.
            problems.require(
                crate::auth::algorithm(name).is_some(),
                "auth.algorithms",
                format!("`{name}` is not RS256 or EdDSA"),
            );
        }
        problems.require(
            self.leeway <= Duration::from_secs(300),
            "auth.leeway",
            "must be at most 5m: a longer one keeps dead tokens alive",
        );
        problems.require(
            !self.reload_interval.is_zero(),
            "auth.reload_interval",
            "must be longer than zero",
        );
    }
}

#[cfg(test)]
mod tests {
    use millrace_runtime::settings::{Layers, Validate, load};

    use super::*;

    #[derive(Debug, Deserialize)]
    struct Sections {
        http: HttpSettings,
        auth: AuthSettings,
    }
    impl Validate for Sections {
        fn validate(&self, problems: &mut Problems) {
            self.http.validate(problems);
            self.auth.validate(problems);
        }
    }

    fn read(environment: &[(&str, &str)]) -> Result<Sections, Problems> {
        load(&Layers {
            defaults: vec![HTTP_DEFAULTS, AUTH_DEFAULTS],
            overlay: None,
            prefix: "T",
            environment: environment
                .iter()
                .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
                .collect(),
        })
    }

    #[test]
    fn the_defaults_only_lack_the_key_file() {
        let problems = read(&[]).unwrap_err();
        assert_eq!(problems.lines(), ["auth.jwks_file: is not set"]);
        assert!(read(&[("T__AUTH__JWKS_FILE", "keys.json")]).is_ok());
    }

    #[test]
    fn a_symmetric_algorithm_is_refused_at_the_start() {
        for (list, count) in [("HS256", 1), ("RS256,none,HS512", 2), ("", 1)] {
            let problems =
                read(&[("T__AUTH__JWKS_FILE", "keys.json"), ("T__AUTH__ALGORITHMS", list)])
                    .unwrap_err();
            assert_eq!(problems.lines().len(), count, "{problems}");
        }
    }

    #[test]
    fn every_problem_of_the_server_is_found() {
        let problems = read(&[
            ("T__AUTH__JWKS_FILE", "keys.json"),
            ("T__HTTP__BIND", "everywhere"),
            ("T__HTTP__ADMIN_PORT", "8080"),
            ("T__HTTP__WORKERS", "0"),
            ("T__HTTP__BODY_MAX", "1GiB"),
            ("T__HTTP__DEADLINE", "0s"),
        ])
        .unwrap_err();
        assert_eq!(problems.lines().len(), 5, "{problems}");
    }
}
