//! Everything that is known when a drill is over: the notes, and what the stores hold.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use millrace_checker::{EffectRow, Finals, InboxRow, LogRecord, Outcome};
use millrace_envelope::TopicName;
use sqlx::{FromRow, PgPool};
use uuid::Uuid;

use super::{Arena, log};
use crate::member::SinkKind;
use crate::parcel::{GROUP, NOTICES, PARCELS};

pub(super) async fn finals(arena: &Arena<'_>) -> Result<Finals> {
    let mut finals = Finals {
        log: Some(records(arena, &PARCELS).await?),
        letters: letters(arena).await?,
        ..Finals::default()
    };
    if let Some(database) = &arena.database {
        let pool = database.owner_pool();
        finals.effects = Some(effects(&pool).await?);
        if arena.shape.sink == SinkKind::Inbox {
            let places = garbage_places(arena, finals.log.iter().flatten());
            let mut inbox = inbox(&pool).await?;
            for row in &mut inbox {
                row.id = places.get(&row.id).copied().unwrap_or(row.id);
            }
            finals.inbox = Some(inbox);
            finals.emitted = Some(records(arena, &NOTICES).await?);
        }
    }
    Ok(finals)
}

/// The inbox knows a record that nobody can read by an id made of its place.
fn garbage_places<'l>(
    arena: &Arena<'_>,
    log: impl Iterator<Item = &'l LogRecord>,
) -> BTreeMap<Uuid, Uuid> {
    let garbage = arena.garbage();
    let topic = arena.namespace.topic(PARCELS.as_str());
    log.filter(|record| garbage.contains(&record.id))
        .map(|record| {
            let LogRecord { partition, offset, id, .. } = record;
            let place = format!("{topic}/{partition}/{offset}/{GROUP}");
            (Uuid::new_v5(&Uuid::NAMESPACE_OID, place.as_bytes()), *id)
        })
        .collect()
}

/// The records that the dead letters were.
pub(super) async fn letters(arena: &Arena<'_>) -> Result<Vec<Uuid>> {
    let records = records(arena, &PARCELS.dead_letter(GROUP)).await?;
    Ok(records.into_iter().map(|record| record.id).collect())
}

async fn records(arena: &Arena<'_>, topic: &TopicName) -> Result<Vec<LogRecord>> {
    let port = arena.stack.addresses().kafka_port;
    let logged = log::read(port, arena.namespace.topic(topic.as_str())).await?;
    let named = |record: log::Logged| {
        let (partition, offset) = (record.partition, record.offset);
        Some(LogRecord { topic: topic.to_string(), partition, offset, id: record.id? })
    };
    Ok(logged.into_iter().filter_map(named).collect())
}

#[derive(FromRow)]
struct Effect {
    position: i64,
    id: Uuid,
    member: String,
    topic: String,
    partition: i32,
    epoch: Option<i64>,
    emitted: Option<Uuid>,
}

async fn effects(pool: &PgPool) -> Result<Vec<EffectRow>> {
    let statement = "select position, id, member, topic, partition, epoch, emitted from effects";
    let rows: Vec<Effect> =
        sqlx::query_as(statement).fetch_all(pool).await.context("reading the effects")?;
    Ok(rows
        .into_iter()
        .map(|row| EffectRow {
            id: row.id,
            member: row.member,
            epoch: row.epoch,
            topic: row.topic,
            partition: row.partition,
            position: row.position,
            emitted: row.emitted,
        })
        .collect())
}

async fn inbox(pool: &PgPool) -> Result<Vec<InboxRow>> {
    let statement = "select message_id, outcome from inbox where consumer_group = $1";
    let rows: Vec<(Uuid, String)> = sqlx::query_as(statement)
        .bind(GROUP.as_str())
        .fetch_all(pool)
        .await
        .context("reading the inbox")?;
    let outcome = |text: &str| if text == "dead" { Outcome::Dead } else { Outcome::Done };
    Ok(rows.into_iter().map(|(id, text)| InboxRow { id, outcome: outcome(&text) }).collect())
}
