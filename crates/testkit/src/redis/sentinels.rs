//! A primary, two replicas, and three sentinels that elect another primary when theirs is gone.
//!
//! Everybody in it, and every client that asks a sentinel, knows a node by the address of its [`FaultProxy`]. A
//! node that is cut off there is cut off from replicas, sentinels and those clients at once, while a client that comes by
//! [`Redis::address`] still reaches it: the client on the wrong side of a partition.
//!
//! [`FaultProxy`]: crate::FaultProxy

use std::cell::Cell;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::sys::signal::Signal;

use super::{Redis, START_ATTEMPTS, plain};
use crate::launch::{Launch, Lifetime};
use crate::ports;
use crate::proxy::FaultProxy;
use crate::stack::sweep::RunDirectory;
use crate::wait::try_wait_until;

const NODES: usize = 3;
const SENTINELS: usize = 3;
const MASTER_NAME: &str = "millrace";
const SETTLE_LIMIT: Duration = Duration::from_secs(30);
/// A failover that was begun and has not happened by then is asked for again.
const ASK_AGAIN: Duration = Duration::from_secs(6);
/// How long a node is silent before a sentinel holds it for dead. Two noisy cores make a living one silent for longer
/// than one would think.
const DOWN_AFTER_MS: u32 = 800;

/// The pace of a sentinel is made for data centres; a test doesn't wait ten seconds for its next look. A machine that
/// stands still for a moment must not make it doubt its clock for half a minute (tilt). The ping stays slow: a replica
/// that has said nothing for five of them is not elected, and it is asked once a second while the primary is away.
const PACE: [&str; 16] = [
    "INFO-PERIOD",
    "500",
    "PING-PERIOD",
    "500",
    "ASK-PERIOD",
    "100",
    "PUBLISH-PERIOD",
    "200",
    "TILT-TRIGGER",
    "20000",
    "ELECTION-TIMEOUT",
    "1000",
    "MIN-LINK-RECONNECT-PERIOD",
    "200",
    "SLAVE-RECONF-TIMEOUT",
    "2000",
];

/// Running nodes and sentinels; they end when it is dropped, or with this process, however it ends.
pub struct RedisSentinels {
    nodes: Vec<Redis>,
    sentinels: Vec<Redis>,
    // Last: the servers end before their files go.
    _run: RunDirectory,
}

impl RedisSentinels {
    /// Starts them and waits until all know each other and both replicas follow. Node 0 is the primary.
    ///
    /// # Errors
    /// When one can't be started.
    pub async fn start() -> Result<Self> {
        let mut attempt = 1;
        loop {
            match Self::start_once().await {
                Ok(started) => return Ok(started),
                Err(error) if attempt >= START_ATTEMPTS => return Err(error),
                Err(_) => attempt += 1,
            }
        }
    }

    async fn start_once() -> Result<Self> {
        let run = RunDirectory::create()?;
        let ports = ports::free::<{ NODES + SENTINELS }>()?;
        let (node_ports, sentinel_ports) = ports.split_at(NODES);
        let mut nodes: Vec<Redis> = Vec::new();
        for (index, port) in node_ports.iter().enumerate() {
            nodes.push(node(run.path(), index, *port, nodes.first())?);
        }
        futures::future::try_join_all(nodes.iter().map(Redis::start)).await?;
        let primary = nodes[0].proxy().port();
        let sentinels = sentinel_ports.iter().enumerate();
        let sentinels: Vec<Redis> = sentinels
            .map(|(index, port)| sentinel(run.path(), index, *port, primary))
            .collect::<Result<_>>()?;
        let started = Self { nodes, sentinels, _run: run };
        for sentinel in 0..SENTINELS {
            started.start_sentinel(sentinel).await?;
        }
        started.settled().await?;
        Ok(started)
    }

    /// The name under which sentinels know the primary.
    #[must_use]
    pub fn master_name(&self) -> &'static str {
        MASTER_NAME
    }

    /// The sentinels' addresses, as clients' settings want them.
    #[must_use]
    pub fn sentinel_addresses(&self) -> Vec<String> {
        self.sentinels.iter().map(Redis::address).collect()
    }

    /// A node, to break: [`Redis::kill`], [`Redis::pause`], [`Redis::start`], [`Redis::start_empty`],
    /// [`Redis::pause_replication`].
    ///
    /// # Panics
    /// When there is no such node.
    #[must_use]
    pub fn node(&self, index: usize) -> &Redis {
        &self.nodes[index]
    }

    /// Every node.
    #[must_use]
    pub fn nodes(&self) -> &[Redis] {
        &self.nodes
    }

    /// Cuts a node off from the other nodes, the sentinels and the clients that came by them.
    ///
    /// # Panics
    /// When there is no such node.
    pub fn isolate(&self, index: usize) {
        self.nodes[index].proxy().cut();
    }

    /// Kills a sentinel; two of three still elect.
    ///
    /// # Panics
    /// When there is no such sentinel.
    pub fn kill_sentinel(&self, index: usize) {
        self.sentinels[index].kill();
    }

    /// Starts a sentinel after its end; it goes on with what it had written down.
    ///
    /// # Errors
    /// When it doesn't answer.
    ///
    /// # Panics
    /// When there is no such sentinel.
    pub async fn start_sentinel(&self, index: usize) -> Result<()> {
        let sentinel = &self.sentinels[index];
        sentinel.start().await?;
        let mut pace = vec!["SENTINEL", "DEBUG"];
        pace.extend(PACE);
        sentinel.ask::<()>(&pace).await.context("setting a sentinel's pace")
    }

    /// The node that every sentinel that runs takes for the primary, and that takes itself for it.
    ///
    /// # Errors
    /// When they don't agree (yet).
    pub async fn primary(&self) -> Result<usize> {
        let mut named = None;
        for sentinel in self.sentinels.iter().filter(|sentinel| sentinel.running()) {
            let question = ["SENTINEL", "GET-MASTER-ADDR-BY-NAME", MASTER_NAME];
            let (_, port): (String, u16) = sentinel.ask(&question).await?;
            let agreed = *named.get_or_insert(port) == port;
            anyhow::ensure!(agreed, "the sentinels name {named:?} and {port}");
        }
        let port = named.context("no sentinel runs")?;
        let index = self.nodes.iter().position(|node| node.proxy().port() == port);
        let index = index.with_context(|| format!("{port} is none of the nodes"))?;
        let replication = self.nodes[index].replication().await?;
        anyhow::ensure!(replication.primary, "node {index} is named but no primary yet");
        Ok(index)
    }

    /// Waits until all agree on another primary than `old`, and says which.
    ///
    /// # Errors
    /// When they don't within half a minute.
    pub async fn primary_other_than(&self, old: usize) -> Result<usize> {
        let agreed = try_wait_until(SETTLE_LIMIT, || async {
            let primary = self.primary().await?;
            anyhow::ensure!(primary != old, "it is still node {old}");
            Ok(primary)
        });
        agreed.await.map_err(|last| anyhow::anyhow!("no other primary: {last}"))
    }

    /// Has the sentinels put another node in the place of a primary that may well be healthy; says which.
    ///
    /// # Errors
    /// When they refuse (no replica is fit) or don't agree within half a minute.
    pub async fn failover(&self) -> Result<usize> {
        let old = self.primary().await?;
        let asked_at = Cell::new(None::<Instant>);
        let agreed = try_wait_until(SETTLE_LIMIT, || async {
            let primary = self.primary().await?;
            if primary != old {
                return anyhow::Ok(primary);
            }
            // Refused while an earlier one is under way, and a slow machine lets one that was begun run out of time.
            if asked_at.get().is_none_or(|at| at.elapsed() > ASK_AGAIN) {
                self.sentinels[0].ask::<()>(&["SENTINEL", "FAILOVER", MASTER_NAME]).await?;
                asked_at.set(Some(Instant::now()));
            }
            anyhow::bail!("it is still node {old}")
        });
        agreed.await.map_err(|last| anyhow::anyhow!("no failover: {last}"))
    }

    /// Waits until one primary is agreed on, every other node that runs follows it, and no sentinel doubts it; says
    /// which it is.
    ///
    /// # Errors
    /// When that takes longer than half a minute.
    pub async fn settled(&self) -> Result<usize> {
        let settled = try_wait_until(SETTLE_LIMIT, || async {
            let primary = self.primary().await?;
            for (index, node) in self.nodes.iter().enumerate() {
                let running = index != primary && node.running();
                anyhow::ensure!(
                    !running || node.replication().await?.follows,
                    "node {index} doesn't follow"
                );
            }
            let running = self.nodes.iter().filter(|node| node.running()).count();
            let online = self.nodes[primary].replication().await?.replicas_online;
            anyhow::ensure!(online + 1 == running, "{online} replicas follow");
            for sentinel in self.sentinels.iter().filter(|sentinel| sentinel.running()) {
                healthy(sentinel, self.sentinels.len(), self.nodes.len()).await?;
            }
            Ok(primary)
        });
        settled.await.map_err(|last| anyhow::anyhow!("not settled: {last}"))
    }

    /// Ends every fault, starts what was killed, and waits until all have settled; says which node is the primary.
    ///
    /// # Errors
    /// When that takes longer than half a minute.
    pub async fn heal(&self) -> Result<usize> {
        for node in &self.nodes {
            node.resume();
            node.proxy().pass();
            if node.running() {
                node.resume_replication().await?;
            } else {
                node.start().await?;
            }
        }
        for (index, sentinel) in self.sentinels.iter().enumerate() {
            sentinel.resume();
            if !sentinel.running() {
                self.start_sentinel(index).await?;
            }
        }
        self.settled().await
    }
}

/// Fails unless the sentinel knows everybody and holds the primary for healthy, with no failover under way.
async fn healthy(sentinel: &Redis, sentinels: usize, nodes: usize) -> Result<()> {
    let fields: std::collections::HashMap<String, String> =
        sentinel.ask(&["SENTINEL", "MASTER", MASTER_NAME]).await?;
    let field = |name: &str| fields.get(name).map_or("", String::as_str);
    let known = (field("num-other-sentinels").parse(), field("num-slaves").parse());
    let all = (Ok(sentinels - 1), Ok(nodes - 1));
    anyhow::ensure!(known == all && field("flags") == "master", "a sentinel sees {fields:?}");
    Ok(())
}

fn node(run: &Path, index: usize, port: u16, first: Option<&Redis>) -> Result<Redis> {
    let (files, log) = (run.join(format!("node-{index}")), run.join(format!("node-{index}.log")));
    let follow = first.map(|first| first.proxy().port().to_string());
    let (proxy, directory) = (FaultProxy::start(port)?, files.clone());
    let announced = proxy.port().to_string();
    let launch = move || {
        let launch = plain(&files, &log, port)
            .args(["--replica-announce-ip", "127.0.0.1", "--replica-announce-port", &announced])
            .args(["--repl-diskless-sync-delay", "0", "--repl-ping-replica-period", "1"]);
        match &follow {
            Some(primary) => launch.args(["--replicaof", "127.0.0.1", primary]),
            None => launch,
        }
    };
    Ok(Redis::of(port, proxy, directory, launch))
}

/// A sentinel is the same program with a file of settings that it rewrites itself.
fn sentinel(run: &Path, index: usize, port: u16, primary: u16) -> Result<Redis> {
    let directory = run.join(format!("sentinel-{index}"));
    std::fs::create_dir_all(&directory).context("creating a sentinel's directory")?;
    let (file, log) = (directory.join("sentinel.conf"), run.join(format!("sentinel-{index}.log")));
    let quorum = SENTINELS / 2 + 1;
    let settings = format!(
        "port {port}\nbind 127.0.0.1\ndir {}\n\
         sentinel monitor {MASTER_NAME} 127.0.0.1 {primary} {quorum}\n\
         sentinel down-after-milliseconds {MASTER_NAME} {DOWN_AFTER_MS}\n\
         sentinel failover-timeout {MASTER_NAME} 2000\n\
         sentinel parallel-syncs {MASTER_NAME} {NODES}\n",
        directory.display()
    );
    std::fs::write(&file, settings).context("writing a sentinel's settings")?;
    let settings = file.display().to_string();
    let launch = move || {
        Launch::new("redis-server", &log, Lifetime::WithParent(Signal::SIGKILL))
            .args([settings.as_str(), "--sentinel"])
    };
    Ok(Redis::of(port, FaultProxy::start(port)?, directory, launch))
}
