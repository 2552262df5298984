//! A client's repeat guard: the reply to a key is stored in the transaction of its effect and replayed.
//!
//! The gate comes first. `pg_try_advisory_xact_lock` on the hash of caller and key tells at once that the same key
//! is being worked on (409); a plain insert would wait there for the other transaction's end. Behind the gate the
//! unique row decides: no row = new, same fingerprint = replay, another = 422. Looking and inserting later would race
//! without the gate. Two keys with one hash (1 in 2^64) would merely get a 409 while both are in flight.
//!
//! A store that wants key, reply and effect in one statement calls [`gate`] as the transaction's first statement and
//! uses the fragment [`crate::idempotency_insert!`] in its own; when that inserts nothing, [`find`] tells why.

mod key;

use std::time::Duration;

use millrace_telemetry::db_span;
use sha2::{Digest as _, Sha256};
use sqlx::PgConnection;
use tracing::Instrument as _;

pub use key::{IdempotencyKey, KEY_LENGTH_MAX, KeyError};

/// How long a reply is kept when the service doesn't say otherwise.
pub const REPLY_TTL: Duration = Duration::from_secs(24 * 3600);

/// What a request said, to recognise another request under the same key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// SHA-256 over method, path and body; each with its length, so that none can run into the next.
    #[must_use]
    pub fn of(method: &str, path: &str, body: &[u8]) -> Self {
        let mut digest = Sha256::new();
        for part in [method.as_bytes(), path.as_bytes(), body] {
            digest.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
            digest.update(part);
        }
        Self(digest.finalize().into())
    }

    /// The bytes, for a store's own statement.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// What is known about a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Claim {
    /// Never seen, or expired: do the work and store the reply in this transaction.
    New,
    /// Done before: answer the same.
    Replay {
        /// The first reply's status.
        status: u16,
        /// The first reply's body.
        body: String,
    },
    /// The key was used for another request: 422.
    Mismatch,
    /// The same key is being worked on: 409.
    InFlight,
}

/// The `insert into idempotency ...` fragment of a store's own statement; returns one row when the key is the
/// caller's to use (new, or expired) and none otherwise.
///
/// Placeholders in order: caller, key, fingerprint (bytea), status (smallint), body, time to live in seconds (float8).
#[macro_export]
macro_rules! idempotency_insert {
    ($caller:literal, $key:literal, $fingerprint:literal, $status:literal, $body:literal, $ttl:literal) => {
        concat!(
            "insert into idempotency (caller, key, fingerprint, status, body, expires_at) values (",
            $caller,
            ", ",
            $key,
            ", ",
            $fingerprint,
            ", ",
            $status,
            ", ",
            $body,
            ", now() + make_interval(secs => ",
            $ttl,
            ")) ",
            "on conflict (caller, key) do update set fingerprint = excluded.fingerprint, ",
            "status = excluded.status, body = excluded.body, created_at = now(), ",
            "expires_at = excluded.expires_at where idempotency.expires_at <= now() ",
            "returning true as claimed"
        )
    };
}

/// Takes the key for this transaction; `false` means that another transaction has it (409).
///
/// # Errors
/// Whatever the database says.
pub async fn gate(
    conn: &mut PgConnection,
    caller: &str,
    key: &IdempotencyKey,
) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar("select pg_try_advisory_xact_lock($1)")
        .bind(lock_key(caller, key))
        .fetch_one(conn)
        .instrument(db_span("SELECT", "idempotency"))
        .await
}

/// What the table says about a key whose insert was refused. Call it behind the gate, in the same transaction.
///
/// # Errors
/// Whatever the database says.
pub async fn find(
    conn: &mut PgConnection,
    caller: &str,
    key: &IdempotencyKey,
    fingerprint: &Fingerprint,
) -> Result<Claim, sqlx::Error> {
    let row: Option<(Vec<u8>, Option<i16>, Option<String>)> = sqlx::query_as(
        "select fingerprint, status, body from idempotency \
         where caller = $1 and key = $2 and expires_at > now()",
    )
    .bind(caller)
    .bind(key.as_str())
    .fetch_optional(conn)
    .instrument(db_span("SELECT", "idempotency"))
    .await?;
    Ok(match row {
        None => Claim::New,
        Some((stored, _, _)) if stored != fingerprint.0 => Claim::Mismatch,
        Some((_, Some(status), Some(body))) => {
            Claim::Replay { status: u16::try_from(status).unwrap_or(500), body }
        }
        // An effect committed without its reply: the claim was not followed by store_reply. Doing the work
        // again could double the effect, so the key stays taken until it expires.
        Some(_) => Claim::InFlight,
    })
}

/// Gate and claim in two statements, for a use case that isn't one statement: on [`Claim::New`] do the work, then
/// [`store_reply`], then commit. Anything else changed nothing.
///
/// # Errors
/// Whatever the database says.
pub async fn claim(
    conn: &mut PgConnection,
    caller: &str,
    key: &IdempotencyKey,
    fingerprint: &Fingerprint,
    ttl: Duration,
) -> Result<Claim, sqlx::Error> {
    if !gate(&mut *conn, caller, key).await? {
        return Ok(Claim::InFlight);
    }
    let claimed: Option<bool> =
        sqlx::query_scalar(idempotency_insert!("$1", "$2", "$3", "null", "null", "$4"))
            .bind(caller)
            .bind(key.as_str())
            .bind(fingerprint.as_bytes())
            .bind(ttl.as_secs_f64())
            .fetch_optional(&mut *conn)
            .instrument(db_span("INSERT", "idempotency"))
            .await?;
    match claimed {
        Some(_) => Ok(Claim::New),
        None => find(conn, caller, key, fingerprint).await,
    }
}

/// Stores the reply to a key claimed in this transaction.
///
/// # Errors
/// Whatever the database says.
pub async fn store_reply(
    conn: &mut PgConnection,
    caller: &str,
    key: &IdempotencyKey,
    status: u16,
    body: &str,
) -> Result<(), sqlx::Error> {
    sqlx::query("update idempotency set status = $3, body = $4 where caller = $1 and key = $2")
        .bind(caller)
        .bind(key.as_str())
        .bind(i16::try_from(status).unwrap_or(i16::MAX))
        .bind(body)
        .execute(conn)
        .instrument(db_span("UPDATE", "idempotency"))
        .await?;
    Ok(())
}

/// Deletes at most `rows_max` expired replies; returns how many. Call it until it returns less.
///
/// # Errors
/// Whatever the database says.
pub async fn clean(conn: &mut PgConnection, rows_max: u32) -> Result<u64, sqlx::Error> {
    let done = sqlx::query(
        "delete from idempotency where ctid = any(array( \
             select ctid from idempotency where expires_at <= now() limit $1))",
    )
    .bind(i64::from(rows_max))
    .execute(conn)
    .instrument(db_span("DELETE", "idempotency"))
    .await?;
    Ok(done.rows_affected())
}

/// The advisory lock's number for a caller's key, for a store that tries it inside its own statement.
#[must_use]
pub fn lock_key(caller: &str, key: &IdempotencyKey) -> i64 {
    let mut digest = Sha256::new();
    digest.update(caller.as_bytes());
    // No key has a NUL, so no two pairs give one text.
    digest.update([0]);
    digest.update(key.as_str().as_bytes());
    let digest: [u8; 32] = digest.finalize().into();
    let mut head = [0; 8];
    head.copy_from_slice(&digest[..8]);
    i64::from_be_bytes(head)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_tells_where_one_part_ends() {
        assert_ne!(Fingerprint::of("POST", "/a", b"b"), Fingerprint::of("POST", "/ab", b""));
        assert_eq!(Fingerprint::of("POST", "/a", b"b"), Fingerprint::of("POST", "/a", b"b"));
    }

    #[test]
    fn callers_do_not_share_keys() {
        let key = IdempotencyKey::parse("k").unwrap();
        assert_ne!(lock_key("ann", &key), lock_key("ben", &key));
    }
}
