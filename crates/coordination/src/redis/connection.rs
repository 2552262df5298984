//! One pooled connection, to a server or to a cluster, and whether it may be used again.
//!
//! A connection that has just answered isn't asked again before its next use: a lease costs no round trip beyond its
//! own. What was idle, or whose last command was dropped half-way, is asked first. What failed in a way that another
//! connection may not (it broke, or its server turned out to be no primary) is never used again.

use std::time::Duration;

use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::cluster_async::ClusterConnection;
use redis::{
    Cmd, ErrorKind, Pipeline, RedisError, RedisFuture, RedisResult, ServerErrorKind, Value,
};
use tokio::time::Instant;

/// After so long without a question a server is asked whether it is there, and whether it is still the primary.
const TRUSTED_FOR: Duration = Duration::from_secs(1);

/// A connection to Redis, for commands of the `redis` crate.
pub struct RedisConnection {
    pub(super) link: Link,
    /// Where it leads, when Sentinel named that.
    pub(super) address: Option<(String, u16)>,
    state: State,
    asked: Instant,
}

pub(super) enum Link {
    Single(MultiplexedConnection),
    Cluster(ClusterConnection),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Good,
    /// Its last command was dropped before the answer came.
    Unsure,
    Broken,
}

impl RedisConnection {
    pub(super) fn single(connection: MultiplexedConnection) -> Self {
        Self::new(Link::Single(connection), None)
    }

    pub(super) fn of_primary(connection: MultiplexedConnection, address: (String, u16)) -> Self {
        Self::new(Link::Single(connection), Some(address))
    }

    pub(super) fn cluster(connection: ClusterConnection) -> Self {
        Self::new(Link::Cluster(connection), None)
    }

    fn new(link: Link, address: Option<(String, u16)>) -> Self {
        Self { link, address, state: State::Good, asked: Instant::now() }
    }

    /// Before a command: until it has an answer, nothing is known of the connection.
    pub(super) fn begin(&mut self) {
        self.state = State::Unsure;
    }

    /// After a command.
    pub(super) fn end<T>(&mut self, answer: &RedisResult<T>) {
        self.state = match answer {
            Err(error) if is_fatal(error) => State::Broken,
            Ok(_) | Err(_) => State::Good,
        };
    }

    /// After a command that got no answer in time: its server is slow or gone.
    pub(super) fn give_up(&mut self) {
        self.state = State::Broken;
    }

    /// True when it may be used again; `confirm` is asked when that isn't known.
    pub(super) async fn is_usable(
        &mut self,
        confirm: impl AsyncFnOnce(&mut Self) -> RedisResult<bool>,
    ) -> RedisResult<bool> {
        if self.state == State::Broken {
            return Ok(false);
        }
        if self.state == State::Good && self.asked.elapsed() < TRUSTED_FOR {
            return Ok(true);
        }
        let usable = confirm(self).await?;
        self.state = State::Good;
        self.asked = Instant::now();
        Ok(usable)
    }

    pub(super) async fn ping(&mut self) -> RedisResult<bool> {
        let answer: String = redis::cmd("PING").query_async(self).await?;
        Ok(answer == "PONG")
    }
}

pub(super) async fn is_primary(connection: &mut impl ConnectionLike) -> RedisResult<bool> {
    let replication: String = redis::cmd("INFO").arg("replication").query_async(connection).await?;
    Ok(replication.lines().any(|line| line == "role:master"))
}

/// True when the server is a replica now, or has closed the connection, as it does when it becomes one.
pub(super) fn is_left(error: &RedisError) -> bool {
    error.kind() == ErrorKind::Server(ServerErrorKind::ReadOnly)
        || error.is_connection_dropped()
        || error.is_unrecoverable_error()
}

/// True when another connection may fare better.
fn is_fatal(error: &RedisError) -> bool {
    FATAL.contains(&error.kind()) || error.is_unrecoverable_error() || error.is_timeout()
}

const FATAL: [ErrorKind; 10] = [
    ErrorKind::Io,
    ErrorKind::Parse,
    ErrorKind::ClusterConnectionNotFound,
    ErrorKind::Server(ServerErrorKind::ReadOnly),
    ErrorKind::Server(ServerErrorKind::MasterDown),
    ErrorKind::Server(ServerErrorKind::ClusterDown),
    ErrorKind::Server(ServerErrorKind::BusyLoading),
    ErrorKind::Server(ServerErrorKind::Moved),
    ErrorKind::Server(ServerErrorKind::Ask),
    ErrorKind::Server(ServerErrorKind::TryAgain),
];

impl ConnectionLike for Link {
    fn req_packed_command<'a>(&'a mut self, cmd: &'a Cmd) -> RedisFuture<'a, Value> {
        match self {
            Link::Single(connection) => connection.req_packed_command(cmd),
            Link::Cluster(connection) => connection.req_packed_command(cmd),
        }
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        pipeline: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        match self {
            Link::Single(connection) => connection.req_packed_commands(pipeline, offset, count),
            Link::Cluster(connection) => connection.req_packed_commands(pipeline, offset, count),
        }
    }

    fn get_db(&self) -> i64 {
        match self {
            Link::Single(connection) => connection.get_db(),
            Link::Cluster(connection) => connection.get_db(),
        }
    }
}

impl ConnectionLike for RedisConnection {
    fn req_packed_command<'a>(&'a mut self, cmd: &'a Cmd) -> RedisFuture<'a, Value> {
        self.link.req_packed_command(cmd)
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        pipeline: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        self.link.req_packed_commands(pipeline, offset, count)
    }

    fn get_db(&self) -> i64 {
        self.link.get_db()
    }
}

impl std::fmt::Debug for RedisConnection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RedisConnection").field("state", &self.state).finish_non_exhaustive()
    }
}
