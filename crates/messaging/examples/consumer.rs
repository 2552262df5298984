//! A consumer from nothing; docs/guide-consumer.md builds it step by step.
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use millrace_envelope::{ConsumerGroup, Envelope, Event, events};
use millrace_messaging::{Consumer, Delivery, KafkaSettings, Outcome, each};
use millrace_runtime::settings::Layers;
use millrace_runtime::{CancellationToken, Tasks};
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct ParcelSent {
    parcel_id: String,
}

events! {
    enum ParcelEvent on "parcel-events", aggregate "parcel", key parcel_id {
        "parcel.sent" v1 => Sent(ParcelSent),
    }
}

async fn sort(delivery: Delivery<Envelope<ParcelEvent>>) -> Outcome {
    let ParcelEvent::Sent(parcel) = delivery.message.payload;
    println!("parcel {} sorted at attempt {}", parcel.parcel_id, delivery.attempt);
    Outcome::Done
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let settings = KafkaSettings::from_environment("DEPOT", Layers::process_environment())?;
    let (tasks, stop) = (Tasks::new(), CancellationToken::new());
    let group = ConsumerGroup::from_static("depot.sort");
    let consumer = Consumer::new(group, ParcelEvent::TOPIC, each(sort));
    let handle = consumer.start(&settings, &tasks, stop.clone())?;
    tokio::signal::ctrl_c().await?;
    stop.cancel();
    handle.closed().await;
    Ok(())
}
