//! The scripts that run inside Redis; each is atomic there, and all keys of one are in one slot of a cluster.

use std::sync::LazyLock;

use redis::aio::ConnectionLike;
use redis::{
    Cmd, ErrorKind, FromRedisValue, RedisResult, Script, ServerErrorKind, ToRedisArgs, cmd,
};

/// One script, called by its digest; sent whole to a server that doesn't know it yet.
pub(crate) struct Lua {
    code: &'static str,
    digest: LazyLock<String>,
}

macro_rules! lua {
    ($name:ident, $($file:literal),+) => {
        pub(crate) static $name: Lua = Lua {
            code: concat!($(include_str!($file)),+),
            digest: LazyLock::new(|| {
                Script::new(concat!($(include_str!($file)),+)).get_hash().to_owned()
            }),
        };
    };
}

lua!(ACQUIRE, "lua/queue.lua", "lua/acquire.lua");
lua!(RELEASE, "lua/queue.lua", "lua/release.lua");
lua!(LEAVE, "lua/queue.lua", "lua/leave.lua");
lua!(LOOK, "lua/queue.lua", "lua/look.lua");
lua!(RENEW, "lua/renew.lua");
lua!(RAISE, "lua/raise.lua");

impl Lua {
    /// Runs it. The whole script goes to the node that has the keys, never to every node of a cluster: one that is
    /// away would keep it from running on the others.
    pub(crate) async fn run<T: FromRedisValue>(
        &self,
        connection: &mut impl ConnectionLike,
        keys: &[&str],
        arguments: &(impl ToRedisArgs + Sync),
    ) -> RedisResult<T> {
        let known = self.call("EVALSHA", &self.digest, keys, arguments);
        match known.query_async(connection).await {
            Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript) => {
                self.call("EVAL", self.code, keys, arguments).query_async(connection).await
            }
            answer => answer,
        }
    }

    fn call(
        &self,
        command: &str,
        script: &str,
        keys: &[&str],
        arguments: &(impl ToRedisArgs + Sync),
    ) -> Cmd {
        let mut call = cmd(command);
        call.arg(script).arg(keys.len()).arg(keys).arg(arguments);
        call
    }
}
