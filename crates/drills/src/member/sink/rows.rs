//! The rows that effects leave.

use sqlx::PgConnection;
use uuid::Uuid;

use super::Work;

/// One effect's row.
pub(super) struct Effect {
    id: Uuid,
    member: String,
    pub(super) topic: String,
    pub(super) partition: i32,
    key: String,
    epoch: Option<i64>,
    emitted: Option<Uuid>,
}

impl Effect {
    pub(super) fn of(
        work: &Work<'_>,
        member: &str,
        epoch: Option<i64>,
        emitted: Option<Uuid>,
    ) -> Self {
        let (member, key) = (member.to_owned(), work.key.to_owned());
        let topic = work.topic.to_owned();
        Self { id: work.id, member, topic, partition: work.partition, key, epoch, emitted }
    }
}

/// Locks the lane's row, so that effects of one lane get their positions in the order of their commits.
pub(super) async fn lane_lock(conn: &mut PgConnection, lane: &str) -> Result<(), sqlx::Error> {
    sqlx::query(
        "insert into lanes (lane, effects) values ($1, 1) \
         on conflict (lane) do update set effects = lanes.effects + 1",
    )
    .bind(lane)
    .execute(conn)
    .await?;
    Ok(())
}

pub(super) async fn effect_insert(
    conn: &mut PgConnection,
    effect: &Effect,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "insert into effects (id, member, topic, partition, key, epoch, emitted) \
         values ($1, $2, $3, $4, $5, $6, $7)",
    )
    .bind(effect.id)
    .bind(&effect.member)
    .bind(&effect.topic)
    .bind(effect.partition)
    .bind(&effect.key)
    .bind(effect.epoch)
    .bind(effect.emitted)
    .execute(conn)
    .await?;
    Ok(())
}
