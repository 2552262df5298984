//! What is logged, changeable while the service runs.
//!
//! The level decides about events only. Spans are always made (at INFO and above), because they carry the trace:
//! a service that logs warnings only must still pass its caller's trace on.

use std::sync::{OnceLock, PoisonError, RwLock};

use tracing::{Level, Metadata, callsite};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::{Context, Filter};

/// The filter in force in this process; tests that build their own subscriber hold their own.
static CURRENT: OnceLock<&'static RwLock<Targets>> = OnceLock::new();

/// Decides which events become log lines.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LevelFilter {
    // Leaked once per process so that the setter needs no lock around the subscriber.
    targets: &'static RwLock<Targets>,
}

impl LevelFilter {
    /// Reads `info` or `info,sqlx=warn`.
    pub(crate) fn parse(text: &str) -> Result<Targets, String> {
        if text.trim().is_empty() {
            return Err("is empty; `error` is the quietest level".to_owned());
        }
        // A bare word that is no level would be read as the name of a target, and nothing else would be logged.
        let wrong = text.split(',').map(str::trim).find(|part| {
            !part.contains('=') && part.parse::<tracing::level_filters::LevelFilter>().is_err()
        });
        if let Some(part) = wrong {
            return Err(format!("`{part}` is not a level (error, warn, info, debug, trace, off)"));
        }
        // actix calls an answer that breaks off in the middle an ERROR of its own; whoever made the answer has said
        // why, and a client that goes away is no reason to look. Naming actix_http brings its words back.
        let quiet =
            if text.contains("actix_http") { "" } else { ",actix_http::h1::dispatcher=off" };
        format!("{text}{quiet}")
            .parse()
            .map_err(|cause| format!("`{text}` is not a level such as `info,sqlx=warn` ({cause})"))
    }

    pub(crate) fn new(targets: Targets) -> Self {
        Self { targets: Box::leak(Box::new(RwLock::new(targets))) }
    }

    /// Makes this the filter that [`set_log_level`] changes.
    pub(crate) fn publish(self) {
        CURRENT.get_or_init(|| self.targets);
    }
}

impl<S> Filter<S> for LevelFilter {
    fn enabled(&self, metadata: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        if metadata.is_span() {
            return span_is_wanted(metadata);
        }
        let targets = self.targets.read().unwrap_or_else(PoisonError::into_inner);
        targets.would_enable(metadata.target(), metadata.level())
    }

    /// Lets a library's debug and trace events be skipped by one comparison.
    fn max_level_hint(&self) -> Option<tracing::level_filters::LevelFilter> {
        let targets = self.targets.read().unwrap_or_else(PoisonError::into_inner);
        let events = Filter::<S>::max_level_hint(&*targets);
        events.map(|events| events.max(tracing::level_filters::LevelFilter::INFO))
    }
}

/// Spans below INFO belong to libraries and would multiply the cost of a trace.
pub(crate) fn span_is_wanted(metadata: &Metadata<'_>) -> bool {
    *metadata.level() <= Level::INFO
}

/// Changes what is logged from now on.
///
/// # Errors
/// When the text is no level, or telemetry was not started; the level in force stays.
pub fn set_log_level(level: &str) -> Result<(), String> {
    let targets = LevelFilter::parse(level)?;
    let current = CURRENT.get().ok_or("telemetry was not started")?;
    *current.write().unwrap_or_else(PoisonError::into_inner) = targets;
    // Call sites remember whether anybody wanted them; they must ask again.
    callsite::rebuild_interest_cache();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_is_a_word_or_a_list_and_nothing_else() {
        for good in ["info", "WARN", "info,sqlx=warn", "off", "warn, millrace_http=debug"] {
            assert!(LevelFilter::parse(good).is_ok(), "{good}");
        }
        for bad in ["", " ", "loud", "info,sqlx", "sqlx=loud", "info;warn"] {
            assert!(LevelFilter::parse(bad).is_err(), "{bad}");
        }
    }
}
