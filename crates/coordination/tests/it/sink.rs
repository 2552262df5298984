//! A sink that writes down every token it let through, for tests in which Redis forgets, fails over or is cut off.

use std::time::Duration;

use millrace_coordination::{
    FencedError, FencingToken, Lease, LeaseGuard, Leases, MIGRATIONS, Redis, RedisSettings,
};
use millrace_runtime::Tasks;
use millrace_testkit::{Namespace, Stack, TestDatabase, wait_until};

use crate::harness::{LONG, redis_settings};

pub(crate) const WORK: &str = "dispatch";

/// Within so long a client has to find the server that serves it now.
const FIND_WITHIN: Duration = Duration::from_secs(15);

/// Why a write did not happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Denied {
    /// By the sink.
    Refused,
    /// By the holder's own clock, or by Redis.
    Lost,
}

pub(crate) struct Sink {
    database: TestDatabase,
    tasks: Tasks,
    key_prefix: String,
}

impl Sink {
    pub(crate) async fn new() -> Self {
        let database = Stack::shared().await.database("leases", &[&MIGRATIONS]).await;
        let table = "create table writes (id bigserial primary key, token bigint, holder text)";
        sqlx::query(table).execute(&database.owner_pool()).await.unwrap();
        let key_prefix = Namespace::unique().redis_prefix;
        Self { database, tasks: Tasks::new(), key_prefix }
    }

    /// Settings that lead to one server.
    pub(crate) fn single(&self, port: u16) -> RedisSettings {
        redis_settings(port, &self.key_prefix)
    }

    /// A holder with connections of its own.
    pub(crate) fn holder(&self, settings: &RedisSettings, holder: &str) -> Leases {
        Leases::new(Redis::connect(settings).unwrap(), self.database.app_pool(), holder)
    }

    /// Acquires when it can, which has to be soon.
    pub(crate) async fn acquired(&self, leases: &Leases, ttl: Duration) -> Lease {
        wait_until("the holder gets the lease", FIND_WITHIN, || async {
            match leases.acquire(WORK, ttl).await {
                Ok(Some(lease)) => Ok(lease),
                Ok(None) => Err("it is held".to_owned()),
                Err(error) => Err(format!("{error:?}")),
            }
        })
        .await
    }

    /// Asks when there may be a server to be found first; `None` says that the lease is held.
    pub(crate) async fn answered(&self, leases: &Leases) -> Option<Lease> {
        wait_until("the holder is answered", FIND_WITHIN, || async {
            leases.acquire(WORK, LONG).await.map_err(|error| format!("{error:?}"))
        })
        .await
    }

    /// Acquires for long, and writes under it.
    pub(crate) async fn turn(&self, leases: &Leases) -> LeaseGuard {
        let guard = self.keep(self.acquired(leases, LONG).await);
        assert_eq!(self.write(&guard).await, Ok(()), "a new holder's write is let through");
        guard
    }

    pub(crate) fn keep(&self, lease: Lease) -> LeaseGuard {
        lease.keep(&self.tasks, Some(LONG))
    }

    pub(crate) async fn write(&self, guard: &LeaseGuard) -> Result<(), Denied> {
        let pool = self.database.owner_pool();
        let written = guard.run(|fenced| async move {
            let mut transaction = fenced.begin(&pool).await?;
            sqlx::query("insert into writes (token, holder) values ($1, $2)")
                .bind(fenced.token().as_i64())
                .bind(fenced.holder())
                .execute(&mut *transaction)
                .await
                .unwrap();
            transaction.commit().await.unwrap();
            Ok(())
        });
        match written.await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(FencedError::Refused { .. })) => Err(Denied::Refused),
            Ok(Err(FencedError::Lost { .. })) | Err(_) => Err(Denied::Lost),
            Ok(Err(error @ FencedError::Database { .. })) => panic!("{error:?}"),
        }
    }

    /// The tokens in the order of their writes, after a look that none is below the one before and that no two holders
    /// had the same.
    pub(crate) async fn tokens(&self) -> Vec<FencingToken> {
        let rows: Vec<(i64, String)> =
            sqlx::query_as("select token, holder from writes order by id")
                .fetch_all(&self.database.owner_pool())
                .await
                .unwrap();
        for pair in rows.windows(2) {
            assert!(pair[0].0 < pair[1].0 || pair[0] == pair[1], "{rows:?}");
        }
        rows.into_iter().map(|(token, _)| FencingToken::from_i64(token)).collect()
    }
}
