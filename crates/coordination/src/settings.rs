//! Settings of the connection to Redis.

use std::time::Duration;

use millrace_runtime::settings::{Problems, Secret, duration};
use serde::Deserialize;

/// Defaults of the section `[redis]`.
pub const DEFAULTS: &str = include_str!("../config/redis.toml");

/// How Redis is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RedisMode {
    /// One server.
    Single,
    /// A primary with replicas; Sentinel says which one it is.
    Sentinel,
    /// Redis Cluster.
    Cluster,
}

/// The section `[redis]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "the comments in config/redis.toml are the documentation")]
pub struct RedisSettings {
    pub mode: RedisMode,
    pub host: String,
    pub port: u16,
    pub nodes: Vec<String>,
    pub sentinel_master: String,
    pub sentinel_user: String,
    pub sentinel_password: Secret,
    pub sentinel_password_file: String,
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
        self.validate_place(problems);
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
        for (key, file) in [
            ("password_file", &self.password_file),
            ("sentinel_password_file", &self.sentinel_password_file),
            ("tls_ca_file", &self.tls_ca_file),
        ] {
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

    /// Each mode needs its own keys and no others; a key of another mode is a slip that would go unseen.
    fn validate_place(&self, problems: &mut Problems) {
        match self.mode {
            RedisMode::Single => {
                problems.require(!self.host.is_empty(), "redis.host", "is not set");
                problems.require(self.port != 0, "redis.port", "must not be 0");
                let text = "is for the modes sentinel and cluster";
                problems.require(self.nodes.is_empty(), "redis.nodes", text);
            }
            RedisMode::Sentinel | RedisMode::Cluster => {
                problems.require(!self.nodes.is_empty(), "redis.nodes", "is empty");
                for node in &self.nodes {
                    let text = format!("`{node}` is not host:port");
                    problems.require(host_and_port(node).is_some(), "redis.nodes", text);
                }
            }
        }
        let sentinel = self.mode == RedisMode::Sentinel;
        let named = !self.sentinel_master.is_empty();
        let text = "must be set in mode sentinel and in no other";
        problems.require(sentinel == named, "redis.sentinel_master", text);
        for (key, given) in [
            ("sentinel_user", !self.sentinel_user.is_empty()),
            ("sentinel_password", !self.sentinel_password.is_empty()),
            ("sentinel_password_file", !self.sentinel_password_file.is_empty()),
        ] {
            let text = "is for the mode sentinel";
            problems.require(sentinel || !given, format!("redis.{key}"), text);
        }
        let numbered = self.mode != RedisMode::Cluster || self.database == 0;
        problems.require(numbered, "redis.database", "must be 0 in mode cluster");
    }
}

/// The parts of `host:port`; an IPv6 address stands in brackets.
pub(crate) fn host_and_port(node: &str) -> Option<(&str, u16)> {
    let (host, port) = node.rsplit_once(':')?;
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let host = match bare {
        Some(address) => address,
        None if host.contains(':') => return None,
        None => host,
    };
    let port: u16 = port.parse().ok().filter(|port| *port != 0)?;
    (!host.is_empty()).then_some((host, port))
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

    #[test]
    fn each_mode_asks_for_its_own_keys_and_refuses_the_others() {
        let bad: [(&[(&str, &str)], &str); 9] = [
            (&[("T__REDIS__MODE", "mesh")], "redis.mode"),
            (&[("T__REDIS__NODES", "a:1")], "redis.nodes"),
            (&[("T__REDIS__SENTINEL_MASTER", "m")], "redis.sentinel_master"),
            (&[("T__REDIS__SENTINEL_USER", "u")], "redis.sentinel_user"),
            (&[("T__REDIS__SENTINEL_PASSWORD", "p")], "redis.sentinel_password"),
            (&[("T__REDIS__MODE", "cluster")], "redis.nodes"),
            (
                &[("T__REDIS__MODE", "sentinel"), ("T__REDIS__NODES", "a:1")],
                "redis.sentinel_master",
            ),
            (&[("T__REDIS__MODE", "cluster"), ("T__REDIS__NODES", "a:1,b")], "redis.nodes"),
            (
                &[
                    ("T__REDIS__MODE", "cluster"),
                    ("T__REDIS__NODES", "a:1"),
                    ("T__REDIS__DATABASE", "2"),
                ],
                "redis.database",
            ),
        ];
        for (environment, key) in bad {
            let problems = load_with(environment).unwrap_err();
            assert_eq!(problems.lines().len(), 1, "{problems}");
            assert!(problems.to_string().contains(key), "{problems}");
        }
        let good = load_with(&[
            ("T__REDIS__MODE", "sentinel"),
            ("T__REDIS__NODES", "a:26379, [::1]:26380"),
            ("T__REDIS__SENTINEL_MASTER", "millrace"),
        ]);
        let redis = good.unwrap().redis;
        assert_eq!(redis.mode, RedisMode::Sentinel);
        assert_eq!(host_and_port(&redis.nodes[1]), Some(("::1", 26380)));
    }

    #[test]
    fn a_node_is_a_host_and_a_port() {
        for bad in ["", "a", "a:", ":1", "a:0", "a:65536", "::1", "::1:6379", "[]:1"] {
            assert_eq!(host_and_port(bad), None, "{bad}");
        }
        assert_eq!(host_and_port("a.b:1"), Some(("a.b", 1)));
    }
}
