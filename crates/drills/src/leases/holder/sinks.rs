//! Where a holder writes: effects behind the fence, and a register that compares tokens itself.

use millrace_checker::leases::{LeaseNote, Write};
use millrace_coordination::{Fenced, FencedError, FencedTransaction};
use sqlx::PgPool;

use super::freeze::{FreezeAt, Freezer};
use crate::leases::ground::{EFFECTS, REGISTER};
use crate::notes::Notes;

/// What came of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Written {
    Committed,
    /// By the sink: a later holder was there.
    Refused,
    /// By the holder's own knowledge: nothing was sent.
    Lost,
    /// The sink has it or not.
    Unknown,
}

#[derive(Debug, Clone)]
pub(super) struct Sinks {
    pool: PgPool,
    notes: Notes<LeaseNote>,
    freezer: Freezer,
}

impl Sinks {
    pub(super) fn new(pool: PgPool, notes: Notes<LeaseNote>, freezer: Freezer) -> Self {
        Self { pool, notes, freezer }
    }

    /// The first unit that isn't done, as far as anybody can see from outside.
    pub(super) async fn next(&self, lease: &str) -> sqlx::Result<u64> {
        next(&self.pool, lease).await
    }

    /// The first unit that isn't done. From here on nobody with a lower token changes it.
    pub(super) async fn open(&self, fenced: &Fenced) -> Result<u64, Written> {
        let write = of(fenced, EFFECTS, None);
        self.notes.note(LeaseNote::Begun { write: write.clone(), guarded: true });
        let mut transaction = self.begin(fenced, &write).await?;
        let next = next(&mut *transaction, fenced.lease()).await;
        let next = next.map_err(|_| self.unknown(write.clone()))?;
        match self.commit(transaction, write).await {
            Written::Committed => Ok(next),
            other @ (Written::Refused | Written::Lost | Written::Unknown) => Err(other),
        }
    }

    /// Does a unit: first the effect, then the register's value. `guarded` says whether the loss of the lease cancels it.
    pub(super) async fn unit(&self, fenced: &Fenced, unit: u64, guarded: bool) -> Written {
        let write = of(fenced, EFFECTS, Some(unit));
        self.notes.note(LeaseNote::Begun { write: write.clone(), guarded });
        self.freezer.pass(FreezeAt::BeforeBegin);
        let mut transaction = match self.begin(fenced, &write).await {
            Ok(transaction) => transaction,
            Err(written) => return written,
        };
        let insert =
            sqlx::query("insert into effects (lease, unit, token, holder) values ($1, $2, $3, $4)");
        let inserted = bind(insert, fenced, unit).execute(&mut *transaction).await;
        if inserted.is_err() {
            return self.unknown(write);
        }
        self.freezer.pass(FreezeAt::BeforeCommit);
        match self.commit(transaction, write).await {
            Written::Committed => self.register(fenced, unit, guarded).await,
            other @ (Written::Refused | Written::Lost | Written::Unknown) => other,
        }
    }

    async fn register(&self, fenced: &Fenced, unit: u64, guarded: bool) -> Written {
        let write = of(fenced, REGISTER, Some(unit));
        self.notes.note(LeaseNote::Begun { write: write.clone(), guarded });
        let upsert = sqlx::query(
            "insert into register (lease, unit, fence, holder) values ($1, $2, $3, $4) \
             on conflict (lease) do update \
                 set unit = excluded.unit, fence = excluded.fence, holder = excluded.holder \
                 where register.fence < excluded.fence \
                     or (register.fence = excluded.fence and register.holder = excluded.holder)",
        );
        match bind(upsert, fenced, unit).execute(&self.pool).await {
            Ok(done) if done.rows_affected() == 0 => {
                self.notes.note(LeaseNote::Refused(write));
                Written::Refused
            }
            Ok(_) => {
                self.notes.note(LeaseNote::Committed(write));
                Written::Committed
            }
            Err(_) => self.unknown(write),
        }
    }

    async fn begin(&self, fenced: &Fenced, write: &Write) -> Result<FencedTransaction, Written> {
        match fenced.begin(&self.pool).await {
            Ok(transaction) => Ok(transaction),
            Err(FencedError::Refused { .. }) => {
                self.notes.note(LeaseNote::Refused(write.clone()));
                Err(Written::Refused)
            }
            Err(FencedError::Lost { .. }) => Err(Written::Lost),
            Err(FencedError::Database { .. }) => Err(self.unknown(write.clone())),
        }
    }

    async fn commit(&self, transaction: FencedTransaction, write: Write) -> Written {
        if transaction.commit().await.is_err() {
            return self.unknown(write);
        }
        self.notes.note(LeaseNote::Committed(write));
        Written::Committed
    }

    fn unknown(&self, write: Write) -> Written {
        self.notes.note(LeaseNote::Unknown(write));
        Written::Unknown
    }
}

async fn next(executor: impl sqlx::PgExecutor<'_>, lease: &str) -> sqlx::Result<u64> {
    let statement = "select coalesce(max(unit) + 1, 0) from effects where lease = $1";
    let next: i64 = sqlx::query_scalar(statement).bind(lease).fetch_one(executor).await?;
    Ok(next.unsigned_abs())
}

type Statement<'q> = sqlx::query::Query<'q, sqlx::Postgres, sqlx::postgres::PgArguments>;

fn bind<'q>(statement: Statement<'q>, fenced: &Fenced, unit: u64) -> Statement<'q> {
    let unit = i64::try_from(unit).unwrap_or(i64::MAX);
    statement
        .bind(fenced.lease())
        .bind(unit)
        .bind(fenced.token().as_i64())
        .bind(fenced.holder().to_owned())
}

fn of(fenced: &Fenced, sink: &str, unit: Option<u64>) -> Write {
    let (lease, token) = (fenced.lease().to_owned(), fenced.token().as_i64());
    Write { sink: sink.to_owned(), lease, token, unit }
}
