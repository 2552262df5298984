//! Why a record was not settled by its handler.

use std::any::Any;

use millrace_envelope::ErrorCode;
use millrace_resilience::Class;
use millrace_telemetry::error_chain;

use crate::{HandlerError, codes};

#[derive(Debug, Clone)]
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
        let text = text_of(panic);
        Self {
            class: Class::Transient,
            code: &codes::HANDLER_PANICKED,
            chain: text.clone(),
            message: text,
        }
    }

    /// Reading is a function of the bytes alone, so the next attempt would panic as well. Tried again, one record would
    /// block its key for ever; its bytes are kept in its dead letter.
    pub(super) fn of_reader(panic: &(dyn Any + Send)) -> Self {
        let text = text_of(panic);
        Self::unreadable(&codes::READER_PANICKED, text)
    }

    pub(super) fn unreadable(code: &'static ErrorCode, reason: String) -> Self {
        Self { class: Class::Permanent, code, chain: reason.clone(), message: reason }
    }

    /// Its author's mistake; like a panic it says nothing about the record.
    pub(super) fn wrong_count() -> Self {
        let text = "the handler gave another number of outcomes than it had records".to_owned();
        let (class, code) = (Class::Transient, &codes::HANDLER_FAILED);
        Self { class, code, chain: text.clone(), message: text }
    }
}

fn text_of(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "panic without a text".to_owned())
}
