//! The pool of connections to Redis.
//!
//! Connections open when first needed, so a service starts while Redis is away. A connection's driver is a task on
//! the runtime that opened it; one opened inside a worker's own runtime would die with that worker, so a
//! connection is always opened on the runtime on which the pool was made. Every use is bounded: waiting for a
//! connection, opening one and the command share one operation timeout.

mod connection;
mod endpoint;

use std::sync::Arc;
use std::time::Duration;

use deadpool::Runtime;
use deadpool::managed::{self, Metrics, Object, RecycleError, RecycleResult};
use millrace_resilience::{Class, Classify};
use redis::aio::PubSub;
use redis::{FromRedisValue, RedisResult, ToRedisArgs};
use tokio::runtime::Handle;
use tokio::time::{Instant, timeout_at};

use crate::RedisSettings;
use crate::scripts::Lua;
use endpoint::Endpoint;

pub use connection::RedisConnection;

type Pool = managed::Pool<Connections>;
type PoolError = managed::PoolError<redis::RedisError>;

/// Connections to Redis under one key prefix. Cloning shares them.
#[derive(Clone)]
pub struct Redis {
    pool: Pool,
    endpoint: Arc<Endpoint>,
    home: Handle,
    key_prefix: Arc<str>,
    operation_timeout: Duration,
}

/// Why Redis did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum RedisError {
    /// A file named in the settings can't be read.
    #[error("file `{path}` can't be read")]
    File {
        /// The setting.
        path: String,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The settings don't make a client.
    #[error("the settings make no Redis client")]
    Settings(#[source] redis::RedisError),
    /// No connection was to be had.
    #[error("no connection to Redis")]
    Connection(#[source] Box<PoolError>),
    /// The command failed.
    #[error("Redis refused or lost the command {command}")]
    Command {
        /// What was asked.
        command: &'static str,
        /// What the client said.
        #[source]
        source: redis::RedisError,
    },
    /// Too slow.
    #[error("Redis didn't answer {command} within {within:?}")]
    Timeout {
        /// What was asked.
        command: &'static str,
        /// The setting `operation_timeout`.
        within: Duration,
    },
}

impl Classify for RedisError {
    fn class(&self) -> Class {
        match self {
            Self::File { .. } | Self::Settings(_) => Class::Permanent,
            Self::Connection(_) | Self::Command { .. } | Self::Timeout { .. } => Class::Transient,
        }
    }
}

impl Redis {
    /// Makes the pool without connecting. Call it on the main runtime.
    ///
    /// # Errors
    /// When a file can't be read or the TLS settings are unusable. Never because Redis is away.
    pub fn connect(settings: &RedisSettings) -> Result<Self, RedisError> {
        let endpoint = Arc::new(Endpoint::new(settings)?);
        let pool = Pool::builder(Connections(Arc::clone(&endpoint)))
            .max_size(settings.pool_max)
            .runtime(Runtime::Tokio1)
            .wait_timeout(Some(settings.operation_timeout))
            .create_timeout(Some(settings.connect_timeout))
            .recycle_timeout(Some(settings.operation_timeout / 2))
            .build()
            .expect("timeouts are set together with a runtime");
        Ok(Self {
            pool,
            endpoint,
            home: Handle::current(),
            key_prefix: settings.key_prefix.as_str().into(),
            operation_timeout: settings.operation_timeout,
        })
    }

    /// Runs one command on a pooled connection; `command` names it in errors.
    ///
    /// # Errors
    /// See [`RedisError`].
    pub async fn run<T>(
        &self,
        command: &'static str,
        work: impl AsyncFnOnce(&mut RedisConnection) -> RedisResult<T>,
    ) -> Result<T, RedisError> {
        self.run_until(Instant::now() + self.operation_timeout, command, work).await
    }

    /// Runs one script, which must bear to run twice. When the server says that it is no primary, or the connection
    /// drops, it is run again on another connection, within the same time.
    pub(crate) async fn script<T: FromRedisValue>(
        &self,
        command: &'static str,
        script: &Lua,
        keys: &[&str],
        arguments: &(impl ToRedisArgs + Sync),
    ) -> Result<T, RedisError> {
        let deadline = Instant::now() + self.operation_timeout;
        loop {
            let answer = self.run_until(deadline, command, async |connection| {
                script.run(connection, keys, arguments).await
            });
            match answer.await {
                Err(RedisError::Command { source, .. }) if connection::is_left(&source) => {}
                answer => return answer,
            }
        }
    }

    async fn run_until<T>(
        &self,
        deadline: Instant,
        command: &'static str,
        work: impl AsyncFnOnce(&mut RedisConnection) -> RedisResult<T>,
    ) -> Result<T, RedisError> {
        let timeout = || RedisError::Timeout { command, within: self.operation_timeout };
        let opened = timeout_at(deadline, self.connection()).await;
        let mut connection = opened.unwrap_or_else(|_| Err(timeout()))?;
        connection.begin();
        let Ok(answer) = timeout_at(deadline, work(&mut connection)).await else {
            connection.give_up();
            return Err(timeout());
        };
        connection.end(&answer);
        answer.map_err(|source| {
            if source.is_timeout() { timeout() } else { RedisError::Command { command, source } }
        })
    }

    /// A key under this service's prefix.
    #[must_use]
    pub fn key(&self, name: &str) -> String {
        format!("{}{name}", self.key_prefix)
    }

    /// How many connections are open, and how many of them wait for work.
    #[must_use]
    pub fn connections(&self) -> (usize, usize) {
        let status = self.pool.status();
        (status.size, status.available)
    }

    /// Closes the pool; whoever asks later gets an error.
    pub fn close(&self) {
        self.pool.close();
    }

    /// Opens a connection of its own for subscriptions. Call it on the home runtime.
    pub(crate) async fn subscribe(&self, channel: &str) -> Result<PubSub, RedisError> {
        let command = "SUBSCRIBE";
        let within = self.operation_timeout;
        let opened = tokio::time::timeout(within, async {
            let mut subscription = self.endpoint.subscribe().await?;
            subscription.subscribe(channel).await?;
            Ok(subscription)
        });
        match opened.await {
            Ok(opened) => opened.map_err(|source| RedisError::Command { command, source }),
            Err(_) => Err(RedisError::Timeout { command, within }),
        }
    }

    /// The runtime on which the pool was made.
    pub(crate) fn home(&self) -> &Handle {
        &self.home
    }

    async fn connection(&self) -> Result<Object<Connections>, RedisError> {
        let failed = |error| RedisError::Connection(Box::new(error));
        if Handle::current().id() == self.home.id() {
            return self.pool.get().await.map_err(failed);
        }
        let pool = self.pool.clone();
        let opened = self.home.spawn(async move { pool.get().await }).await;
        opened.unwrap_or(Err(PoolError::Closed)).map_err(failed)
    }
}

/// What the pool asks for a connection, and whether one may be used again.
struct Connections(Arc<Endpoint>);

impl managed::Manager for Connections {
    type Type = RedisConnection;
    type Error = redis::RedisError;

    async fn create(&self) -> RedisResult<RedisConnection> {
        self.0.connect().await
    }

    async fn recycle(
        &self,
        connection: &mut RedisConnection,
        _: &Metrics,
    ) -> RecycleResult<redis::RedisError> {
        let endpoint = &self.0;
        if connection.is_usable(async |connection| endpoint.confirms(connection).await).await? {
            Ok(())
        } else {
            Err(RecycleError::message("the connection broke or its server is no primary"))
        }
    }
}

impl std::fmt::Debug for Redis {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Redis").field("key_prefix", &self.key_prefix).finish_non_exhaustive()
    }
}
