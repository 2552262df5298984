//! What an operator can set about Kafka, its defaults, and what is refused.

use std::time::Duration;

use millrace_resilience::Backoff;
use millrace_runtime::settings::{ByteSize, Layers, Problems, Secret, Validate, duration, load};
use serde::Deserialize;

use crate::RetryPolicy;

/// The section `[kafka]` with every key and its default.
pub const DEFAULTS: &str = include_str!("../config/kafka.toml");

/// Room above [`KafkaSettings::message_bytes_max`] that a dead letter's own headers need.
pub(crate) const DEAD_LETTER_ROOM_BYTES: u64 = 64 * 1024;

/// The keys of `[kafka]`; `config/kafka.toml` says what each means.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(
    missing_docs,
    reason = "each key is explained where its default stands, in config/kafka.toml"
)]
pub struct KafkaSettings {
    pub brokers: String,
    pub client_id: String,
    pub security_protocol: String,
    pub sasl_mechanism: String,
    pub sasl_username: String,
    pub sasl_password: Secret,
    pub oauth_token_file: String,
    pub ca_file: String,
    pub topic_prefix: String,
    pub group_suffix: String,
    pub message_bytes_max: ByteSize,
    #[serde(with = "duration")]
    pub request_timeout: Duration,
    #[serde(with = "duration")]
    pub publish_timeout: Duration,
    #[serde(with = "duration")]
    pub queue_wait: Duration,
    pub queue_records_max: u32,
    pub queue_bytes_max: ByteSize,
    pub buffer_records_max: usize,
    pub buffer_bytes_max: ByteSize,
    pub buffer_in_flight_max: usize,
    #[serde(with = "duration")]
    pub linger: Duration,
    #[serde(with = "duration")]
    pub bulk_linger: Duration,
    pub bulk_batch_bytes: ByteSize,
    pub bulk_retries: u32,
    #[serde(with = "duration")]
    pub session_timeout: Duration,
    #[serde(with = "duration")]
    pub heartbeat_interval: Duration,
    #[serde(with = "duration")]
    pub commit_interval: Duration,
    pub group_protocol: GroupProtocol,
    pub group_remote_assignor: String,
    pub instance_id: String,
    #[serde(with = "duration")]
    pub poll_interval_max: Duration,
    pub concurrency: usize,
    pub batch_records_max: usize,
    pub batch_bytes_max: ByteSize,
    pub in_flight_records_max: usize,
    pub in_flight_bytes_max: ByteSize,
    pub fetch_queue_bytes_max: ByteSize,
    pub retry_immediate: u32,
    #[serde(with = "duration")]
    pub retry_give_up_after: Duration,
    pub flood_failures: u32,
    #[serde(with = "duration")]
    pub retry_wait_min: Duration,
    #[serde(with = "duration")]
    pub retry_wait_max: Duration,
    #[serde(with = "duration")]
    pub revoke_timeout: Duration,
    #[serde(with = "duration")]
    pub close_timeout: Duration,
    #[serde(with = "duration")]
    pub stall_limit: Duration,
    #[serde(with = "duration")]
    pub lag_interval: Duration,
    #[serde(with = "duration")]
    pub metadata_refresh: Duration,
}

/// How members of a group agree on who owns what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum GroupProtocol {
    /// Members agree among themselves, by the cooperative-sticky rule.
    Classic,
    /// The broker decides (KIP-848, Kafka 4.0 and later).
    Consumer,
}

const PROTOCOLS: [&str; 4] = ["PLAINTEXT", "SSL", "SASL_SSL", "SASL_PLAINTEXT"];
const PASSWORD_MECHANISMS: [&str; 3] = ["SCRAM-SHA-512", "SCRAM-SHA-256", "PLAIN"];
pub(crate) const OAUTHBEARER: &str = "OAUTHBEARER";

impl KafkaSettings {
    /// For a program that sets nothing else: the defaults, then `PREFIX__KAFKA__BROKERS` and the like in the
    /// environment. A service reads them as one section among its own.
    ///
    /// # Errors
    /// Every problem at once.
    pub fn from_environment(
        prefix: &'static str,
        environment: Vec<(String, String)>,
    ) -> Result<Self, Problems> {
        let layers = Layers { defaults: vec![DEFAULTS], overlay: None, prefix, environment };
        load::<Section>(&layers).map(|section| section.kafka)
    }

    /// True when the broker asks for a token instead of a password.
    pub(crate) fn uses_oauth(&self) -> bool {
        self.uses_sasl() && self.sasl_mechanism == OAUTHBEARER
    }

    /// What the settings say about failed records.
    pub(crate) fn retry_policy(&self) -> RetryPolicy {
        RetryPolicy {
            immediate: self.retry_immediate,
            backoff: Backoff {
                initial: self.retry_wait_min,
                max: self.retry_wait_max,
                ..Backoff::STANDARD
            },
            give_up_after: Some(self.retry_give_up_after).filter(|wait| !wait.is_zero()),
            routes: Vec::new(),
        }
    }

    pub(crate) fn uses_sasl(&self) -> bool {
        self.security_protocol.starts_with("SASL_")
    }

    fn validate_security(&self, problems: &mut Problems) {
        let protocol = self.security_protocol.as_str();
        problems.require(
            PROTOCOLS.contains(&protocol),
            "kafka.security_protocol",
            format!("`{protocol}` is none of {}", PROTOCOLS.join(", ")),
        );
        let mechanism = self.sasl_mechanism.as_str();
        if !self.uses_sasl() {
            problems.require(
                mechanism.is_empty(),
                "kafka.sasl_mechanism",
                "is set, but security_protocol is without SASL",
            );
        } else if mechanism == OAUTHBEARER {
            problems.require(
                !self.oauth_token_file.is_empty(),
                "kafka.oauth_token_file",
                "is not set, and OAUTHBEARER needs it",
            );
        } else if PASSWORD_MECHANISMS.contains(&mechanism) {
            let text = format!("is not set, and {mechanism} needs it");
            problems.require(!self.sasl_username.is_empty(), "kafka.sasl_username", &text);
            problems.require(!self.sasl_password.is_empty(), "kafka.sasl_password", &text);
        } else {
            let known = PASSWORD_MECHANISMS.join(", ");
            let text = format!("`{mechanism}` is none of {known}, {OAUTHBEARER}");
            problems.add("kafka.sasl_mechanism", text);
        }
    }

    fn validate_durations(&self, problems: &mut Problems) {
        let day = Duration::from_secs(24 * 60 * 60);
        problems.require(
            self.request_timeout >= Duration::from_millis(10)
                && self.request_timeout <= Duration::from_secs(300),
            "kafka.request_timeout",
            "must be between 10ms and 5m",
        );
        for (key, value) in [
            ("publish_timeout", self.publish_timeout),
            ("session_timeout", self.session_timeout),
            ("heartbeat_interval", self.heartbeat_interval),
            ("commit_interval", self.commit_interval),
            ("retry_wait_min", self.retry_wait_min),
            ("retry_wait_max", self.retry_wait_max),
            ("poll_interval_max", self.poll_interval_max),
            ("revoke_timeout", self.revoke_timeout),
            ("close_timeout", self.close_timeout),
            ("stall_limit", self.stall_limit),
            ("lag_interval", self.lag_interval),
            ("metadata_refresh", self.metadata_refresh),
        ] {
            // The client counts in milliseconds; zero means "never" to it in places.
            let sane = value >= Duration::from_millis(1) && value <= day;
            problems.require(sane, format!("kafka.{key}"), "must be between 1ms and 1day");
        }
        problems.require(
            self.heartbeat_interval * 3 <= self.session_timeout,
            "kafka.heartbeat_interval",
            "must be at most a third of session_timeout, or one lost heartbeat costs the partitions",
        );
        problems.require(
            self.linger < self.publish_timeout && self.bulk_linger < self.publish_timeout,
            "kafka.publish_timeout",
            "must be longer than linger and bulk_linger",
        );
        problems.require(
            self.retry_wait_min <= self.retry_wait_max,
            "kafka.retry_wait_max",
            "must not be below retry_wait_min",
        );
        problems.require(
            self.poll_interval_max >= self.session_timeout,
            "kafka.poll_interval_max",
            "must not be below session_timeout",
        );
        problems.require(
            self.revoke_timeout < self.session_timeout,
            "kafka.revoke_timeout",
            "must be below session_timeout",
        );
    }

    fn validate_sizes(&self, problems: &mut Problems) {
        let message = self.message_bytes_max.as_u64();
        problems.require(
            (1024..=100 * 1024 * 1024).contains(&message),
            "kafka.message_bytes_max",
            "must be between 1KiB and 100MiB",
        );
        for (key, size) in [
            ("queue_bytes_max", self.queue_bytes_max),
            ("buffer_bytes_max", self.buffer_bytes_max),
            ("in_flight_bytes_max", self.in_flight_bytes_max),
            ("fetch_queue_bytes_max", self.fetch_queue_bytes_max),
        ] {
            let sane = size.as_u64() >= message && size.as_u64() <= 2 * 1024 * 1024 * 1024 - 1024;
            let key = format!("kafka.{key}");
            problems.require(sane, key, "must be between message_bytes_max and 2GiB");
        }
        for (key, size) in
            [("batch_bytes_max", self.batch_bytes_max), ("bulk_batch_bytes", self.bulk_batch_bytes)]
        {
            let sane = (1024..=1024 * 1024 * 1024).contains(&size.as_u64());
            problems.require(sane, format!("kafka.{key}"), "must be between 1KiB and 1GiB");
        }
        for (key, count) in [
            ("batch_records_max", self.batch_records_max),
            ("in_flight_records_max", self.in_flight_records_max),
            ("concurrency", self.concurrency),
            ("buffer_records_max", self.buffer_records_max),
            ("buffer_in_flight_max", self.buffer_in_flight_max),
            ("queue_records_max", usize::try_from(self.queue_records_max).unwrap_or(usize::MAX)),
        ] {
            let sane = (1..=10_000_000).contains(&count);
            problems.require(sane, format!("kafka.{key}"), "must be between 1 and 10000000");
        }
    }
}

impl Validate for KafkaSettings {
    fn validate(&self, problems: &mut Problems) {
        problems.require(!self.brokers.trim().is_empty(), "kafka.brokers", "is not set");
        problems.require(!self.client_id.trim().is_empty(), "kafka.client_id", "is not set");
        let name =
            |text: &str| text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
        let rule = "may contain only letters, digits, `.`, `_` and `-`";
        problems.require(name(&self.topic_prefix), "kafka.topic_prefix", rule);
        problems.require(name(&self.group_suffix), "kafka.group_suffix", rule);
        self.validate_security(problems);
        self.validate_durations(problems);
        self.validate_sizes(problems);
    }
}

/// The one section of a program that sets nothing but Kafka.
#[derive(Debug, Deserialize)]
struct Section {
    kafka: KafkaSettings,
}

impl Validate for Section {
    fn validate(&self, problems: &mut Problems) {
        self.kafka.validate(problems);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(environment: &[(&str, &str)]) -> Result<KafkaSettings, Problems> {
        let environment =
            environment.iter().map(|(k, v)| (format!("T__KAFKA__{k}"), (*v).to_owned())).collect();
        KafkaSettings::from_environment("T", environment)
    }

    #[test]
    fn the_defaults_are_valid() {
        assert_eq!(read(&[]).unwrap().session_timeout, Duration::from_secs(30));
    }

    #[test]
    fn every_problem_is_found_at_once() {
        let problems = read(&[
            ("SECURITY_PROTOCOL", "SASL_SSL"),
            ("SASL_MECHANISM", "SCRAM-SHA-512"),
            ("TOPIC_PREFIX", "a b"),
            ("HEARTBEAT_INTERVAL", "20s"),
            ("IN_FLIGHT_BYTES_MAX", "1KiB"),
        ])
        .unwrap_err();
        let text = problems.to_string();
        for key in [
            "sasl_username",
            "sasl_password",
            "topic_prefix",
            "heartbeat_interval",
            "in_flight_bytes_max",
        ] {
            assert!(text.contains(key), "{key} is missing in: {text}");
        }
        assert_eq!(problems.lines().len(), 5);
    }

    #[test]
    fn a_mechanism_asks_for_what_it_needs() {
        let problems =
            read(&[("SECURITY_PROTOCOL", "SASL_SSL"), ("SASL_MECHANISM", "OAUTHBEARER")])
                .unwrap_err();
        assert!(problems.to_string().contains("oauth_token_file"));
        assert!(
            read(&[("SASL_MECHANISM", "PLAIN")]).unwrap_err().to_string().contains("without SASL")
        );
        assert!(
            read(&[("SECURITY_PROTOCOL", "SASL_SSL"), ("SASL_MECHANISM", "GSSAPI")])
                .unwrap_err()
                .to_string()
                .contains("none of")
        );
    }
}
