//! Writes a set of records to a topic with the bare producer; no part of what is measured.

use anyhow::Result;
use millrace_common::messaging::KafkaSettings;
use millrace_common::runtime::Clock;

use crate::bare::{BareMessage, finish, send, threaded_producer};
use crate::records::{Form, RecordSet, enveloped, key_text, raw_value};

/// Writes the whole set, and returns when all of it is acknowledged.
pub(crate) async fn write(settings: &KafkaSettings, topic: &str, set: &RecordSet) -> Result<()> {
    let (producer, deliveries) = threaded_producer(settings)?;
    let clock = Clock::system();
    for (key, number) in set.numbered() {
        match set.form {
            Form::Raw => {
                let (key_text, value) = (key_text(key), raw_value(key, number));
                let key = key_text.as_bytes();
                send(&producer, BareMessage { topic, key, value: &value, headers: &[] }).await?;
            }
            Form::Enveloped => {
                let record = enveloped(key, number, clock.now_ms())?;
                let value = record.payload.unwrap_or_default();
                let (key, headers) = (&record.key, &record.headers);
                send(&producer, BareMessage { topic, key, value: &value, headers }).await?;
            }
        }
    }
    finish(producer, &deliveries, u64::from(set.count)).await
}
