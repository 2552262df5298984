//! The world outside the service: inventory and the payment provider, and what the service tells it.

use millrace_common::envelope::{Envelope, Event, MessageContext, Topic as _, TraceContext};
use millrace_contracts::events::{
    InventoryEvent, PaymentEvent, PaymentFailed, PaymentSucceeded, ReservationHeld,
    ReservationRejected, Shortage, ShortageReason,
};
use millrace_contracts::{Topic, groups};
use millrace_testkit::payments;
use millrace_testkit::records::RawRecord;
use millrace_testkit::wait_until;
use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::harness::{Answer, PATIENCE, PAYMENT_SECRET, TestApp};

pub(crate) const TRACEPARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
pub(crate) const TRACE_ID: &str = "0af7651916cd43dd8448eb211c80319c";

pub(crate) fn envelope<E: Event>(source: &str, event: E) -> Envelope<E> {
    Envelope::new(Uuid::now_v7(), source, 1_700_000_000_000, event)
}

pub(crate) fn held(order_id: Uuid) -> InventoryEvent {
    InventoryEvent::Held(ReservationHeld { order_id, held_at: 1_700_000_000_000 })
}

pub(crate) fn rejected(order_id: Uuid) -> InventoryEvent {
    let reason = ShortageReason::OutOfStock;
    let shortage = Shortage { sku: "TEA-1".into(), requested: 2, free: 1, reason };
    InventoryEvent::Rejected(ReservationRejected { order_id, shortages: vec![shortage] })
}

pub(crate) fn succeeded(order_id: Uuid, payment_id: &str, amount_minor: i64) -> PaymentEvent {
    let (payment_id, currency) = (payment_id.to_owned(), "EUR".to_owned());
    PaymentEvent::Succeeded(PaymentSucceeded { order_id, payment_id, amount_minor, currency })
}

pub(crate) fn failed(order_id: Uuid, payment_id: &str) -> PaymentEvent {
    let (payment_id, reason) = (payment_id.to_owned(), "card declined".to_owned());
    PaymentEvent::Failed(PaymentFailed { order_id, payment_id, reason })
}

/// A callback's body: 2500 EUR cents, which is what the harness's orders cost.
pub(crate) fn callback(order: Uuid, payment_id: &str, result: &str) -> Value {
    json!({
        "payment_id": payment_id, "order_id": order, "result": result,
        "amount_minor": 2500, "currency": "EUR",
    })
}

impl TestApp {
    /// Sends a record as another service's relay would.
    pub(crate) async fn tell<E: Event>(&self, envelope: &Envelope<E>) {
        let trace = TraceContext { traceparent: TRACEPARENT.into(), ..TraceContext::default() };
        let context = MessageContext {
            actor: Some("ann".into()),
            correlation_id: Some("correlation".into()),
            trace,
            ..MessageContext::default()
        };
        let record = envelope.encode(&context).unwrap();
        let headers: Vec<(&str, &[u8])> =
            record.headers.iter().map(|(name, value)| (name.as_str(), value.as_slice())).collect();
        let topic = self.ground.namespace.topic(record.topic.as_str());
        self.ground.stack.produce(&topic, &record.key, record.payload.as_deref(), &headers).await;
    }

    pub(crate) async fn hold(&self, order: Uuid) {
        self.tell(&envelope("inventory", held(order))).await;
    }

    pub(crate) async fn tell_bytes(&self, topic: Topic, bytes: &[u8]) {
        let topic = self.ground.namespace.topic(topic.topic_name().as_str());
        self.ground.stack.produce(&topic, b"key", Some(bytes), &[]).await;
    }

    /// The payment provider calls back, well signed.
    pub(crate) async fn call_back(&self, body: &Value) -> Answer {
        let body = body.to_string().into_bytes();
        let headers = payments::sign(PAYMENT_SECRET, &body);
        self.call_back_with(&headers, body).await
    }

    pub(crate) async fn call_back_with(
        &self,
        headers: &[(&'static str, String)],
        body: Vec<u8>,
    ) -> Answer {
        let mut request = self.anonymous(Method::POST, "/api/v1/payments/results").body(body);
        for (name, value) in headers {
            request = request.header(*name, value);
        }
        self.send(request).await
    }

    pub(crate) async fn records(&self, topic: Topic) -> Vec<RawRecord> {
        let topic = self.ground.namespace.topic(topic.topic_name().as_str());
        self.ground.stack.records(&topic).await
    }

    pub(crate) async fn dead_letters(&self) -> Vec<RawRecord> {
        let mut found = Vec::new();
        for (group, topic) in groups::ALL {
            if group.as_str().starts_with("order.") {
                let name = topic.topic_name().dead_letter(*group);
                let topic = self.ground.namespace.topic(name.as_str());
                found.extend(self.ground.stack.records(&topic).await);
            }
        }
        found
    }

    pub(crate) async fn wait_dead_letter(&self) -> RawRecord {
        wait_until("a dead letter", PATIENCE, || async { self.dead_letters().await.pop() }).await
    }

    /// The types of an order's events on `order-events`, once the outbox is empty.
    pub(crate) async fn order_events(&self, order: Uuid) -> Vec<String> {
        self.envelopes(Topic::OrderEvents, &order.to_string())
            .await
            .iter()
            .map(|envelope| envelope["type"].as_str().unwrap().to_owned())
            .collect()
    }

    /// `action outcome` of an order's audit records, once the outbox is empty.
    pub(crate) async fn audit_trail(&self, order: Uuid) -> Vec<String> {
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        self.envelopes(Topic::AuditTopic, &format!("order/{order}"))
            .await
            .iter()
            .map(|it| {
                format!("{} {}", text(&it["payload"]["action"]), text(&it["payload"]["outcome"]))
            })
            .collect()
    }

    /// The envelopes of one key, once the outbox is empty.
    pub(crate) async fn envelopes(&self, topic: Topic, key: &str) -> Vec<Value> {
        self.wait_outbox_empty().await;
        let records = self.records(topic).await;
        let of_key = records.iter().filter(|record| record.key.as_deref() == Some(key.as_bytes()));
        of_key.map(RawRecord::json).collect()
    }
}
