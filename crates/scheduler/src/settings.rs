//! The section `[scheduler]`.

use std::time::Duration;

use millrace_runtime::settings::{Problems, duration};
use serde::Deserialize;

/// Defaults of the section `[scheduler]`.
pub const DEFAULTS: &str = include_str!("../config/scheduler.toml");

/// What happens while Redis is away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WithoutRedis {
    /// Dispatch goes on without a lease; row locks and the unique key decide.
    Database,
    /// Nothing is dispatched until Redis is back.
    Pause,
}

/// The section `[scheduler]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "the comments in config/scheduler.toml are the documentation")]
pub struct SchedulerSettings {
    #[serde(with = "duration")]
    pub lease_ttl: Duration,
    pub without_redis: WithoutRedis,
    pub batch: u16,
    #[serde(with = "duration")]
    pub history_retention: Duration,
}

impl SchedulerSettings {
    /// Adds every problem of this section.
    pub fn validate(&self, problems: &mut Problems) {
        let (second, day) = (Duration::from_secs(1), Duration::from_secs(24 * 60 * 60));
        problems.require(
            (second..=60 * second).contains(&self.lease_ttl),
            "scheduler.lease_ttl",
            "must be 1s to 60s",
        );
        problems.require((1..=1000).contains(&self.batch), "scheduler.batch", "must be 1 to 1000");
        problems.require(
            (day..=3660 * day).contains(&self.history_retention),
            "scheduler.history_retention",
            "must be 1 to 3660 days",
        );
    }
}

#[cfg(test)]
mod tests {
    use millrace_runtime::settings::{Layers, Validate, load};

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Only {
        scheduler: SchedulerSettings,
    }

    impl Validate for Only {
        fn validate(&self, problems: &mut Problems) {
            self.scheduler.validate(problems);
        }
    }

    fn read(environment: &[(&str, &str)]) -> Result<SchedulerSettings, String> {
        let environment = environment
            .iter()
            .map(|(key, value)| (format!("T__SCHEDULER__{key}"), (*value).into()));
        let layers = Layers {
            defaults: vec![DEFAULTS],
            overlay: None,
            prefix: "T",
            environment: environment.collect(),
        };
        load::<Only>(&layers).map(|only| only.scheduler).map_err(|problems| problems.to_string())
    }

    #[test]
    fn the_defaults_are_complete_and_every_bad_setting_has_its_line() {
        let defaults = read(&[]).unwrap();
        assert_eq!(defaults.without_redis, WithoutRedis::Database);
        assert_eq!(defaults.history_retention, Duration::from_secs(30 * 24 * 60 * 60));
        let bad = read(&[
            ("LEASE_TTL", "0s"),
            ("WITHOUT_REDIS", "hope"),
            ("BATCH", "0"),
            ("HISTORY_RETENTION", "1s"),
        ]);
        let problems = bad.unwrap_err();
        for key in ["lease_ttl", "without_redis", "batch", "history_retention"] {
            assert!(problems.contains(key), "{key} is missing in {problems}");
        }
    }
}
