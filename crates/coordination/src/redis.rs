//! The pool of connections to Redis.
//!
//! Connections open when first needed, so a service starts while Redis is away. A connection's driver is a task on
//! the runtime that opened it; one opened inside a worker's own runtime would die with that worker, so a
//! connection is always opened on the runtime on which the pool was made. Every use is bounded: waiting for a
//! connection, opening one and the command share one operation timeout.

use std::sync::Arc;
use std::time::Duration;

use deadpool_redis::redis::aio::MultiplexedConnection;
use deadpool_redis::redis::{
    self, AsyncConnectionConfig, Client, ConnectionAddr, IntoConnectionInfo as _,
    RedisConnectionInfo, TlsCertificates,
};
use deadpool_redis::{Connection, Manager, Pool, PoolError, Runtime};
use millrace_resilience::{Class, Classify};
use tokio::runtime::Handle;

use crate::RedisSettings;

/// Connections to Redis under one key prefix. Cloning shares them.
#[derive(Clone)]
pub struct Redis {
    pool: Pool,
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
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(settings.connect_timeout))
            .set_response_timeout(Some(settings.operation_timeout));
        let client = client(settings)?;
        let manager = Manager::new_with_config(client.get_connection_info().clone(), config)
            .map_err(RedisError::Settings)?;
        let pool = Pool::builder(manager)
            .max_size(settings.pool_max)
            .runtime(Runtime::Tokio1)
            .wait_timeout(Some(settings.operation_timeout))
            .create_timeout(Some(settings.connect_timeout))
            .recycle_timeout(Some(settings.operation_timeout))
            .build()
            .expect("timeouts are set together with a runtime");
        Ok(Self {
            pool,
            home: Handle::current(),
            key_prefix: settings.key_prefix.as_str().into(),
            operation_timeout: settings.operation_timeout,
        })
    }

    /// Runs one command or script on a pooled connection; `command` names it in errors.
    ///
    /// # Errors
    /// See [`RedisError`].
    pub async fn run<T>(
        &self,
        command: &'static str,
        work: impl AsyncFnOnce(&mut MultiplexedConnection) -> redis::RedisResult<T>,
    ) -> Result<T, RedisError> {
        let within = self.operation_timeout;
        let bounded = tokio::time::timeout(within, async {
            let mut connection = self.connection().await?;
            work(&mut connection).await.map_err(|source| RedisError::Command { command, source })
        });
        bounded.await.unwrap_or(Err(RedisError::Timeout { command, within }))
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

    async fn connection(&self) -> Result<Connection, RedisError> {
        let failed = |error| RedisError::Connection(Box::new(error));
        if Handle::current().id() == self.home.id() {
            return self.pool.get().await.map_err(failed);
        }
        let pool = self.pool.clone();
        let opened = self.home.spawn(async move { pool.get().await }).await;
        opened.unwrap_or(Err(PoolError::Closed)).map_err(failed)
    }
}

impl std::fmt::Debug for Redis {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Redis").field("key_prefix", &self.key_prefix).finish_non_exhaustive()
    }
}

fn client(settings: &RedisSettings) -> Result<Client, RedisError> {
    let host = settings.host.clone();
    let address = if settings.tls {
        ConnectionAddr::TcpTls { host, port: settings.port, insecure: false, tls_params: None }
    } else {
        ConnectionAddr::Tcp(host, settings.port)
    };
    let mut login = RedisConnectionInfo::default().set_db(i64::from(settings.database));
    if !settings.user.is_empty() {
        login = login.set_username(&settings.user);
    }
    let password = password(settings)?;
    if !password.is_empty() {
        login = login.set_password(password);
    }
    let info =
        address.into_connection_info().map_err(RedisError::Settings)?.set_redis_settings(login);
    let client = if settings.tls_ca_file.is_empty() {
        Client::open(info)
    } else {
        let root_cert = Some(read(&settings.tls_ca_file)?.into_bytes());
        Client::build_with_tls(info, TlsCertificates { client_tls: None, root_cert })
    };
    client.map_err(RedisError::Settings)
}

fn password(settings: &RedisSettings) -> Result<String, RedisError> {
    if settings.password_file.is_empty() {
        return Ok(settings.password.expose().to_owned());
    }
    Ok(read(&settings.password_file)?.trim_end_matches(['\r', '\n']).to_owned())
}

fn read(path: &str) -> Result<String, RedisError> {
    std::fs::read_to_string(path)
        .map_err(|source| RedisError::File { path: path.to_owned(), source })
}
