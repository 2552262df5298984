//! What a Redis that belongs to others is asked and told: its part, its replicas, and a replication that stands still.
//!
//! A replica that is merely frozen doesn't lag: what was sent to it waits in its socket and is applied at the thaw, even
//! when the primary is dead by then. So the primary is forbidden to serve replicas and the ones it has are thrown out:
//! they keep trying, and what is written meanwhile exists on the primary alone.

use std::time::Duration;

use anyhow::{Context, Result};

use super::Redis;
use crate::wait::try_wait_until;

const REPLICATION_LIMIT: Duration = Duration::from_secs(10);

/// What a node says of its replication.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Replication {
    pub(crate) primary: bool,
    /// Replicas that receive what is written (on a primary).
    pub(crate) replicas_online: usize,
    /// Whether it receives what is written (on a replica).
    pub(crate) follows: bool,
}

impl Replication {
    fn parse(info: &str) -> Self {
        let field = |name: &str| {
            info.lines().find_map(|line| line.trim().strip_prefix(name)?.strip_prefix(':'))
        };
        let online = |line: &&str| line.starts_with("slave") && line.contains("state=online");
        Self {
            primary: field("role") == Some("master"),
            replicas_online: info.lines().filter(online).count(),
            follows: field("master_link_status") == Some("up"),
        }
    }
}

impl Redis {
    pub(crate) async fn replication(&self) -> Result<Replication> {
        let info: String = self.ask(&["INFO", "replication"]).await?;
        Ok(Replication::parse(&info))
    }

    /// Serves no replica any more: what is written from now on is lost with this primary.
    /// [`Redis::resume_replication`] ends it, and so does a restart.
    ///
    /// # Errors
    /// When Redis refuses, or a replica stays.
    pub async fn pause_replication(&self) -> Result<()> {
        self.ask::<()>(&["ACL", "SETUSER", "default", "-psync", "-sync"]).await?;
        let gone = try_wait_until(REPLICATION_LIMIT, || async {
            // Again each time: one may have asked just before it was forbidden.
            self.ask::<i64>(&["CLIENT", "KILL", "TYPE", "replica"]).await?;
            let now = self.replication().await?;
            anyhow::ensure!(now.replicas_online == 0, "{now:?}");
            anyhow::Ok(())
        });
        gone.await.map_err(|last| anyhow::anyhow!("a replica stays: {last}"))
    }

    /// Serves replicas again; they catch up within some seconds.
    ///
    /// # Errors
    /// When Redis refuses.
    pub async fn resume_replication(&self) -> Result<()> {
        self.ask::<()>(&["ACL", "SETUSER", "default", "+psync", "+sync"])
            .await
            .context("letting replicas in")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_replicas_that_receive_what_is_written_count() {
        let info = "# Replication\r\nrole:master\r\nconnected_slaves:2\r\n\
            slave0:ip=127.0.0.1,port=1,state=online,offset=5,lag=0\r\n\
            slave1:ip=127.0.0.1,port=2,state=wait_bgsave,offset=0,lag=0\r\n";
        let seen = Replication::parse(info);
        assert_eq!(seen, Replication { primary: true, replicas_online: 1, follows: false });
        let replica = Replication::parse("role:slave\r\nmaster_link_status:up\r\n");
        assert!(replica.follows && !replica.primary);
    }
}
