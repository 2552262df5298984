//! What the health page says of Redis, component `redis`.

use redis::cmd;

use crate::Redis;

/// Redis at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RedisHealth {
    /// It answered a ping.
    pub up: bool,
    /// Connections that are open.
    pub open: usize,
    /// Connections that wait for work.
    pub idle: usize,
}

impl RedisHealth {
    /// Asks; bounded by the operation timeout.
    pub async fn ask(redis: &Redis) -> Self {
        let answer: Result<String, _> =
            redis.run("PING", async |connection| cmd("PING").query_async(connection).await).await;
        let (open, idle) = redis.connections();
        Self { up: answer.is_ok(), open, idle }
    }
}
