//! The process's metrics: one registry, helpers that register once, and the text that is scraped.
//!
//! Asking again for a metric of the same name and form gives the registered one, so a service can be built twice
//! in one test process. Nothing here panics: a metric whose declaration is wrong still counts, it is only not
//! scraped, and the mistake is logged. Every scraped sample carries the label `service`.

mod process;

use std::any::Any;
use std::collections::HashMap;
use std::sync::{LazyLock, Mutex, PoisonError};

use prometheus::core::Collector;
use prometheus::proto::LabelPair;
use prometheus::{Encoder, Opts, TextEncoder};

pub use prometheus::{
    Gauge, GaugeVec, Histogram, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec,
    Registry,
};

/// Buckets for what a request or statement takes, in seconds.
pub const LATENCY_BUCKETS: &[f64] =
    &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// Buckets for what a message takes from its creation to its handling, in seconds.
pub const DELIVERY_BUCKETS: &[f64] =
    &[0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0];

const UNUSABLE: &str = "unusable_metric_declaration";

static REGISTRY: LazyLock<Registry> = LazyLock::new(|| {
    let registry = Registry::new();
    if let Err(cause) = registry.register(Box::new(process::ProcessCollector::new())) {
        tracing::error!(error = %cause, "process metrics were not registered");
    }
    registry
});

/// What was registered, by name, so that the second caller gets the same metric.
static KNOWN: LazyLock<Mutex<HashMap<String, Box<dyn Any + Send>>>> = LazyLock::new(Mutex::default);

/// The registry that `/metrics` shows.
#[must_use]
pub fn registry() -> &'static Registry {
    &REGISTRY
}

/// A count that only grows.
#[must_use]
pub fn counter(name: &str, help: &str) -> IntCounter {
    register(name, || IntCounter::new(name, help), || IntCounter::new(UNUSABLE, UNUSABLE))
}

/// Counts by label values.
#[must_use]
pub fn counter_vec(name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
    register(
        name,
        || IntCounterVec::new(Opts::new(name, help), labels),
        || IntCounterVec::new(Opts::new(UNUSABLE, UNUSABLE), &stand_ins(labels)),
    )
}

/// A whole number that goes up and down.
#[must_use]
pub fn gauge(name: &str, help: &str) -> IntGauge {
    register(name, || IntGauge::new(name, help), || IntGauge::new(UNUSABLE, UNUSABLE))
}

/// Whole numbers by label values.
#[must_use]
pub fn gauge_vec(name: &str, help: &str, labels: &[&str]) -> IntGaugeVec {
    register(
        name,
        || IntGaugeVec::new(Opts::new(name, help), labels),
        || IntGaugeVec::new(Opts::new(UNUSABLE, UNUSABLE), &stand_ins(labels)),
    )
}

/// A fraction or a number of seconds that goes up and down.
#[must_use]
pub fn float_gauge(name: &str, help: &str) -> Gauge {
    register(name, || Gauge::new(name, help), || Gauge::new(UNUSABLE, UNUSABLE))
}

/// A distribution.
#[must_use]
pub fn histogram(name: &str, help: &str, buckets: &[f64]) -> Histogram {
    let options = |name: &str| prometheus::HistogramOpts::new(name, help).buckets(buckets.to_vec());
    register(
        name,
        || Histogram::with_opts(options(name)),
        || Histogram::with_opts(prometheus::HistogramOpts::new(UNUSABLE, UNUSABLE)),
    )
}

/// Distributions by label values.
#[must_use]
pub fn histogram_vec(name: &str, help: &str, labels: &[&str], buckets: &[f64]) -> HistogramVec {
    let options = |name: &str| prometheus::HistogramOpts::new(name, help).buckets(buckets.to_vec());
    register(
        name,
        || HistogramVec::new(options(name), labels),
        || {
            HistogramVec::new(
                prometheus::HistogramOpts::new(UNUSABLE, UNUSABLE),
                &stand_ins(labels),
            )
        },
    )
}

/// Everything registered, in Prometheus's text format.
#[must_use]
pub fn render() -> String {
    let service = crate::service();
    let mut families = registry().gather();
    for family in &mut families {
        for metric in family.mut_metric() {
            if metric.get_label().iter().all(|label| label.name() != "service") {
                let mut labels = metric.take_label();
                let mut label = LabelPair::default();
                label.set_name("service".to_owned());
                label.set_value(service.to_owned());
                labels.push(label);
                metric.set_label(labels);
            }
        }
    }
    let mut text = Vec::new();
    match TextEncoder::new().encode(&families, &mut text) {
        Ok(()) => String::from_utf8_lossy(&text).into_owned(),
        Err(cause) => {
            tracing::error!(error = %cause, "metrics were not rendered");
            String::new()
        }
    }
}

/// As many valid labels as were asked for, because callers give as many values.
fn stand_ins(labels: &[&str]) -> Vec<&'static str> {
    const NAMES: [&str; 8] = ["l0", "l1", "l2", "l3", "l4", "l5", "l6", "l7"];
    NAMES.into_iter().take(labels.len()).collect()
}

fn register<M: Collector + Clone + Any + Send>(
    name: &str,
    make: impl FnOnce() -> prometheus::Result<M>,
    make_unusable: impl FnOnce() -> prometheus::Result<M>,
) -> M {
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(metric) = known.get(name).and_then(|metric| metric.downcast_ref::<M>()) {
        return metric.clone();
    }
    let metric = match make() {
        Ok(metric) => metric,
        Err(cause) => {
            tracing::error!(metric = name, error = %cause, "metric's declaration is wrong");
            return make_unusable().expect("the stand-in's name and labels are valid");
        }
    };
    match registry().register(Box::new(metric.clone())) {
        Ok(()) => {
            known.insert(name.to_owned(), Box::new(metric.clone()));
        }
        Err(cause) => {
            tracing::error!(metric = name, error = %cause, "metric's name is taken by another form");
        }
    }
    metric
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_metric_asked_for_twice_is_one_metric() {
        counter("test_twice_total", "test").inc();
        counter("test_twice_total", "test").inc();
        assert_eq!(counter("test_twice_total", "test").get(), 2);
        assert!(render().contains("test_twice_total{service=\""), "{}", render());
    }

    #[test]
    fn a_wrong_declaration_still_counts_and_is_not_scraped() {
        let wrong = counter("not a name", "test");
        wrong.inc();
        assert_eq!(wrong.get(), 1);
        let duplicate = counter_vec("test_dup_total", "test", &["a", "a"]);
        duplicate.with_label_values(&["x", "y"]).inc();
        gauge("test_clash", "test").set(1);
        let clash = counter_vec("test_clash", "test", &["reason"]);
        clash.with_label_values(&["x"]).inc();
        assert!(!render().contains("reason=\"x\""));
    }

    #[test]
    fn the_process_tells_its_memory() {
        let text = render();
        assert!(text.contains("process_resident_memory_bytes{"), "{text}");
        assert!(text.contains("process_threads{"), "{text}");
    }
}
