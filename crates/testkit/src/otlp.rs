//! An OTLP/HTTP receiver for spans, small enough to live in a test and enough for a person without Jaeger.
//!
//! It speaks what the services' exporter speaks: protobuf by POST to `/v1/traces`, uncompressed. It runs on a
//! thread of its own, because a test's runtime ends with the test while exporters still flush.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::time::Duration;

use actix_web::dev::ServerHandle;
use actix_web::web::{Bytes, Data, PayloadConfig};
use actix_web::{App, HttpResponse, HttpServer, web};
use anyhow::{Context, Result};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use prost::Message as _;

use crate::wait::try_wait_until;

pub mod journal;
mod span;
mod tree;

pub use span::{SpanLink, SpanRecord};
pub use tree::SpanTree;

/// A receiver in memory keeps the newest so many spans.
const SPANS_MAX: usize = 200_000;
const BODY_MAX: usize = 16 * 1024 * 1024;

/// What becomes of received spans.
pub type Sink = Arc<dyn Fn(Vec<SpanRecord>) + Send + Sync>;

/// A listening receiver; it stops when dropped.
pub struct Receiver {
    port: u16,
    handle: ServerHandle,
}

impl Receiver {
    /// Listens on `port` of 127.0.0.1 (0 = any free one) and hands spans to `sink`.
    ///
    /// # Errors
    /// When the port is taken.
    pub fn start(port: u16, sink: Sink) -> Result<Self> {
        let (ready, started) = mpsc::sync_channel(1);
        std::thread::spawn(move || {
            actix_web::rt::System::new().block_on(serve(port, sink, ready));
        });
        let (port, handle) = started.recv().context("the receiver's thread ended")??;
        Ok(Self { port, handle })
    }

    /// Its port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The base address for `otlp_endpoint` settings (without `/v1/traces`).
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        // The command is sent at once; the returned future would only wait for the end.
        drop(self.handle.stop(false));
    }
}

async fn serve(port: u16, sink: Sink, ready: mpsc::SyncSender<Result<(u16, ServerHandle)>>) {
    let server = HttpServer::new(move || {
        App::new()
            .app_data(Data::new(Arc::clone(&sink)))
            .app_data(PayloadConfig::new(BODY_MAX))
            .route("/v1/traces", web::post().to(traces))
            .route("/readyz", web::get().to(HttpResponse::Ok))
    })
    .workers(1)
    .disable_signals()
    .shutdown_timeout(0)
    .bind(("127.0.0.1", port));
    let server = match server.context("listening for spans") {
        Ok(server) => server,
        Err(error) => {
            drop(ready.send(Err(error)));
            return;
        }
    };
    let port = server.addrs().first().map_or(port, std::net::SocketAddr::port);
    let running = server.run();
    drop(ready.send(Ok((port, running.handle()))));
    // It ends by its handle; there is nobody to tell about an accept error but the exporters, who see it.
    drop(running.await);
}

async fn traces(sink: Data<Sink>, body: Bytes) -> HttpResponse {
    let Ok(request) = ExportTraceServiceRequest::decode(body) else {
        return HttpResponse::BadRequest().finish();
    };
    sink(span::records(request));
    let reply = ExportTraceServiceResponse::default().encode_to_vec();
    HttpResponse::Ok().content_type("application/x-protobuf").body(reply)
}

/// A receiver that keeps spans in memory and answers questions about them.
pub struct SpanCollector {
    receiver: Receiver,
    spans: Arc<Mutex<VecDeque<SpanRecord>>>,
}

impl SpanCollector {
    /// Listens on a free port.
    ///
    /// # Panics
    /// When there is none.
    #[must_use]
    pub fn start() -> Self {
        let spans = Arc::new(Mutex::new(VecDeque::new()));
        let kept = Arc::clone(&spans);
        let sink: Sink = Arc::new(move |new| {
            let mut spans = kept.lock().unwrap_or_else(PoisonError::into_inner);
            spans.extend(new);
            let excess = spans.len().saturating_sub(SPANS_MAX);
            spans.drain(..excess);
        });
        let receiver = Receiver::start(0, sink).expect("a free port is there");
        Self { receiver, spans }
    }

    /// The base address for `otlp_endpoint` settings.
    #[must_use]
    pub fn endpoint(&self) -> String {
        self.receiver.endpoint()
    }

    /// All spans received so far.
    #[must_use]
    pub fn all(&self) -> Vec<SpanRecord> {
        self.lock().iter().cloned().collect()
    }

    /// The spans of one trace (32 hexadecimal digits) received so far.
    #[must_use]
    pub fn of_trace(&self, trace_id: &str) -> Vec<SpanRecord> {
        self.lock().iter().filter(|span| span.trace_id == trace_id).cloned().collect()
    }

    /// Waits until the trace's spans satisfy `enough`, and returns them: exporters send in batches, late.
    ///
    /// # Panics
    /// When they don't within `deadline`; the message shows the tree received so far.
    pub async fn wait_for_trace(
        &self,
        trace_id: &str,
        deadline: Duration,
        enough: impl Fn(&[SpanRecord]) -> bool,
    ) -> Vec<SpanRecord> {
        let found = try_wait_until(deadline, || async {
            let spans = self.of_trace(trace_id);
            enough(&spans).then_some(spans)
        });
        found.await.unwrap_or_else(|_| {
            let tree = SpanTree::of(self.of_trace(trace_id));
            panic!("trace {trace_id} is incomplete after {deadline:?}:\n{tree}")
        })
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<SpanRecord>> {
        self.spans.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};

    use super::*;

    #[tokio::test]
    async fn spans_sent_by_otlp_are_found_by_their_trace() {
        let collector = SpanCollector::start();
        let span = Span {
            trace_id: vec![0xab; 16],
            span_id: vec![1; 8],
            name: "place order".to_owned(),
            ..Span::default()
        };
        let scope_spans = vec![ScopeSpans { spans: vec![span], ..ScopeSpans::default() }];
        let request = ExportTraceServiceRequest {
            resource_spans: vec![ResourceSpans { scope_spans, ..ResourceSpans::default() }],
        };
        let url = format!("{}/v1/traces", collector.endpoint());
        let client = reqwest::Client::new();
        let reply = client.post(&url).body(request.encode_to_vec()).send().await.unwrap();
        assert!(reply.status().is_success());

        let trace = "ab".repeat(16);
        let limit = Duration::from_secs(5);
        let spans = collector.wait_for_trace(&trace, limit, |spans| spans.len() == 1).await;
        assert_eq!(spans[0].name, "place order");
        let refused = client.post(&url).body("no protobuf").send().await.unwrap();
        assert_eq!(refused.status(), 400);
    }
}
