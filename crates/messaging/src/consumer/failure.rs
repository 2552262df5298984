//! Why a record was not settled by its handler.

use std::any::Any;

use millrace_envelope::{DecodeError, ErrorCode};
use millrace_resilience::Class;
use millrace_telemetry::error_chain;

use crate::{HandlerError, codes};

#[derive(Debug)]
pub(super) struct Failure {
    pub(super) class: Class,
    pub(super) code: &'static ErrorCode,
    /// The error's own words.
    pub(super) message: String,
    /// The error with its causes.
    pub(super) chain: String,
}

impl Failure {
    pub(super) fn of(error: &HandlerError) -> Self {
        Self {
            class: error.class,
            code: error.code,
            message: error.source.to_string(),
            chain: error_chain(error.source.as_ref()),
        }
    }

    /// A panic is taken for transient: it says nothing about the record, and giving the record up would hide a bug.
    pub(super) fn of_panic(panic: &(dyn Any + Send)) -> Self {
        let text = panic
            .downcast_ref::<&str>()
            .map(|text| (*text).to_owned())
            .or_else(|| panic.downcast_ref::<String>().cloned())
            .unwrap_or_else(|| "panic without a text".to_owned());
        Self {
            class: Class::Transient,
            code: &codes::HANDLER_PANICKED,
            chain: text.clone(),
            message: text,
        }
    }

    pub(super) fn of_decoding(error: &DecodeError) -> Self {
        let code = match error {
            DecodeError::UnknownVersion { .. } => &codes::UNKNOWN_VERSION,
            DecodeError::NotAnEnvelope(_)
            | DecodeError::MalformedPayload { .. }
            | DecodeError::NotSubscribed { .. } => &codes::UNDECODABLE,
        };
        Self {
            class: Class::Permanent,
            code,
            message: error.to_string(),
            chain: error_chain(error),
        }
    }

    pub(super) fn undecodable(why: &str) -> Self {
        let text = why.to_owned();
        Self {
            class: Class::Permanent,
            code: &codes::UNDECODABLE,
            chain: text.clone(),
            message: text,
        }
    }
}
