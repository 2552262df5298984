//! When is a drill over? When every acknowledged record has an outcome, or when nothing moves any more.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use sqlx::PgPool;
use uuid::Uuid;

use super::watch::Watch;
use super::{Arena, harvest};
use crate::parcel::GROUP;

/// How often it looks.
const INTERVAL: Duration = Duration::from_millis(100);

/// How a drill ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// Every acknowledged record has an outcome, and everything emitted was published.
    Complete,
    /// Something is missing and nothing has moved for a while; what, and how the group stands.
    Still(String),
    /// Something was missing when the patience was over.
    Late(String),
}

/// What is missing at one look.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Missing {
    outcomes: usize,
    letters: usize,
    outbox: i64,
    /// Records begun so far: a repeat is a movement too.
    begun: usize,
}

impl Missing {
    fn nothing(&self) -> bool {
        self.outcomes == 0 && self.letters == 0 && self.outbox == 0
    }
}

impl Arena<'_> {
    /// Waits for the end: complete, or nothing moved for `quiet`, or `patience` is over.
    ///
    /// # Errors
    /// When notes or stores can't be read.
    pub async fn ended(&self, quiet: Duration, patience: Duration) -> Result<End> {
        let pool = self.database.as_ref().map(|database| database.owner_pool());
        let mut watch = Watch::default();
        let started = Instant::now();
        let mut last: Option<(Missing, Instant)> = None;
        loop {
            let missing = self.missing(&mut watch, pool.as_ref()).await?;
            if missing.nothing() {
                return Ok(End::Complete);
            }
            let since = match &last {
                Some((before, since)) if *before == missing => *since,
                Some(_) | None => Instant::now(),
            };
            let text = format!("{missing:?}");
            last = Some((missing, since));
            if since.elapsed() > quiet {
                return Ok(End::Still(format!("{text} of {}", self.group().await)));
            }
            if started.elapsed() > patience {
                return Ok(End::Late(text));
            }
            tokio::time::sleep(INTERVAL).await;
        }
    }

    /// Who the coordinator takes for members, and what it believes them to own.
    async fn group(&self) -> String {
        let group = format!("{GROUP}{}", self.namespace.group_suffix);
        format!("{:?}", self.stack.access().group(&group).await)
    }

    /// Waits until handlers of this member (of all when `None`) have begun so many records.
    ///
    /// # Errors
    /// When they don't, or the notes can't be read.
    pub async fn begun(
        &self,
        member: Option<&str>,
        records: usize,
        patience: Duration,
    ) -> Result<()> {
        self.noted(records, patience, |watch| match member {
            Some(name) => watch.started.get(name).copied().unwrap_or(0),
            None => watch.started.values().sum(),
        })
        .await
        .context("beginning records")
    }

    /// Waits until a member has noted that a partition of its own went.
    ///
    /// # Errors
    /// As [`Arena::begun`].
    pub async fn gave_back(&self, member: &str, patience: Duration) -> Result<()> {
        let gone = |watch: &Watch| watch.gone.get(member).copied().unwrap_or(0);
        self.noted(1, patience, gone).await.context("giving a partition back")
    }

    /// Waits until the group was seen to commit an offset past a record: what is delivered and not yet begun is committed
    /// as the offset at which it begins.
    ///
    /// # Errors
    /// As [`Arena::begun`].
    pub async fn committed(&self, patience: Duration) -> Result<()> {
        self.noted(1, patience, |watch| watch.commits).await.context("committing")
    }

    async fn noted(
        &self,
        wanted: usize,
        patience: Duration,
        count: impl Fn(&Watch) -> usize,
    ) -> Result<()> {
        let mut watch = Watch::default();
        let started = Instant::now();
        loop {
            watch.look(self.directory())?;
            let noted = count(&watch);
            if noted >= wanted {
                return Ok(());
            }
            anyhow::ensure!(started.elapsed() < patience, "only {noted} of {wanted} were noted");
            tokio::time::sleep(INTERVAL / 4).await;
        }
    }

    async fn missing(&self, watch: &mut Watch, pool: Option<&PgPool>) -> Result<Missing> {
        watch.look(self.directory())?;
        let begun = watch.started.values().sum();
        let (effects, outbox) = match pool {
            Some(pool) => (effects(pool).await?, outbox(pool).await?),
            None => (watch.effects.clone(), 0),
        };
        let garbage = self.garbage();
        let given_up = watch.given_up.iter().chain(garbage.intersection(&watch.acked));
        let dead: BTreeSet<Uuid> = given_up.filter(|id| !effects.contains(id)).copied().collect();
        let outcomes = watch.acked.difference(&effects).filter(|id| !dead.contains(id)).count();
        // The letters are read only when all else is there: it is the dearest look.
        let letters = match outcomes == 0 && outbox == 0 && !dead.is_empty() {
            true => {
                let letters: BTreeSet<Uuid> = harvest::letters(self).await?.into_iter().collect();
                dead.difference(&letters).count()
            }
            false => dead.len().min(1),
        };
        let letters = if dead.is_empty() { 0 } else { letters };
        Ok(Missing { outcomes, letters, outbox, begun })
    }
}

async fn effects(pool: &PgPool) -> Result<BTreeSet<Uuid>> {
    let ids: Vec<Uuid> = sqlx::query_scalar("select id from effects")
        .fetch_all(pool)
        .await
        .context("reading the effects")?;
    Ok(ids.into_iter().collect())
}

async fn outbox(pool: &PgPool) -> Result<i64> {
    sqlx::query_scalar("select count(*) from outbox")
        .fetch_one(pool)
        .await
        .context("counting the outbox")
}
