//! One test's keys, database and holders.

use std::time::Duration;

use millrace_coordination::{DEFAULTS, Leases, MIGRATIONS, Redis, RedisSettings};
use millrace_runtime::settings::{Layers, Problems, Validate, load};
use millrace_testkit::{Stack, TestDatabase};
use redis::cmd;
use serde::Deserialize;
use sqlx::PgPool;

/// How long is waited for what has to come, Redis' answers too: a slow machine is no reason to fail.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);
/// How long Redis may be silent where its silence is what a test is about.
const IMPATIENCE: Duration = Duration::from_millis(500);
pub(crate) const LONG: Duration = Duration::from_secs(30);

#[derive(Debug, Deserialize)]
struct Only {
    redis: RedisSettings,
}

impl Validate for Only {
    fn validate(&self, problems: &mut Problems) {
        self.redis.validate(problems);
    }
}

pub(crate) fn redis_settings(port: u16, key_prefix: &str) -> RedisSettings {
    let key = |name: &str, value: String| (format!("T__REDIS__{name}"), value);
    let environment = vec![
        key("HOST", "127.0.0.1".into()),
        key("PORT", port.to_string()),
        key("KEY_PREFIX", key_prefix.into()),
    ];
    let layers = Layers { defaults: vec![DEFAULTS], overlay: None, prefix: "T", environment };
    let settings = load::<Only>(&layers).unwrap().redis;
    RedisSettings { connect_timeout: PATIENCE, operation_timeout: PATIENCE, ..settings }
}

/// The same for a client that soon takes silence for an answer.
pub(crate) fn impatient(settings: RedisSettings) -> RedisSettings {
    RedisSettings { connect_timeout: IMPATIENCE, operation_timeout: IMPATIENCE, ..settings }
}

pub(crate) struct Bench {
    pub(crate) redis: Redis,
    pub(crate) app: PgPool,
    pub(crate) key_prefix: String,
    pub(crate) redis_port: u16,
    _database: TestDatabase,
}

impl Bench {
    /// On the shared stack, under keys of its own.
    pub(crate) async fn new() -> Self {
        Self::on(Stack::shared().await).await
    }

    /// On a stack of one's own, which the test may break.
    pub(crate) async fn on(stack: &Stack) -> Self {
        let prefix = format!("{}:", stack.namespace().id());
        let redis_port = stack.addresses().redis_port;
        let redis = Redis::connect(&redis_settings(redis_port, &prefix)).unwrap();
        let database = stack.database("leases", &[&MIGRATIONS]).await;
        Self {
            redis,
            app: database.app_pool(),
            key_prefix: prefix,
            redis_port,
            _database: database,
        }
    }

    /// Leases with connections of their own, as another process has them.
    pub(crate) fn process(&self, holder: &str) -> Leases {
        let redis = Redis::connect(&redis_settings(self.redis_port, &self.key_prefix)).unwrap();
        Leases::new(redis, self.app.clone(), holder)
    }

    /// Connections that don't wait for a silent Redis.
    pub(crate) fn impatient(&self) -> Redis {
        let settings = redis_settings(self.redis_port, &self.key_prefix);
        Redis::connect(&impatient(settings)).unwrap()
    }

    /// Deletes this test's keys of a pattern behind the leases' backs.
    pub(crate) async fn delete(&self, pattern: &str) {
        let delete = "for _, k in ipairs(redis.call('keys', ARGV[1])) do redis.call('del', k) end";
        self.eval(delete, &[&self.redis.key(pattern)]).await;
    }

    pub(crate) async fn keys(&self, pattern: &str) -> Vec<String> {
        let pattern = self.redis.key(pattern);
        let keys = self.redis.run("KEYS", async |connection| {
            cmd("KEYS").arg(&pattern).query_async(connection).await
        });
        keys.await.unwrap()
    }

    pub(crate) async fn eval(&self, script: &str, arguments: &[&str]) {
        let evaluated = self.redis.run("EVAL", async |connection| {
            cmd("EVAL").arg(script).arg(0).arg(arguments).query_async::<()>(connection).await
        });
        evaluated.await.unwrap();
    }

    pub(crate) fn leases(&self, holder: &str) -> Leases {
        Leases::new(self.redis.clone(), self.app.clone(), holder)
    }
}
