//! Lines, spans and the exporter together, each test with a subscriber of its own.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use millrace_envelope::TraceContext;
use millrace_runtime::settings::{ByteSize, Problems};
use millrace_testkit::SpanCollector;
use serde_json::Value;
use tracing::field::Empty;
use tracing::subscriber::with_default;

use super::*;
use crate::{continue_message, current_trace, current_trace_id, db_span, set_parent, trace_of};

const REMOTE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

fn settings(otlp_endpoint: &str) -> TelemetrySettings {
    TelemetrySettings {
        log_level: "info".to_owned(),
        log_value_max: ByteSize::b(64),
        redact: vec!["card".to_owned()],
        otlp_endpoint: otlp_endpoint.to_owned(),
        sample_ratio: 1.0,
        span_queue_max: 1000,
        span_batch_max: 100,
        export_interval: Duration::from_millis(20),
        export_timeout: Duration::from_secs(10),
    }
}

/// Runs `work` under a subscriber of its own; gives its log lines.
fn logged(settings: &TelemetrySettings, work: impl FnOnce()) -> Vec<Value> {
    let capture = LogCapture::default();
    let rules = rules(settings);
    let provider = provider("test", settings, rules.clone()).unwrap();
    let lines = LogLines::new("test", rules, Sink::Memory(capture.clone()), Clock::system());
    let level = LevelFilter::new(LevelFilter::parse(&settings.log_level).unwrap());
    let subscriber = subscriber(lines, level, provider.tracer("test"));
    with_default(subscriber, work);
    drop(provider.force_flush());
    capture.lines().iter().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn a_line_is_one_json_object_with_the_agreed_names() {
    let lines =
        logged(&settings(""), || tracing::info!(order_id = "o-1", count = 3, "order placed"));
    let line = &lines[0];
    assert_eq!(line["level"], "INFO");
    assert_eq!(line["service"], "test");
    assert_eq!(line["message"], "order placed");
    assert_eq!(line["fields"]["order_id"], "o-1");
    assert_eq!(line["fields"]["count"], 3);
    assert!(line["target"].as_str().unwrap().starts_with("millrace_telemetry"));
    let timestamp = line["timestamp"].as_str().unwrap();
    assert_eq!(timestamp.len(), "2025-01-01T00:00:00.000Z".len(), "{timestamp}");
    assert!(timestamp.ends_with('Z'), "{timestamp}");
    assert!(line.get("trace_id").is_none());
}

#[test]
fn secrets_are_hidden_and_long_values_cut() {
    let lines = logged(&settings(""), || {
        let span = tracing::info_span!("login", password = "hunter2", user = "ann");
        let _inside = span.enter();
        tracing::info!(
            authorization = "Bearer abc",
            card_number = 4711,
            long = "é".repeat(64),
            "in"
        );
    });
    let text = lines[0].to_string();
    for secret in ["hunter2", "Bearer", "4711"] {
        assert!(!text.contains(secret), "{text}");
    }
    let fields = &lines[0]["fields"];
    assert_eq!(fields["password"], "***");
    assert_eq!(fields["user"], "ann");
    let long = fields["long"].as_str().unwrap();
    assert_eq!(long, format!("{}…", "é".repeat(32)));
}

#[test]
fn parent_and_child_share_the_trace_and_name_each_other() {
    let lines = logged(&settings(""), || {
        let outer = tracing::info_span!("outer", order_id = "o-1", status = Empty);
        let _in_outer = outer.enter();
        tracing::info!("outside");
        outer.record("status", 200);
        let inner = tracing::info_span!("inner");
        let _in_inner = inner.enter();
        tracing::info!("inside");
    });
    let (outside, inside) = (&lines[0], &lines[1]);
    assert_eq!(outside["trace_id"], inside["trace_id"]);
    assert_eq!(inside["parent_id"], outside["span_id"]);
    assert_ne!(inside["span_id"], outside["span_id"]);
    assert!(outside.get("parent_id").is_none());
    assert_eq!(inside["fields"]["order_id"], "o-1");
    assert_eq!(inside["fields"]["status"], 200);
}

#[test]
fn a_remote_parent_gives_the_trace_and_is_named() {
    let trace = TraceContext {
        traceparent: REMOTE.to_owned(),
        tracestate: "vendor=1".to_owned(),
        baggage: "test-run=7".to_owned(),
    };
    let mut carried = TraceContext::default();
    let lines = logged(&settings(""), || {
        let span = tracing::info_span!("handle");
        set_parent(&span, &trace);
        let _inside = span.enter();
        tracing::info!("handled");
        let statement = db_span("INSERT", "orders");
        carried = statement.in_scope(current_trace);
        assert_eq!(current_trace_id().as_deref(), carried.trace_id());
    });
    assert_eq!(lines[0]["trace_id"], "0af7651916cd43dd8448eb211c80319c");
    assert_eq!(lines[0]["parent_id"], "b7ad6b7169203331");
    assert_eq!(carried.trace_id(), Some("0af7651916cd43dd8448eb211c80319c"));
    assert_ne!(carried.traceparent, REMOTE);
    assert_eq!(carried.tracestate, "vendor=1");
    assert_eq!(carried.baggage, "test-run=7");
}

#[test]
fn a_message_s_span_continues_its_trace_whether_it_is_recorded_or_not() {
    for flags in ["00", "01"] {
        let traceparent = format!("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-{flags}");
        let trace = TraceContext { traceparent, ..TraceContext::default() };
        let mut own = TraceContext::default();
        let lines = logged(&settings(""), || {
            let span = tracing::info_span!("process");
            own = continue_message(&span, &trace);
            span.in_scope(|| tracing::info!("handled"));
        });
        assert_eq!(own.trace_id(), trace.trace_id());
        assert_eq!(lines[0]["trace_id"], own.trace_id().unwrap());
        assert_eq!(lines[0]["parent_id"], "b7ad6b7169203331");
        assert_ne!(own.traceparent, trace.traceparent);
        assert_eq!(own.is_left_out(), flags == "00");
    }
}

#[test]
fn a_malformed_context_starts_a_trace_of_its_own() {
    for text in ["", "00-x-y-01", "00-00000000000000000000000000000000-b7ad6b7169203331-01"] {
        let trace = TraceContext { traceparent: text.to_owned(), ..TraceContext::default() };
        let lines = logged(&settings(""), || {
            let span = tracing::info_span!("handle");
            set_parent(&span, &trace);
            span.in_scope(|| tracing::info!("handled"));
        });
        assert_eq!(lines[0]["trace_id"].as_str().map(str::len), Some(32), "{text}");
        assert!(lines[0].get("parent_id").is_none(), "{text}");
    }
}

#[test]
fn a_quiet_log_still_carries_the_trace() {
    let quiet = TelemetrySettings { log_level: "warn".to_owned(), ..settings("") };
    let lines = logged(&quiet, || {
        let span = tracing::info_span!("handle", order_id = "o-1");
        let _inside = span.enter();
        tracing::info!("not seen");
        tracing::warn!("seen");
        assert!(current_trace_id().is_some());
    });
    assert_eq!(lines.len(), 1);
    assert_eq!(lines[0]["fields"]["order_id"], "o-1");
    assert!(lines[0]["trace_id"].is_string());
}

#[test]
fn without_a_subscriber_there_is_no_trace_and_no_failure() {
    assert_eq!(current_trace(), TraceContext::default());
    assert_eq!(current_trace_id(), None);
    set_parent(
        &tracing::info_span!("x"),
        &TraceContext { traceparent: REMOTE.to_owned(), ..TraceContext::default() },
    );
}

#[tokio::test]
async fn spans_reach_the_collector_with_their_tree_and_without_secrets() {
    let collector = SpanCollector::start();
    let mut trace_id = String::new();
    logged(&settings(&collector.endpoint()), || {
        let outer = tracing::info_span!(
            "http",
            otel.name = "POST /orders",
            otel.kind = "server",
            token = "abc"
        );
        trace_id = trace_of(&outer).trace_id().unwrap().to_owned();
        outer.in_scope(|| {
            db_span("INSERT", "orders").in_scope(|| tracing::warn!(secret = "s", "slow"))
        });
    });
    let spans =
        collector.wait_for_trace(&trace_id, Duration::from_secs(5), |spans| spans.len() == 2).await;
    let by_name: HashMap<&str, _> = spans.iter().map(|span| (span.name.as_str(), span)).collect();
    let (outer, inner) = (by_name["POST /orders"], by_name["INSERT orders"]);
    assert_eq!(outer.attribute("token"), Some("***"));
    assert_eq!(inner.attribute("db.system.name"), Some("postgresql"));
    assert_eq!(inner.attribute("db.collection.name"), Some("orders"));
}

#[test]
fn a_collector_that_is_away_costs_spans_and_no_time() {
    // Port 9 is the discard service, which nobody runs: the connection is refused.
    let away = settings("http://127.0.0.1:9");
    let started = Instant::now();
    let lines = logged(&away, || {
        for _ in 0..20_000 {
            tracing::info_span!("work").in_scope(|| {});
        }
        assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
    });
    assert!(lines.is_empty(), "{lines:?}");
}

#[test]
fn the_defaults_are_valid_and_problems_are_all_found() {
    #[derive(Debug, serde::Deserialize)]
    struct Sections {
        telemetry: TelemetrySettings,
    }
    impl millrace_runtime::settings::Validate for Sections {
        fn validate(&self, problems: &mut Problems) {
            self.telemetry.validate(problems);
        }
    }
    let load = |environment: &[(&str, &str)]| {
        millrace_runtime::settings::load::<Sections>(&millrace_runtime::settings::Layers {
            defaults: vec![crate::DEFAULTS],
            overlay: None,
            prefix: "T",
            environment: environment
                .iter()
                .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
                .collect(),
        })
    };
    assert!(load(&[]).is_ok());
    let problems = load(&[
        ("T__TELEMETRY__LOG_LEVEL", "loud"),
        ("T__TELEMETRY__SAMPLE_RATIO", "2"),
        ("T__TELEMETRY__OTLP_ENDPOINT", "collector:4318"),
    ])
    .unwrap_err();
    assert_eq!(problems.lines().len(), 3, "{problems}");
}
