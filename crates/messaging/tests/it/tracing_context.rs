//! One trace id from the record to what its handler passes on.

use std::sync::{Arc, LazyLock, Mutex};

use millrace_envelope::{Envelope, MessageContext, TraceContext};
use millrace_messaging::{Batch, Consumer, Handler, Outcome, Outcomes};
use millrace_telemetry::TelemetryGuard;
use millrace_testkit::otlp::SpanRecord;
use millrace_testkit::{SpanCollector, wait_until};
use uuid::Uuid;

use crate::harness::{Depot, GROUP, Parcel, ParcelEvent, SOON, TOPIC};

/// Where this program's spans go. Telemetry is started once in a process, so the tests share it.
fn spans() -> &'static SpanCollector {
    static SPANS: LazyLock<(SpanCollector, TelemetryGuard)> = LazyLock::new(|| {
        let spans = SpanCollector::start();
        let guard = millrace_telemetry::init_for_tests("depot", &spans.endpoint());
        (spans, guard)
    });
    &SPANS.0
}

/// The trace's spans, once there are some of each name.
async fn of_both(spans: &SpanCollector, trace: &str, names: [&str; 2]) -> Vec<SpanRecord> {
    let enough = |received: &[SpanRecord]| {
        names.iter().all(|name| received.iter().any(|span| span.name == *name))
    };
    spans.wait_for_trace(trace, SOON, enough).await
}

#[derive(Clone, Default)]
struct Contexts(Arc<Mutex<Vec<MessageContext>>>);

impl Handler for Contexts {
    type Message = Envelope<ParcelEvent>;

    async fn handle(&self, batch: Batch<Envelope<ParcelEvent>>) -> Outcomes {
        let contexts = batch.deliveries.iter().map(|delivery| delivery.context.clone());
        self.0.lock().unwrap().extend(contexts);
        Outcomes::all(Outcome::Done)
    }
}

#[tokio::test]
async fn a_delivery_continues_its_trace_and_names_its_cause() {
    let spans = spans();
    let depot = Depot::open(1).await;
    let seen = Contexts::default();
    let member = depot.start(Consumer::new(GROUP, TOPIC, seen.clone()));
    let created_in = MessageContext {
        actor: Some("ann".into()),
        correlation_id: Some("request-1".into()),
        causation_id: Some("earlier".into()),
        trace: TraceContext {
            traceparent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".into(),
            ..TraceContext::default()
        },
        ..MessageContext::default()
    };
    let event = ParcelEvent::Sent(Parcel { parcel_id: "p".into(), number: 1 });
    let envelope = Envelope::new(Uuid::now_v7(), "depot", 1, event);
    depot.producer.publish(&envelope.encode(&created_in).unwrap()).await.unwrap();
    let seen =
        wait_until("it is handled", SOON, || async { seen.0.lock().unwrap().first().cloned() })
            .await;
    assert_eq!(seen.actor, created_in.actor);
    assert_eq!(seen.correlation_id, created_in.correlation_id);
    assert_eq!(seen.causation_id, Some(envelope.id.to_string()));
    assert_eq!(seen.trace.trace_id(), created_in.trace.trace_id());
    assert_ne!(
        seen.trace.traceparent, created_in.trace.traceparent,
        "a span of its own in the same trace"
    );
    member.leave().await;

    let trace = created_in.trace.trace_id().unwrap();
    let both = of_both(spans, trace, ["send parcel-events", "process parcel-events"]).await;
    let named = |name: &str| both.iter().find(|span| span.name == name).unwrap();
    let (send, process) = (named("send parcel-events"), named("process parcel-events"));
    assert_eq!((send.kind.as_str(), process.kind.as_str()), ("producer", "consumer"));
    for span in [send, process] {
        assert_eq!(span.parent_span_id, "b7ad6b7169203331", "a child of the creation context");
    }
    assert_eq!(process.links.len(), 1);
    assert_eq!(process.links[0].span_id, "b7ad6b7169203331");
    assert_eq!(process.attribute("messaging.consumer.group.name"), Some("depot.sort"));
    assert_eq!(process.attribute("messaging.message.id"), Some(envelope.id.to_string().as_str()));
    assert!(seen.trace.traceparent.contains(&process.span_id));
}

#[tokio::test]
async fn the_sending_of_a_dead_letter_stands_in_the_trace_of_its_record_and_links_to_its_creation()
{
    let spans = spans();
    let depot = Depot::open(1).await;
    let created_in: [(&str, &[u8]); 1] =
        [("traceparent", b"00-1af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")];
    depot.stack.produce(&depot.topic(), b"k", Some(b"?"), &created_in).await;
    let member = depot.member(|_| async { Ok(()) });
    wait_until("it is dead", SOON, || async { member.handle.health().dead_lettered == 1 }).await;
    member.leave().await;
    let trace = "1af7651916cd43dd8448eb211c80319c";
    // A letter whose transaction is repeated has a span for each attempt.
    let (process, send) = ("process parcel-events", "send parcel-events.depot.sort.dlt");
    let both = of_both(spans, trace, [process, send]).await;
    let named = |name: &str| both.iter().find(|span| span.name == name).unwrap();
    let (process, send) = (named(process), named(send));
    assert_eq!(send.kind, "producer");
    assert_eq!(send.parent_span_id, process.span_id, "below the attempt that failed");
    assert_eq!(send.links[0].span_id, "b7ad6b7169203331");
    assert_eq!(send.attribute("error.type"), Some("messaging.undecodable"));
}
