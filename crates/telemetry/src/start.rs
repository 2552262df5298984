//! Start and stop of logs and traces.

use std::panic::PanicHookInfo;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use millrace_runtime::Clock;
use opentelemetry::trace::TracerProvider;
use opentelemetry_otlp::ExporterBuildError;
use opentelemetry_sdk::trace::{SdkTracerProvider, Tracer};
use tracing::{Level, Metadata, Subscriber};
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry};

use crate::export::provider;
use crate::fields::FieldRules;
use crate::level::{LevelFilter, span_is_wanted};
use crate::log_line::LogLines;
use crate::redaction::Redaction;
use crate::settings::TelemetrySettings;
use crate::sink::{LogCapture, Sink};

/// What a stop waits for the last spans at most.
const SHUTDOWN_BUDGET: Duration = Duration::from_secs(3);

/// The first start wins: a process has one subscriber.
static STARTED: Mutex<Option<TelemetryGuard>> = Mutex::new(None);
static PANICS_LOGGED: AtomicBool = AtomicBool::new(false);
static SERVICE: OnceLock<&'static str> = OnceLock::new();

/// Why telemetry could not be started.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The log level in the settings is none.
    #[error("log level {0}")]
    Level(String),
    /// The exporter refused its settings.
    #[error("span exporter was not built")]
    Exporter(#[source] ExporterBuildError),
    /// Another library set a subscriber first.
    #[error("another subscriber is already in place")]
    Taken(#[source] tracing_subscriber::util::TryInitError),
}

/// Keeps the exporter; flushes it when the service stops. Cloning shares it.
#[derive(Debug, Clone)]
pub struct TelemetryGuard {
    provider: SdkTracerProvider,
    capture: Option<LogCapture>,
}

impl TelemetryGuard {
    /// Hands the spans that wait to the collector now; false when that failed. Blocks: not for a request.
    pub fn flush(&self) -> bool {
        self.provider.force_flush().is_ok()
    }

    /// Flushes and ends the exporter, within a few seconds. Blocks: the last thing a service does.
    pub fn shutdown(&self) {
        // A second call finds it ended already; a collector that is away was reported when it went.
        drop(self.provider.shutdown_with_timeout(SHUTDOWN_BUDGET));
    }

    /// The log lines kept in memory, when started by [`init_for_tests`].
    #[must_use]
    pub fn log_lines(&self) -> LogCapture {
        self.capture.clone().unwrap_or_default()
    }
}

/// The name of this process's service; `unknown` until telemetry was started.
#[must_use]
pub fn service() -> &'static str {
    SERVICE.get().copied().unwrap_or("unknown")
}

/// True when panics become log lines, so that whoever catches one needn't write another.
#[must_use]
pub fn panics_are_logged() -> bool {
    PANICS_LOGGED.load(Ordering::Relaxed)
}

/// Starts JSON log lines on standard output and the export of spans. A second call gives the first one's guard.
///
/// # Errors
/// See [`TelemetryError`].
pub fn init(
    service: &'static str,
    settings: &TelemetrySettings,
) -> Result<TelemetryGuard, TelemetryError> {
    let guard = start(service, settings, None)?;
    log_panics();
    Ok(guard)
}

/// Starts telemetry for a test process: log lines stay in memory (see [`TelemetryGuard::log_lines`]), every
/// trace is sampled and exported within 100 ms. A second call gives the first one's guard.
///
/// # Panics
/// When telemetry can't be started.
#[must_use]
pub fn init_for_tests(service: &'static str, otlp_endpoint: &str) -> TelemetryGuard {
    let settings = TelemetrySettings {
        log_level: "info".to_owned(),
        log_value_max: millrace_runtime::settings::ByteSize::kib(4),
        redact: Vec::new(),
        otlp_endpoint: otlp_endpoint.to_owned(),
        sample_ratio: 1.0,
        span_queue_max: 65_536,
        span_batch_max: 512,
        export_interval: Duration::from_millis(100),
        export_timeout: Duration::from_secs(10),
    };
    start(service, &settings, Some(LogCapture::default()))
        .expect("test telemetry has valid settings")
}

fn start(
    service: &'static str,
    settings: &TelemetrySettings,
    capture: Option<LogCapture>,
) -> Result<TelemetryGuard, TelemetryError> {
    let mut started = STARTED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(guard) = &*started {
        return Ok(guard.clone());
    }
    SERVICE.get_or_init(|| service);
    let sink = capture.clone().map_or(Sink::Stdout, Sink::Memory);
    let targets = LevelFilter::parse(&settings.log_level).map_err(TelemetryError::Level)?;
    let level = LevelFilter::new(targets);
    let rules = rules(settings);
    let provider = provider(service, settings, rules.clone()).map_err(TelemetryError::Exporter)?;
    let lines = LogLines::new(service, rules, sink, Clock::system());
    subscriber(lines, level, provider.tracer("millrace"))
        .try_init()
        .map_err(TelemetryError::Taken)?;
    level.publish();
    let guard = TelemetryGuard { provider, capture };
    *started = Some(guard.clone());
    Ok(guard)
}

fn rules(settings: &TelemetrySettings) -> FieldRules {
    FieldRules {
        redaction: Redaction::with(&settings.redact),
        value_bytes_max: usize::try_from(settings.log_value_max.as_u64()).unwrap_or(usize::MAX),
    }
}

/// The registry, spans to OpenTelemetry, events to log lines.
fn subscriber(
    lines: LogLines,
    level: LevelFilter,
    tracer: Tracer,
) -> impl Subscriber + for<'lookup> LookupSpan<'lookup> + Send + Sync {
    let spans = tracing_opentelemetry::layer()
        .with_tracer(tracer)
        // Parents come from tracing's spans alone; entering a span needn't touch OpenTelemetry's own stack.
        .with_context_activation(false)
        .with_tracked_inactivity(false)
        .with_location(false)
        .with_threads(false)
        .with_filter(filter_fn(belongs_in_a_trace).with_max_level_hint(Level::INFO));
    Registry::default().with(spans).with(lines.with_filter(level))
}

/// Spans, and the events that explain why one went wrong; the others are in the logs under the same trace id.
fn belongs_in_a_trace(metadata: &Metadata<'_>) -> bool {
    if metadata.is_span() { span_is_wanted(metadata) } else { *metadata.level() <= Level::WARN }
}

/// A panic is a bug: one ERROR line with its place, in the trace it happened in. Not for tests, whose failed
/// assertions are panics that the test harness prints.
fn log_panics() {
    if PANICS_LOGGED.swap(true, Ordering::Relaxed) {
        return;
    }
    std::panic::set_hook(Box::new(|info: &PanicHookInfo<'_>| {
        let place = info.location().map(ToString::to_string).unwrap_or_default();
        let said = info.payload_as_str().unwrap_or("no message");
        let thread = std::thread::current().name().unwrap_or("unnamed").to_owned();
        tracing::error!(panic.message = said, panic.location = place, thread, "panicked");
    }));
}

#[cfg(test)]
mod tests;
