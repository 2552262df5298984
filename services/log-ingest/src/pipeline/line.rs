//! One log line that can be stored.
//!
//! Texts are bounded, because some are indexed and an index entry must stay below a third of a page, and hold no
//! NUL, which PostgreSQL's text can't. Everything else (tabs, line ends, backslashes, any script) is kept as it
//! came.

use chrono::{DateTime, NaiveDate, Utc};
use millrace_common::envelope::Envelope;
use millrace_common::request_log::{RequestLogEvent, RequestLogged};
use uuid::Uuid;

/// Longest service name, in bytes.
pub(crate) const SERVICE_BYTES_MAX: usize = 128;
const METHOD_BYTES_MAX: usize = 32;
const ROUTE_BYTES_MAX: usize = 2048;
const CALLER_BYTES_MAX: usize = 1024;

/// How a request ended, as a log level.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Level {
    Info,
    Warn,
    Error,
}

impl Level {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Info => "INFO",
            Self::Warn => "WARN",
            Self::Error => "ERROR",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        [Self::Info, Self::Warn, Self::Error].into_iter().find(|level| level.as_str() == text)
    }
}

/// A line that can be stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) id: Uuid,
    pub(crate) occurred_at: DateTime<Utc>,
    pub(crate) service: String,
    pub(crate) level: Level,
    pub(crate) method: String,
    pub(crate) route: String,
    pub(crate) status: u16,
    pub(crate) latency_us: i64,
    pub(crate) trace_id: Option<String>,
    pub(crate) caller: Option<String>,
}

/// What keeps a line from being stored: a field and what is wrong with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Malformed {
    pub(crate) field: &'static str,
    pub(crate) problem: &'static str,
}

impl Line {
    /// The line inside an envelope; its id and time are the envelope's.
    pub(crate) fn parse(envelope: &Envelope<RequestLogEvent>) -> Result<Self, Malformed> {
        let RequestLogEvent::Logged(logged) = &envelope.payload;
        let RequestLogged { service, level, method, route, status, latency_us, trace_id, caller } =
            logged;
        let malformed = |field| move |problem| Malformed { field, problem };
        Ok(Self {
            id: envelope.id,
            occurred_at: DateTime::from_timestamp_millis(envelope.timestamp)
                .ok_or("is no instant")
                .map_err(malformed("timestamp"))?,
            service: text(service, SERVICE_BYTES_MAX).map_err(malformed("service"))?,
            level: Level::parse(level).ok_or("is not known").map_err(malformed("level"))?,
            method: text(method, METHOD_BYTES_MAX).map_err(malformed("method"))?,
            route: text(route, ROUTE_BYTES_MAX).map_err(malformed("route"))?,
            status: *status,
            // Three hundred thousand years and no number of the column are the same news.
            latency_us: i64::try_from(*latency_us).unwrap_or(i64::MAX),
            trace_id: trace_id
                .as_deref()
                .map(hexadecimal)
                .transpose()
                .map_err(malformed("trace_id"))?,
            caller: caller
                .as_deref()
                .map(|caller| text(caller, CALLER_BYTES_MAX))
                .transpose()
                .map_err(malformed("caller"))?,
        })
    }

    /// The day whose partition holds the line.
    pub(crate) fn day(&self) -> NaiveDate {
        self.occurred_at.date_naive()
    }
}

fn text(text: &str, bytes_max: usize) -> Result<String, &'static str> {
    if text.len() > bytes_max {
        return Err("is too long");
    }
    if text.contains('\0') {
        return Err("holds a NUL");
    }
    Ok(text.to_owned())
}

/// Lower case, as searches ask for it.
fn hexadecimal(text: &str) -> Result<String, &'static str> {
    if text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        Ok(text.to_ascii_lowercase())
    } else {
        Err("is not 32 hexadecimal digits")
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn envelope(change: impl FnOnce(&mut RequestLogged)) -> Envelope<RequestLogEvent> {
        let mut logged = RequestLogged {
            service: "order".into(),
            level: "INFO".into(),
            method: "POST".into(),
            route: "/api/v1/orders".into(),
            status: 202,
            latency_us: 1234,
            trace_id: Some("0AF7651916CD43DD8448EB211C80319C".into()),
            caller: Some("ann".into()),
        };
        change(&mut logged);
        Envelope::new(Uuid::nil(), "order", 1_700_000_000_123, RequestLogEvent::Logged(logged))
    }

    #[test]
    fn a_line_keeps_every_text_and_its_trace_id_becomes_lower_case() {
        let line =
            Line::parse(&envelope(|logged| logged.route = "/a\tb\n\\N\u{1f980}".into())).unwrap();
        assert_eq!(line.route, "/a\tb\n\\N\u{1f980}");
        assert_eq!(line.trace_id.as_deref(), Some("0af7651916cd43dd8448eb211c80319c"));
        assert_eq!(line.day().to_string(), "2023-11-14");
        let slow = Line::parse(&envelope(|logged| logged.latency_us = u64::MAX)).unwrap();
        assert_eq!(slow.latency_us, i64::MAX);
    }

    #[test]
    fn what_the_store_could_not_hold_is_refused_by_name() {
        type Change = fn(&mut RequestLogged);
        let cases: [(&str, Change); 7] = [
            ("service", |logged| logged.service = "x".repeat(SERVICE_BYTES_MAX + 1)),
            ("service", |logged| logged.service = "\0".into()),
            ("level", |logged| logged.level = "info".into()),
            ("method", |logged| logged.method = "M".repeat(33)),
            ("route", |logged| logged.route = "/\0".into()),
            ("caller", |logged| logged.caller = Some("\0".into())),
            ("trace_id", |logged| logged.trace_id = Some("0af7".into())),
        ];
        for (field, change) in cases {
            assert_eq!(Line::parse(&envelope(change)).unwrap_err().field, field);
        }
        let mut timeless = envelope(|_| {});
        timeless.timestamp = i64::MAX;
        assert_eq!(Line::parse(&timeless).unwrap_err().field, "timestamp");
    }
}
