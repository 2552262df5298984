//! One trace id from the record to what its handler passes on.

use std::sync::{Arc, Mutex};

use millrace_envelope::{Envelope, MessageContext, TraceContext};
use millrace_messaging::{Batch, Handler, HandlerError, consume};
use millrace_runtime::CancellationToken;
use millrace_testkit::{SpanCollector, wait_until};
use uuid::Uuid;

use crate::harness::{Depot, GROUP, Parcel, ParcelEvent, SOON, TOPIC};

#[derive(Clone, Default)]
struct Contexts(Arc<Mutex<Vec<MessageContext>>>);

impl Handler for Contexts {
    type Event = ParcelEvent;

    async fn handle(&self, batch: Batch<ParcelEvent>) -> Result<(), HandlerError> {
        let contexts = batch.deliveries.iter().map(|delivery| delivery.context.clone());
        self.0.lock().unwrap().extend(contexts);
        Ok(())
    }
}

#[tokio::test]
async fn a_delivery_continues_its_trace_and_names_its_cause() {
    let spans = SpanCollector::start();
    let _telemetry = millrace_telemetry::init_for_tests("depot", &spans.endpoint());
    let depot = Depot::open(1).await;
    let stop = CancellationToken::new();
    let seen = Contexts::default();
    let producer = depot.producer.clone();
    let handle =
        consume(&depot.settings, GROUP, TOPIC, seen.clone(), producer, &depot.tasks, stop.clone())
            .unwrap();
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
    stop.cancel();
    handle.closed().await;

    let trace = created_in.trace.trace_id().unwrap();
    let both = spans.wait_for_trace(trace, SOON, |received| received.len() == 2).await;
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
