//! The way of spans to the collector.
//!
//! The SDK's batch processor owns a thread and a bounded queue: the code that ends a span never waits, and a
//! collector that is away costs dropped spans, not memory. The HTTP client is the blocking one, because that
//! thread has no tokio runtime. Around the exporter stands [`Watched`], which hides secrets by field name, counts
//! what became of the spans, and logs a change of fortune once instead of every second.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use opentelemetry::{KeyValue, StringValue, Value};
use opentelemetry_otlp::{ExporterBuildError, RetryPolicy, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{
    BatchConfigBuilder, BatchSpanProcessor, Sampler, SdkTracerProvider, SpanData, SpanExporter,
};

use crate::fields::FieldRules;
use crate::metrics::{IntCounterVec, counter_vec};
use crate::redaction::HIDDEN;
use crate::settings::TelemetrySettings;

/// Makes the provider: with an exporter when there is an endpoint, otherwise one that only gives out ids.
pub(crate) fn provider(
    service: &'static str,
    settings: &TelemetrySettings,
    rules: FieldRules,
) -> Result<SdkTracerProvider, ExporterBuildError> {
    let resource = Resource::builder()
        .with_service_name(service)
        .with_attribute(KeyValue::new("service.namespace", "millrace"))
        .build();
    let mut builder = SdkTracerProvider::builder().with_resource(resource).with_sampler(
        Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(settings.sample_ratio))),
    );
    if !settings.otlp_endpoint.is_empty() {
        builder = builder.with_span_processor(processor(settings, rules)?);
    }
    Ok(builder.build())
}

fn processor(
    settings: &TelemetrySettings,
    rules: FieldRules,
) -> Result<BatchSpanProcessor, ExporterBuildError> {
    let exporter = opentelemetry_otlp::SpanExporter::builder()
        .with_http()
        .with_protocol(opentelemetry_otlp::Protocol::HttpBinary)
        .with_endpoint(format!("{}/v1/traces", settings.otlp_endpoint.trim_end_matches('/')))
        .with_timeout(settings.export_timeout)
        // The next batch is the retry: waiting here would only fill the queue.
        .with_retry_policy(RetryPolicy::disabled())
        .build()?;
    let batches = BatchConfigBuilder::default()
        .with_max_queue_size(settings.span_queue_max)
        .with_max_export_batch_size(settings.span_batch_max)
        .with_scheduled_delay(settings.export_interval)
        .build();
    Ok(BatchSpanProcessor::builder(Watched::new(exporter, rules))
        .with_batch_config(batches)
        .build())
}

#[derive(Debug)]
struct Watched<E> {
    inner: E,
    rules: FieldRules,
    failing: AtomicBool,
    exported: IntCounterVec,
}

impl<E> Watched<E> {
    fn new(inner: E, rules: FieldRules) -> Self {
        let exported = counter_vec(
            "telemetry_spans_total",
            "spans handed to the collector, by outcome",
            &["outcome"],
        );
        Self { inner, rules, failing: AtomicBool::new(false), exported }
    }

    fn clean(&self, attributes: &mut [KeyValue]) {
        for attribute in attributes {
            if self.rules.redaction.hides(attribute.key.as_str()) {
                attribute.value = Value::from(HIDDEN);
            } else if let Value::String(text) = &attribute.value
                && text.as_str().len() > self.rules.value_bytes_max
            {
                let text = text.as_str();
                let cut =
                    (0..=self.rules.value_bytes_max).rev().find(|&at| text.is_char_boundary(at));
                attribute.value =
                    Value::String(StringValue::from(text[..cut.unwrap_or(0)].to_owned()));
            }
        }
    }

    fn note(&self, count: usize, result: &OTelSdkResult) {
        let outcome = if result.is_ok() { "exported" } else { "failed" };
        self.exported.with_label_values(&[outcome]).inc_by(count as u64);
        let was_failing = self.failing.swap(result.is_err(), Ordering::Relaxed);
        match result {
            Err(cause) if !was_failing => {
                tracing::warn!(error = %cause, "spans are not exported, further failures are only counted");
            }
            Ok(()) if was_failing => tracing::info!("spans are exported again"),
            Ok(()) | Err(_) => {}
        }
    }
}

impl<E: SpanExporter> SpanExporter for Watched<E> {
    async fn export(&self, mut batch: Vec<SpanData>) -> OTelSdkResult {
        for span in &mut batch {
            self.clean(&mut span.attributes);
            for event in &mut span.events.events {
                self.clean(&mut event.attributes);
            }
        }
        let count = batch.len();
        let result = self.inner.export(batch).await;
        self.note(count, &result);
        result
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.inner.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.inner.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.inner.set_resource(resource);
    }
}
