//! Settings of one consumer group under KIP-848, where the broker and not the client says how long a session is.

use anyhow::{Context, Result};

use super::access::KafkaAccess;
use super::wire::{self, Api, Writer};

/// The protocol's number of a group among the things that have settings.
const GROUP: i8 = 32;
const SET: i8 = 0;

impl KafkaAccess {
    /// Sets settings of one group, e.g. `("consumer.session.timeout.ms", "2000")`; they hold for members from their next
    /// heartbeat on. The group needs no members yet.
    ///
    /// # Errors
    /// When the broker refuses a setting.
    pub async fn set_group_settings(&self, group: &str, settings: &[(&str, &str)]) -> Result<()> {
        let mut body = Writer::default();
        body.compact_array(1).i8(GROUP).compact_text(group).compact_array(settings.len());
        for (name, value) in settings {
            body.compact_text(name).i8(SET).compact_text(value).tags();
        }
        body.tags().bool(false).tags();
        let address = self.addresses().next().context("there is no broker")?.to_owned();
        let mut answer = wire::ask(&address, Api::INCREMENTAL_ALTER_CONFIGS, body).await?;
        answer.i32()?;
        for _ in 0..answer.compact_array()? {
            let error = answer.i16()?;
            let reason = answer.nullable_compact_text()?.unwrap_or_default();
            wire::accept(error, &format!("a setting of {group} ({reason})"))?;
            answer.i8()?;
            answer.compact_text()?;
            answer.tags()?;
        }
        Ok(())
    }
}
