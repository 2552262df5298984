//! The pool: lazy, bounded, and quick to say «not now».
//!
//! Nothing connects at the start, so a service comes up while PostgreSQL is down, answers 503 after
//! `acquire_timeout`, and works again as soon as PostgreSQL does. Every session carries the limits on locks, idle
//! transactions and statements: an instance that is stopped in the middle of a transaction frees its rows by
//! itself.

use std::task::Poll;
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgPoolOptions, PgSslMode};
use sqlx::{ConnectOptions as _, Connection as _, PgConnection, PgPool};

use crate::{DatabaseSettings, TlsMode};

/// A pooled connection unused for longer is pinged before it is handed out. Pinging always would cost each
/// request a round trip.
const PING_AFTER_IDLE: Duration = Duration::from_secs(2);

/// Run on each connection that comes back. A future that is dropped while its transaction begins leaves the transaction
/// open without the driver's knowledge (it counts a transaction when `begin` is answered, and rolls back what it counts);
/// whatever the next user writes outside of one would be reported as written and be undone later. The driver doesn't say
/// whether a connection is in such a state, and futures are dropped wherever there is a deadline. `begin` first, because a
/// `rollback` alone warns when there is nothing to roll back.
const END_ANY_TRANSACTION: &str = "begin; rollback";

/// How soon the server notices that a client vanished without a word, and frees its locks.
const KEEPALIVE: [(&str, &str); 3] = [
    ("tcp_keepalives_idle", "10"),
    ("tcp_keepalives_interval", "5"),
    ("tcp_keepalives_count", "3"),
];

/// Why no pool could be made.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The password's file is set and can't be read.
    #[error("password file `{path}` can't be read")]
    PasswordFile {
        /// The setting.
        path: String,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
}

/// Why a single connection was not to be had.
#[derive(Debug, thiserror::Error)]
pub enum ConnectOnceError {
    /// The settings don't give a connection.
    #[error(transparent)]
    Settings(#[from] ConnectError),
    /// The database can't be reached as this role.
    #[error("database `{database}` can't be reached")]
    Connect {
        /// The database's name.
        database: String,
        /// What the driver said.
        #[source]
        source: sqlx::Error,
    },
    /// It didn't answer in time.
    #[error("database `{database}` didn't answer within {within:?}")]
    Timeout {
        /// The database's name.
        database: String,
        /// The setting `connect_timeout`.
        within: Duration,
    },
}

/// One connection without the limits of a service's session, for a command that may take its time.
///
/// # Errors
/// See [`ConnectOnceError`].
pub async fn connect_once(
    settings: &DatabaseSettings,
    application: &str,
) -> Result<PgConnection, ConnectOnceError> {
    let database = || settings.name.clone();
    let options = unlimited_options(settings, application)?;
    tokio::time::timeout(settings.connect_timeout, options.connect())
        .await
        .map_err(|_| ConnectOnceError::Timeout {
            database: database(),
            within: settings.connect_timeout,
        })?
        .map_err(|source| ConnectOnceError::Connect { database: database(), source })
}

/// Makes the pool of one service instance without connecting. Call it on the main runtime: the pool keeps a
/// task there.
///
/// # Errors
/// When the password file can't be read. Never because PostgreSQL is away.
pub fn connect(settings: &DatabaseSettings, service: &str) -> Result<PgPool, ConnectError> {
    Ok(PgPoolOptions::new()
        .max_connections(settings.pool_max)
        .min_connections(settings.pool_min.min(settings.pool_max))
        // The pool opens its minimum at once only when no connection ever retires; otherwise it would do so ten
        // minutes after the start. Dead ones are found by the ping below and by use, and are replaced.
        .max_lifetime(None)
        .idle_timeout(None)
        .acquire_timeout(settings.acquire_timeout)
        .test_before_acquire(false)
        .before_acquire(|connection, meta| {
            Box::pin(async move {
                if meta.idle_for > PING_AFTER_IDLE {
                    connection.ping().await?;
                }
                Ok(true)
            })
        })
        .after_release(|connection, _| Box::pin(end_any_transaction(connection)))
        .connect_lazy_with(options(settings, service)?))
}

/// Sends [`END_ANY_TRANSACTION`] and leaves its answer to the ping with which the pool tests each connection that comes
/// back: so it costs no round trip of its own. A failure is the ping's too, and closes the connection.
async fn end_any_transaction(connection: &mut PgConnection) -> Result<bool, sqlx::Error> {
    // The answers that a dropped future left behind come first; as a rule there are none.
    connection.flush().await?;
    let mut ended = std::pin::pin!(sqlx::raw_sql(END_ANY_TRANSACTION).execute(connection));
    let sent = std::future::poll_fn(|context| Poll::Ready(ended.as_mut().poll(context))).await;
    match sent {
        Poll::Ready(answer) => answer.map(|_| true),
        Poll::Pending => Ok(true),
    }
}

/// How one connection of `service` is opened, with its limits.
pub(crate) fn options(
    settings: &DatabaseSettings,
    service: &str,
) -> Result<PgConnectOptions, ConnectError> {
    let ms = |span: Duration| span.as_millis().to_string();
    let options = unlimited_options(settings, service)?;
    Ok(options.options([
        ("lock_timeout", ms(settings.lock_timeout)),
        ("idle_in_transaction_session_timeout", ms(settings.idle_in_transaction_timeout)),
        ("statement_timeout", ms(settings.statement_timeout)),
    ]))
}

/// The same without limits, for migrations.
pub(crate) fn unlimited_options(
    settings: &DatabaseSettings,
    application: &str,
) -> Result<PgConnectOptions, ConnectError> {
    let mut options = PgConnectOptions::new_without_pgpass()
        .host(&settings.host)
        .port(settings.port)
        .database(&settings.name)
        .username(&settings.user)
        .password(&password(settings)?)
        .application_name(application)
        .ssl_mode(match settings.tls {
            TlsMode::Disable => PgSslMode::Disable,
            TlsMode::Prefer => PgSslMode::Prefer,
            TlsMode::Require => PgSslMode::Require,
            TlsMode::VerifyCa => PgSslMode::VerifyCa,
            TlsMode::VerifyFull => PgSslMode::VerifyFull,
        })
        .options(KEEPALIVE);
    if !settings.tls_ca_file.is_empty() {
        options = options.ssl_root_cert(&settings.tls_ca_file);
    }
    Ok(options)
}

fn password(settings: &DatabaseSettings) -> Result<String, ConnectError> {
    if settings.password_file.is_empty() {
        return Ok(settings.password.expose().to_owned());
    }
    let text = std::fs::read_to_string(&settings.password_file).map_err(|source| {
        ConnectError::PasswordFile { path: settings.password_file.clone(), source }
    })?;
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}

/// What the health page says of the database, component `db`.
#[derive(Debug, Clone, Copy)]
pub struct DatabaseHealth {
    /// A pooled connection answered.
    pub up: bool,
    /// Connections that are open.
    pub open: u32,
    /// Connections that wait for work.
    pub idle: usize,
}

impl DatabaseHealth {
    /// Asks the database; bounded by the pool's acquire timeout and a second for the answer.
    pub async fn ask(pool: &PgPool) -> Self {
        let up = match pool.acquire().await {
            Ok(mut connection) => answers(&mut connection).await,
            Err(_) => false,
        };
        Self { up, open: pool.size(), idle: pool.num_idle() }
    }
}

async fn answers(connection: &mut PgConnection) -> bool {
    matches!(tokio::time::timeout(Duration::from_secs(1), connection.ping()).await, Ok(Ok(())))
}
