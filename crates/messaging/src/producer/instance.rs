//! The client behind a producer, replaced when it ends fatally.
//!
//! An idempotent client that meets an error it can't reconcile with its promise (a topic deleted and made again,
//! a producer id the broker has forgotten) refuses everything from then on. Every message it held was failed to
//! its publisher, so a fresh client loses nothing.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use rdkafka::config::ClientConfig;
use rdkafka::error::KafkaError;
use rdkafka::producer::{DeliveryFuture, FutureProducer, FutureRecord, Producer as _};

use crate::KafkaSettings;
use crate::client::{ClientError, Connection, PlainContext};

type Client = FutureProducer<PlainContext>;
type BytesRecord<'a> = FutureRecord<'a, [u8], [u8]>;

pub(super) struct Instance {
    config: ClientConfig,
    connection: Arc<Connection>,
    // A std lock: held to clone or swap a handle, never over an await.
    current: RwLock<Client>,
}

impl Instance {
    pub(super) fn start(
        role: &'static str,
        config: ClientConfig,
        settings: &KafkaSettings,
    ) -> Result<Self, ClientError> {
        let connection = Connection::new(role, settings);
        let client = create(&config, &connection)?;
        Ok(Self { config, connection, current: RwLock::new(client) })
    }

    pub(super) fn connection(&self) -> &Connection {
        &self.connection
    }

    #[expect(
        clippy::result_large_err,
        reason = "the record goes back by value, as the client gives it"
    )]
    pub(super) fn enqueue<'a>(
        &self,
        record: BytesRecord<'a>,
    ) -> Result<DeliveryFuture, (KafkaError, BytesRecord<'a>)> {
        let client = self.client();
        let result = client.send_result(record);
        if result.is_err() {
            self.renew_if_fatal();
        }
        result
    }

    pub(super) async fn flush(&self, budget: Duration) -> bool {
        let client = self.client();
        // The client's flush blocks its thread.
        tokio::task::spawn_blocking(move || client.flush(budget).is_ok()).await.unwrap_or(false)
    }

    /// Puts a fresh client in the place of one that ended fatally.
    pub(super) fn renew_if_fatal(&self) {
        let Some((code, reason)) = self.client().client().fatal_error() else {
            return;
        };
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        if current.client().fatal_error().is_none() {
            return; // Another publisher was faster.
        }
        match create(&self.config, &self.connection) {
            Ok(fresh) => {
                tracing::warn!(?code, reason, "producer ended fatally and was replaced");
                let ended = std::mem::replace(&mut *current, fresh);
                // Its drop waits for its threads, which must not hold up a worker of the runtime.
                std::thread::spawn(move || drop(ended));
            }
            Err(error) => {
                tracing::error!(?code, reason, %error, "producer ended fatally and was not replaced");
            }
        }
    }

    fn client(&self) -> Client {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl fmt::Debug for Instance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Instance").field("connection", &self.connection).finish_non_exhaustive()
    }
}

fn create(config: &ClientConfig, connection: &Arc<Connection>) -> Result<Client, ClientError> {
    config.create_with_context(PlainContext(Arc::clone(connection))).map_err(ClientError)
}
