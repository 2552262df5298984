//! What a lock costs at the least, and a lock that is polled for.
//!
//! Connections are opened with the same client library, form and timeouts as the product's pool opens its own, and
//! each script is called by its digest.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use millrace_common::coordination::RedisSettings;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, FromRedisValue, Script, ToRedisArgs, cmd};
use tokio::time::Instant;

const TTL_MS: u64 = 10_000;
const WAITER_TTL_MS: u64 = 3_000;

/// A lock with a number: set if absent, and count. The least that hands out a lease with a token.
const TAKE: &str = "if redis.call('set', KEYS[1], ARGV[1], 'nx', 'px', ARGV[2]) then \
     return redis.call('incr', KEYS[2]) end return 0";
/// Deletes the key if it is ours.
const GIVE_BACK: &str =
    "if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('del', KEYS[1]) end return 0";

/// The product's scripts, word for word.
const ACQUIRE: &str = concat!(
    include_str!("../../../../coordination/src/lua/queue.lua"),
    include_str!("../../../../coordination/src/lua/acquire.lua")
);
const RELEASE: &str = concat!(
    include_str!("../../../../coordination/src/lua/queue.lua"),
    include_str!("../../../../coordination/src/lua/release.lua")
);

/// A connection and the two scripts that are called on it.
#[derive(Clone)]
pub(crate) struct BareLease {
    connection: MultiplexedConnection,
    take: String,
    give_back: String,
    keys: [String; 4],
    channel: String,
}

impl BareLease {
    /// The least that a lock with a token takes.
    pub(crate) async fn least(settings: &RedisSettings) -> Result<Self> {
        Self::open(settings, "bare", TAKE, GIVE_BACK).await
    }

    /// The product's scripts without the product around them.
    pub(crate) async fn same_scripts(settings: &RedisSettings) -> Result<Self> {
        Self::open(settings, "same", ACQUIRE, RELEASE).await
    }

    async fn open(settings: &RedisSettings, name: &str, take: &str, give: &str) -> Result<Self> {
        let mut connection = connect(settings).await?;
        let take = load(&mut connection, take).await?;
        let give_back = load(&mut connection, give).await?;
        let key = |kind: &str| format!("{}{kind}:{{{name}}}:exclusive", settings.key_prefix);
        let keys = ["lease", "fence", "queue", "seen"].map(key);
        Ok(Self { connection, take, give_back, keys, channel: key("turns") })
    }

    /// Takes and gives back `pairs` times with two calls each, as [`TAKE`] and [`GIVE_BACK`] want them.
    pub(crate) async fn least_pairs(mut self, pairs: u64) -> Result<Duration> {
        let started = Instant::now();
        let mut last = 0;
        for number in 0..pairs {
            let value = format!("bench/{number}");
            let (digest, keys) = (&self.take, [&*self.keys[0], &*self.keys[1]]);
            let token: u64 = call(&mut self.connection, digest, &keys, &(&*value, TTL_MS)).await?;
            ensure!(token > last, "the bare token {token} came after {last}");
            last = token;
            let (digest, keys) = (&self.give_back, [&*self.keys[0]]);
            let ours: bool = call(&mut self.connection, digest, &keys, &(&*value,)).await?;
            ensure!(ours, "the bare lock was not ours");
        }
        Ok(started.elapsed())
    }

    /// The same with the product's scripts and their arguments.
    pub(crate) async fn same_script_pairs(mut self, pairs: u64) -> Result<Duration> {
        let started = Instant::now();
        for number in 0..pairs {
            let attempt = format!("bench/{number}");
            let value = self.same_acquire(&attempt).await?;
            let arguments = (&*value, WAITER_TTL_MS, &*self.channel);
            let [lease, _, queue, seen] = self.keys.each_ref().map(String::as_str);
            let keys = [lease, queue, seen];
            let ours: bool = call(&mut self.connection, &self.give_back, &keys, &arguments).await?;
            ensure!(ours, "the lease was not ours");
        }
        Ok(started.elapsed())
    }

    /// What the script wrote. Offers an incarnation when it asks for one, which the product draws from PostgreSQL: once
    /// for each replication id of the server.
    async fn same_acquire(&mut self, attempt: &str) -> Result<String> {
        let (mut offered, mut drawn_for) = (0_u32, String::new());
        for _ in 0..2 {
            let waiters_max = 1_024_u32;
            let arguments = (
                attempt,
                TTL_MS,
                offered,
                0_u8,
                WAITER_TTL_MS,
                waiters_max,
                &*self.channel,
                &*drawn_for,
            );
            let keys = self.keys.each_ref().map(String::as_str);
            let (answer, first, token, value): (u8, u32, u64, String) =
                call(&mut self.connection, &self.take, &keys, &arguments).await?;
            match answer {
                1 => {
                    ensure!(token > 0, "the script gave no token");
                    return Ok(value);
                }
                2 => (offered, drawn_for) = (first + 1, value),
                _ => bail!("the script answered {answer}"),
            }
        }
        bail!("the script refuses the incarnation that it asked for")
    }
}

/// A lock as redsync's defaults have it: a random value set if absent, tried 32 times with a random pause of 50 to
/// 250 ms in between, deleted only by its owner.
pub(crate) struct PolledLock {
    connection: MultiplexedConnection,
    key: String,
    give_back: String,
    random: StdRng,
}

/// How often a lock is tried for.
const TRIES: u32 = 32;

impl PolledLock {
    pub(crate) async fn open(
        connection: &MultiplexedConnection,
        key: String,
        seed: u64,
    ) -> Result<Self> {
        let mut connection = connection.clone();
        let give_back = load(&mut connection, GIVE_BACK).await?;
        Ok(Self { connection, key, give_back, random: StdRng::seed_from_u64(seed) })
    }

    /// The value that it was taken with; `None` after the last try, or after `end`.
    pub(crate) async fn take(&mut self, end: Instant) -> Result<Option<String>> {
        let value = format!("{:032x}", self.random.random::<u128>());
        for attempt in 0..TRIES {
            if attempt > 0 {
                let pause = Duration::from_millis(self.random.random_range(50..250));
                tokio::time::sleep_until(end.min(Instant::now() + pause)).await;
                if Instant::now() >= end {
                    return Ok(None);
                }
            }
            let taken: Option<String> = cmd("SET")
                .arg(&self.key)
                .arg(&value)
                .arg("NX")
                .arg("PX")
                .arg(TTL_MS)
                .query_async(&mut self.connection)
                .await?;
            if taken.is_some() {
                return Ok(Some(value));
            }
        }
        Ok(None)
    }

    /// True when it was still ours.
    pub(crate) async fn give_back(&mut self, value: &str) -> Result<bool> {
        let keys = [&*self.key];
        Ok(call(&mut self.connection, &self.give_back, &keys, &(value,)).await?)
    }
}

pub(crate) async fn connect(settings: &RedisSettings) -> Result<MultiplexedConnection> {
    let client = Client::open((settings.host.as_str(), settings.port)).context("a Redis client")?;
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(settings.connect_timeout))
        .set_response_timeout(Some(settings.operation_timeout));
    client
        .get_multiplexed_async_connection_with_config(&config)
        .await
        .context("connecting to Redis")
}

async fn load(connection: &mut MultiplexedConnection, code: &str) -> Result<String> {
    let digest: String =
        cmd("SCRIPT").arg("LOAD").arg(code).query_async(connection).await.context("SCRIPT LOAD")?;
    ensure!(digest == Script::new(code).get_hash(), "Redis computed another digest");
    Ok(digest)
}

async fn call<T: FromRedisValue>(
    connection: &mut MultiplexedConnection,
    digest: &str,
    keys: &[&str],
    arguments: &(impl ToRedisArgs + Sync),
) -> redis::RedisResult<T> {
    let mut command = cmd("EVALSHA");
    command.arg(digest).arg(keys.len()).arg(keys).arg(arguments);
    command.query_async(connection).await
}
