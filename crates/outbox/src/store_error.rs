//! What a database error means: try again, or not.
//!
//! Permanent is only what the statement's own data causes (a constraint, a value out of range, a result of
//! another form), because a consumer dead-letters a record on it. A wrong password, a missing table or a missing
//! grant is a deployment that isn't finished: dead-lettering a whole topic over it would be the worse mistake,
//! so those are transient too, and the health page and the retries' log lines say so meanwhile.

use millrace_resilience::{Class, Classify};

/// An error of the store, with its class.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct StoreError(#[from] pub sqlx::Error);

impl StoreError {
    /// True when the caller should be told to come back later (HTTP 503).
    #[must_use]
    pub fn is_unavailable(&self) -> bool {
        self.class() == Class::Transient
    }

    /// The name of the violated constraint, which a store turns into a refusal.
    #[must_use]
    pub fn constraint(&self) -> Option<&str> {
        self.0.as_database_error().and_then(|error| error.constraint())
    }
}

impl Classify for StoreError {
    fn class(&self) -> Class {
        class_of(&self.0)
    }
}

/// The class of a plain sqlx error.
#[must_use]
#[expect(clippy::wildcard_enum_match_arm, reason = "sqlx's enum is non-exhaustive")]
pub fn class_of(error: &sqlx::Error) -> Class {
    match error {
        sqlx::Error::Database(error) => error.code().map_or(Class::Permanent, |code| class_of_state(&code)),
        sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        // Bytes that make no sense: a connection that broke in the middle of an answer.
        | sqlx::Error::Protocol(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed
        | sqlx::Error::BeginFailed => Class::Transient,
        _ => Class::Permanent,
    }
}

/// By SQLSTATE: <https://www.postgresql.org/docs/current/errcodes-appendix.html>.
fn class_of_state(code: &str) -> Class {
    let transient = match code.get(..2).unwrap_or_default() {
        // Connection, authentication, missing database, rollback (serialization, deadlock), resources,
        // operator intervention (shutdown, start-up, cancel by a time limit), system (I/O).
        "08" | "28" | "3D" | "40" | "53" | "57" | "58" => true,
        // A lock that was not to be had in time.
        "55" => code == "55P03",
        // Ended while idle in a transaction; connected to a standby.
        "25" => matches!(code, "25P03" | "25006"),
        // The migration that makes the table, the column or the grant has not run yet.
        "42" => matches!(code, "42P01" | "42703" | "42501" | "42883"),
        _ => false,
    };
    if transient { Class::Transient } else { Class::Permanent }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_data_causes_is_permanent() {
        for state in ["23505", "23514", "22003", "22P02", "42601", "XX000"] {
            assert_eq!(class_of_state(state), Class::Permanent, "{state}");
        }
        for state in [
            "40001", "40P01", "55P03", "53300", "57P01", "57P03", "57014", "08006", "25P03",
            "42P01",
        ] {
            assert_eq!(class_of_state(state), Class::Transient, "{state}");
        }
        assert_eq!(class_of(&sqlx::Error::PoolTimedOut), Class::Transient);
        assert_eq!(class_of(&sqlx::Error::RowNotFound), Class::Permanent);
    }
}
