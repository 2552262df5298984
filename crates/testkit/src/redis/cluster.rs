//! Three masters, each with a third of the slots, and replicas if asked for.
//!
//! It is formed by the nodes' own commands. Clients and replicas know a node by the address of its [`FaultProxy`]; the
//! nodes' talk among themselves goes by a port of its own and is never disturbed, so a node that is cut off there is away
//! for its clients while the others hold it for healthy. Slots are answered for even when a part of them has no master.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};

use super::{Redis, START_ATTEMPTS, plain};
use crate::ports;
use crate::proxy::FaultProxy;
use crate::stack::sweep::RunDirectory;
use crate::wait::try_wait_until;

const MASTERS: usize = 3;
const SLOTS: u16 = 16_384;
const SETTLE_LIMIT: Duration = Duration::from_secs(30);
/// Keys that one command carries to another node.
const CARRIED_MAX: &str = "100";

/// Running nodes; they end when it is dropped, or with this process, however it ends.
pub struct RedisCluster {
    nodes: Vec<Redis>,
    // Last: the servers end before their files go.
    _run: RunDirectory,
}

impl RedisCluster {
    /// Starts three masters (nodes 0 to 2) with so many replicas each, and waits until all agree on who has which slot.
    ///
    /// # Errors
    /// When one can't be started.
    pub async fn start(replicas_each: usize) -> Result<Self> {
        let mut attempt = 1;
        loop {
            match Self::start_once(replicas_each).await {
                Ok(started) => return Ok(started),
                Err(error) if attempt >= START_ATTEMPTS => return Err(error),
                Err(_) => attempt += 1,
            }
        }
    }

    async fn start_once(replicas_each: usize) -> Result<Self> {
        let run = RunDirectory::create()?;
        let mut nodes = Vec::new();
        let mut buses = Vec::new();
        for index in 0..MASTERS * (1 + replicas_each) {
            let [port, bus] = ports::free()?;
            nodes.push(node(run.path(), index, port, bus)?);
            buses.push(bus);
        }
        futures::future::try_join_all(nodes.iter().map(Redis::start)).await?;
        let cluster = Self { nodes, _run: run };
        cluster.form(&buses).await?;
        Ok(cluster)
    }

    async fn form(&self, buses: &[u16]) -> Result<()> {
        for (index, node) in self.nodes.iter().enumerate() {
            // Nodes that begin in the same epoch would have to vote on who has the older claim.
            let epoch = (index + 1).to_string();
            node.ask::<()>(&["CLUSTER", "SET-CONFIG-EPOCH", &epoch]).await?;
        }
        for (node, (first, last)) in self.nodes.iter().zip(thirds()) {
            let range = [first.to_string(), last.to_string()];
            node.ask::<()>(&["CLUSTER", "ADDSLOTSRANGE", &range[0], &range[1]]).await?;
        }
        for (node, bus) in self.nodes.iter().zip(buses).skip(1) {
            let (port, bus) = (node.proxy().port().to_string(), bus.to_string());
            self.nodes[0].ask::<()>(&["CLUSTER", "MEET", "127.0.0.1", &port, &bus]).await?;
        }
        self.met().await?;
        for (index, replica) in self.nodes.iter().enumerate().skip(MASTERS) {
            let master = self.id(index % MASTERS).await?;
            replica.ask::<()>(&["CLUSTER", "REPLICATE", &master]).await?;
        }
        self.settled().await
    }

    async fn met(&self) -> Result<()> {
        let met = try_wait_until(SETTLE_LIMIT, || async {
            for node in &self.nodes {
                let view = View::of(node).await?;
                let known = view.ports.len();
                anyhow::ensure!(known == self.nodes.len(), "a node knows {known}");
            }
            anyhow::Ok(())
        });
        met.await.map_err(|last| anyhow::anyhow!("the nodes don't know each other: {last}"))
    }

    /// The nodes' addresses, as clients' settings want them: each behind its proxy.
    #[must_use]
    pub fn addresses(&self) -> Vec<String> {
        self.nodes.iter().map(|node| node.proxy().address()).collect()
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

    /// Every node, the masters of the beginning first.
    #[must_use]
    pub fn nodes(&self) -> &[Redis] {
        &self.nodes
    }

    /// The slot of a key, as the cluster itself counts it.
    ///
    /// # Errors
    /// When no node can be asked.
    pub async fn slot_of(&self, key: &str) -> Result<u16> {
        self.any()?.ask(&["CLUSTER", "KEYSLOT", key]).await
    }

    /// The master of the slot by the word of every node that runs.
    ///
    /// # Errors
    /// When they don't agree (yet).
    pub async fn owner(&self, slot: u16) -> Result<usize> {
        let mut named = None;
        for node in self.nodes.iter().filter(|node| node.running()) {
            let port = View::of(node).await?.owner(slot)?;
            let agreed = *named.get_or_insert(port) == port;
            anyhow::ensure!(agreed, "the nodes name {named:?} and {port} for slot {slot}");
        }
        let port = named.context("no node runs")?;
        let index = self.nodes.iter().position(|node| node.proxy().port() == port);
        index.with_context(|| format!("{port} is none of the nodes"))
    }

    /// Waits until all agree on another master of the slot than `old`, and says which.
    ///
    /// # Errors
    /// When they don't within half a minute.
    pub async fn owner_other_than(&self, slot: u16, old: usize) -> Result<usize> {
        let agreed = try_wait_until(SETTLE_LIMIT, || async {
            let owner = self.owner(slot).await?;
            anyhow::ensure!(owner != old, "it is still node {old}");
            Ok(owner)
        });
        agreed.await.map_err(|last| anyhow::anyhow!("slot {slot} has no other master: {last}"))
    }

    /// Moves a slot with its keys to another master.
    ///
    /// # Errors
    /// When a node refuses.
    pub async fn move_slot(&self, slot: u16, to: usize) -> Result<()> {
        let moving = self.start_move(slot, to).await?;
        moving.carry_keys().await?;
        moving.finish().await
    }

    /// Opens a slot for its move and leaves it open: clients are sent after each key until [`SlotMove::finish`].
    ///
    /// # Errors
    /// When a node refuses.
    pub async fn start_move(&self, slot: u16, to: usize) -> Result<SlotMove<'_>> {
        let from = self.owner(slot).await?;
        anyhow::ensure!(from != to, "slot {slot} is at node {to} already");
        let text = slot.to_string();
        let (source, target) = (self.id(from).await?, self.id(to).await?);
        self.nodes[to].ask::<()>(&["CLUSTER", "SETSLOT", &text, "IMPORTING", &source]).await?;
        self.nodes[from].ask::<()>(&["CLUSTER", "SETSLOT", &text, "MIGRATING", &target]).await?;
        Ok(SlotMove { cluster: self, slot, from, to, target })
    }

    /// Waits until every node that runs agrees on who has which slot, every slot has a master that runs, and every
    /// replica that runs follows.
    ///
    /// # Errors
    /// When that takes longer than half a minute.
    pub async fn settled(&self) -> Result<()> {
        let settled = try_wait_until(SETTLE_LIMIT, || async {
            let mut first: Option<View> = None;
            for (index, node) in self.nodes.iter().enumerate() {
                if !node.running() {
                    continue;
                }
                let info: String = node.ask(&["CLUSTER", "INFO"]).await?;
                let whole =
                    info.contains("cluster_state:ok") && info.contains("cluster_slots_ok:16384");
                anyhow::ensure!(whole, "node {index} says {info}");
                let view = View::of(node).await?;
                let agreed = first.get_or_insert_with(|| view.clone()).slots == view.slots;
                anyhow::ensure!(agreed, "node {index} sees {:?}", view.slots);
                let replication = node.replication().await?;
                anyhow::ensure!(
                    replication.primary || replication.follows,
                    "node {index} doesn't follow"
                );
            }
            anyhow::Ok(())
        });
        settled.await.map_err(|last| anyhow::anyhow!("not settled: {last}"))
    }

    /// Ends every fault, starts what was killed, and waits until all have settled.
    ///
    /// # Errors
    /// When that takes longer than half a minute.
    pub async fn heal(&self) -> Result<()> {
        for node in &self.nodes {
            node.resume();
            node.proxy().pass();
            if node.running() {
                node.resume_replication().await?;
            } else {
                node.start().await?;
            }
        }
        self.settled().await
    }

    async fn id(&self, index: usize) -> Result<String> {
        self.nodes[index].ask(&["CLUSTER", "MYID"]).await
    }

    fn any(&self) -> Result<&Redis> {
        self.nodes.iter().find(|node| node.running()).context("no node runs")
    }
}

/// A slot on its way from one master to another.
pub struct SlotMove<'a> {
    cluster: &'a RedisCluster,
    slot: u16,
    from: usize,
    to: usize,
    target: String,
}

impl SlotMove<'_> {
    /// Carries the keys that are still at the old master.
    ///
    /// # Errors
    /// When a node refuses.
    pub async fn carry_keys(&self) -> Result<()> {
        let (source, slot) = (&self.cluster.nodes[self.from], self.slot.to_string());
        let port = self.cluster.nodes[self.to].port().to_string();
        loop {
            let question = ["CLUSTER", "GETKEYSINSLOT", &slot, CARRIED_MAX];
            let keys: Vec<String> = source.ask(&question).await?;
            if keys.is_empty() {
                return Ok(());
            }
            let mut order = vec!["MIGRATE", "127.0.0.1", &port, "", "0", "1000", "KEYS"];
            order.extend(keys.iter().map(String::as_str));
            source.ask::<()>(&order).await?;
        }
    }

    /// Makes the new master the slot's only one, and waits until every node knows. Keys that were not carried are lost.
    ///
    /// # Errors
    /// When a node refuses.
    pub async fn finish(self) -> Result<()> {
        let (nodes, slot) = (&self.cluster.nodes, self.slot.to_string());
        let order = ["CLUSTER", "SETSLOT", &slot, "NODE", &self.target];
        let left: u64 = nodes[self.from].ask(&["CLUSTER", "COUNTKEYSINSLOT", &slot]).await?;
        // The new master first: told the other way round, the slot would have none for a moment.
        nodes[self.to].ask::<()>(&order).await?;
        if left == 0 {
            nodes[self.from].ask::<()>(&order).await?;
        }
        let known = try_wait_until(SETTLE_LIMIT, || async {
            let owner = self.cluster.owner(self.slot).await?;
            anyhow::ensure!(owner == self.to, "node {owner} has it");
            Ok(())
        });
        known.await.map_err(|last| anyhow::anyhow!("slot {slot} was not moved: {last}"))
    }
}

/// The cluster as one node sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct View {
    /// Every node it has shaken hands with, by the port that clients know.
    ports: Vec<u16>,
    /// The slots of each master, by that port.
    slots: BTreeMap<u16, Vec<(u16, u16)>>,
}

impl View {
    async fn of(node: &Redis) -> Result<Self> {
        let text: String = node.ask(&["CLUSTER", "NODES"]).await?;
        Self::parse(&text).with_context(|| format!("reading {text}"))
    }

    /// A line is: id, ip:port@bus, flags, master, two times, epoch, link, and then the slots.
    fn parse(text: &str) -> Option<Self> {
        let (mut ports, mut slots) = (Vec::new(), BTreeMap::new());
        for line in text.lines() {
            let words: Vec<&str> = line.split_whitespace().collect();
            if words.get(2)?.contains("handshake") {
                continue;
            }
            let (address, _) = words.get(1)?.split_once('@')?;
            let port = address.rsplit_once(':')?.1.parse().ok()?;
            ports.push(port);
            // A slot on its way stands in brackets, beside the ranges.
            let ranges = words.iter().skip(8).filter(|word| !word.starts_with('['));
            let ranges: Vec<(u16, u16)> = ranges
                .map(|word| {
                    let (first, last) = word.split_once('-').unwrap_or((word, word));
                    Some((first.parse().ok()?, last.parse().ok()?))
                })
                .collect::<Option<_>>()?;
            if !ranges.is_empty() {
                slots.insert(port, ranges);
            }
        }
        Some(Self { ports, slots })
    }

    fn owner(&self, slot: u16) -> Result<u16> {
        let holds = |ranges: &[(u16, u16)]| {
            ranges.iter().any(|(first, last)| (*first..=*last).contains(&slot))
        };
        let found = self.slots.iter().find(|(_, ranges)| holds(ranges));
        found.map(|(port, _)| *port).with_context(|| format!("slot {slot} has no master"))
    }
}

/// The first and the last slot of each master.
fn thirds() -> [(u16, u16); MASTERS] {
    let third = SLOTS / 3;
    [(0, third - 1), (third, 2 * third - 1), (2 * third, SLOTS - 1)]
}

fn node(run: &Path, index: usize, port: u16, bus: u16) -> Result<Redis> {
    let (files, log) = (run.join(format!("node-{index}")), run.join(format!("node-{index}.log")));
    let (proxy, directory) = (FaultProxy::start(port)?, files.clone());
    let (announced, bus) = (proxy.port().to_string(), bus.to_string());
    let launch = move || {
        plain(&files, &log, port)
            .args(["--cluster-enabled", "yes", "--cluster-config-file", "nodes.conf"])
            .args(["--cluster-port", &bus, "--cluster-announce-bus-port", &bus])
            .args(["--cluster-announce-ip", "127.0.0.1", "--cluster-announce-port", &announced])
            .args(["--cluster-node-timeout", "1000", "--cluster-require-full-coverage", "no"])
            // A replica that lags takes its master's place all the same, and stays with its master otherwise.
            .args(["--cluster-replica-validity-factor", "0"])
            .args(["--cluster-allow-replica-migration", "no"])
            .args(["--repl-diskless-sync-delay", "0", "--repl-ping-replica-period", "1"])
    };
    Ok(Redis::of(port, proxy, directory, launch))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_view_knows_ranges_and_single_slots_and_leaves_out_those_on_their_way() {
        let text = "\
            aa 127.0.0.1:11@21 myself,master - 0 0 1 connected 0-5 9 [7->-bb]\n\
            bb 127.0.0.1:12@22 master - 0 1 2 connected 6-8\n\
            cc 127.0.0.1:13@23 slave aa 0 1 1 connected\n\
            dd 127.0.0.1:14@24 handshake - 0 0 0 connected\n";
        let view = View::parse(text).unwrap();
        assert_eq!(view.ports, [11, 12, 13]);
        assert_eq!(view.owner(9).unwrap(), 11);
        assert_eq!(view.owner(7).unwrap(), 12);
        assert!(view.owner(10).is_err());
    }

    #[test]
    fn the_thirds_cover_every_slot_once() {
        let thirds = thirds();
        assert_eq!(thirds[0].0, 0);
        assert!(thirds.windows(2).all(|pair| pair[0].1 + 1 == pair[1].0));
        assert_eq!(thirds[2].1, SLOTS - 1);
    }
}
