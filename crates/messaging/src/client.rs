//! The one place that configures Kafka clients, and what all of them share: security, names of things that went
//! wrong, and one log line for each change between «brokers answer» and «brokers are away».
//!
//! The client library logs and reports each of its own retries; those lines go to DEBUG. What a person needs to
//! see once is the change of state, kept by [`Connection`].

mod token;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rdkafka::ClientContext;
use rdkafka::client::OAuthToken;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use crate::KafkaSettings;
use crate::settings::OAUTHBEARER;

/// What the Kafka client said; opaque, so that the client library stays out of everybody else's types.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{0}")]
pub struct ClientError(pub(crate) KafkaError);

/// Brokers, security, and how the network is treated: the part that producers, consumers and admin share.
#[expect(
    clippy::disallowed_methods,
    reason = "this is the one place that builds the configuration"
)]
pub(crate) fn base_config(settings: &KafkaSettings) -> ClientConfig {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", &settings.brokers)
        .set("client.id", &settings.client_id)
        .set("security.protocol", &settings.security_protocol)
        .set("socket.keepalive.enable", "true")
        // The client's own minute is longer than a message's life and a member's session: with it, what is on its way to
        // a broker that is stopped fails, and a group whose coordinator is stopped loses its members.
        .set("socket.timeout.ms", settings.request_timeout.as_millis().to_string())
        .set("reconnect.backoff.ms", "100")
        .set("reconnect.backoff.max.ms", "1000")
        .set(
            "topic.metadata.refresh.interval.ms",
            settings.metadata_refresh.as_millis().to_string(),
        )
        .set("allow.auto.create.topics", "false");
    if !settings.ca_file.is_empty() {
        config.set("ssl.ca.location", &settings.ca_file);
    }
    if settings.uses_sasl() {
        config.set("sasl.mechanism", &settings.sasl_mechanism);
        if settings.sasl_mechanism != OAUTHBEARER {
            config
                .set("sasl.username", &settings.sasl_username)
                .set("sasl.password", settings.sasl_password.expose());
        }
    }
    config
}

/// Whether the brokers answered this client last, said once per change.
pub(crate) struct Connection {
    role: String,
    token_file: PathBuf,
    away: AtomicBool,
}

impl Connection {
    /// `role` names the client in log lines.
    pub(crate) fn new(role: impl Into<String>, settings: &KafkaSettings) -> Arc<Self> {
        let token_file = PathBuf::from(&settings.oauth_token_file);
        Arc::new(Self { role: role.into(), token_file, away: AtomicBool::new(false) })
    }

    /// Takes note of what the client reported; only what concerns all brokers changes the state.
    pub(crate) fn reported(&self, error: &KafkaError, reason: &str) {
        let concerns_all = matches!(
            error.rdkafka_error_code(),
            Some(
                RDKafkaErrorCode::AllBrokersDown
                    | RDKafkaErrorCode::Authentication
                    | RDKafkaErrorCode::SaslAuthenticationFailed
                    | RDKafkaErrorCode::SSL
            )
        );
        if concerns_all && !self.away.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                client = self.role,
                reason,
                "Kafka brokers are away; the client keeps trying"
            );
        } else {
            tracing::debug!(client = self.role, %error, reason, "Kafka client reported an error");
        }
    }

    /// Takes note that a broker answered.
    pub(crate) fn answered(&self) {
        // The load first: this runs for every message, and the swap would move the cache line each time.
        if self.away.load(Ordering::Relaxed) && self.away.swap(false, Ordering::Relaxed) {
            tracing::info!(client = self.role, "Kafka brokers answer again");
        }
    }

    pub(crate) fn away(&self) -> bool {
        self.away.load(Ordering::Relaxed)
    }

    pub(crate) fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        tracing::debug!(client = self.role, ?level, facility, "Kafka client: {line}");
    }

    pub(crate) fn token(&self) -> Result<OAuthToken, Box<dyn std::error::Error>> {
        Ok(token::read(&self.token_file)?)
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Connection({}, away: {})", self.role, self.away())
    }
}

/// The context of clients that have no callbacks of their own.
#[derive(Debug, Clone)]
pub(crate) struct PlainContext(pub(crate) Arc<Connection>);

impl ClientContext for PlainContext {
    // Asked for only when the mechanism is OAUTHBEARER.
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        self.0.log(level, facility, line);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.0.reported(&error, reason);
    }

    fn generate_oauth_token(
        &self,
        _: Option<&str>,
    ) -> Result<OAuthToken, Box<dyn std::error::Error>> {
        self.0.token()
    }
}
