//! Three brokers, for what one can't show: a leader that is lost while the others go on.
//!
//! Each broker is a controller too, so any one of them may go. Topics have three replicas, two of which must be in sync for
//! an acknowledgement. Starting takes some ten seconds of two cores, so the tests of a program share one cluster,
//! one at a time: [`KafkaCluster::shared`] hands it on healed.

use std::ops::Deref;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::sync::{Mutex, MutexGuard};

use crate::kafka::node::{Node, ProxiedDoor};
use crate::kafka::{Kafka, KafkaAccess, KafkaHome};
use crate::namespace::Namespace;
use crate::proxy::FaultProxy;
use crate::stack::sweep::RunDirectory;
use crate::topics::{TestTopics, TopicSpec};
use crate::{PartitionState, ports};

const START_LIMIT: Duration = Duration::from_secs(60);
const HEAL_LIMIT: Duration = Duration::from_secs(60);
const START_ATTEMPTS: usize = 3;

static SHARED: Mutex<Option<KafkaCluster>> = Mutex::const_new(None);

/// Running brokers; they end when it is dropped, or with this process, however it ends.
pub struct KafkaCluster {
    members: Vec<Member>,
    access: KafkaAccess,
    // Last: the brokers end before their files go.
    _directory: RunDirectory,
}

struct Member {
    id: i32,
    kafka: Kafka,
    proxy: FaultProxy,
}

/// The program's shared cluster, for as long as this is held.
pub struct ClusterTurn(MutexGuard<'static, Option<KafkaCluster>>);

impl Deref for ClusterTurn {
    type Target = KafkaCluster;

    fn deref(&self) -> &KafkaCluster {
        self.0.as_ref().expect("a turn is given out with a running cluster")
    }
}

impl KafkaCluster {
    /// The three brokers that this program's tests share, for this test alone until the result is dropped: all
    /// running, no fault left of the test before, every replica in sync.
    ///
    /// # Panics
    /// When it can't be started or healed: no test could go on.
    pub async fn shared() -> ClusterTurn {
        let mut turn = SHARED.lock().await;
        let healed = match turn.take() {
            Some(cluster) => cluster.heal().await.map(|()| cluster),
            None => Self::start(3).await,
        };
        *turn = Some(healed.unwrap_or_else(|error| panic!("no Kafka cluster: {error:?}")));
        ClusterTurn(turn)
    }

    /// So many brokers of one's own. Fewer than three don't survive the loss of one.
    ///
    /// # Errors
    /// When one can't be started.
    pub async fn start(brokers: usize) -> Result<Self> {
        let mut attempt = 1;
        loop {
            match Self::start_once(brokers).await {
                Ok(cluster) => return Ok(cluster),
                Err(error) if attempt >= START_ATTEMPTS => return Err(error),
                Err(_) => attempt += 1,
            }
        }
    }

    async fn start_once(brokers: usize) -> Result<Self> {
        let directory = RunDirectory::create()?;
        let (nodes, proxies) = plan(brokers)?;
        let homes: Vec<KafkaHome> = futures::future::try_join_all(nodes.iter().map(|node| {
            let name = format!("kafka-{}", node.id);
            let log = directory.path().join(format!("{name}.log"));
            KafkaHome::at(directory.path().join(name), log, true)
        }))
        .await?;
        for (home, node) in homes.iter().zip(&nodes) {
            home.prepare_node(node).await?;
        }
        let access = KafkaAccess::new(&nodes.iter().map(|node| node.port).collect::<Vec<_>>());
        let members: Vec<Member> = homes
            .into_iter()
            .zip(nodes)
            .zip(proxies)
            .map(|((home, node), proxy)| {
                let kafka = Kafka::of(home, node.port);
                Member { id: node.id, kafka, proxy }
            })
            .collect();
        let cluster = Self { members, access, _directory: directory };
        cluster.start_all().await?;
        // Before the internal topics are made: they get as many replicas as there are brokers then.
        cluster.access.wait_in_sync(brokers, START_LIMIT).await?;
        cluster.access.warm_up().await?;
        cluster.access.wait_in_sync(brokers, START_LIMIT).await?;
        Ok(cluster)
    }

    async fn start_all(&self) -> Result<()> {
        futures::future::try_join_all(self.members.iter().map(|member| member.kafka.start()))
            .await
            .map(|_| ())
    }

    /// Ends every fault and waits until all brokers are there and every replica is in sync.
    ///
    /// # Errors
    /// When that takes longer than a minute.
    pub async fn heal(&self) -> Result<()> {
        for member in &self.members {
            member.kafka.resume();
            member.proxy.pass();
        }
        // A broker that ended by itself is started as a killed one is.
        let ended = self.members.iter().filter(|member| !member.kafka.running());
        futures::future::try_join_all(ended.map(|member| member.kafka.start())).await?;
        self.wait_in_sync().await
    }

    /// Waits until every partition is led and held by all its replicas.
    ///
    /// # Errors
    /// When that takes longer than a minute.
    pub async fn wait_in_sync(&self) -> Result<()> {
        self.access.wait_in_sync(self.members.len(), HEAL_LIMIT).await
    }

    /// The brokers' ids, from 1.
    pub fn ids(&self) -> impl Iterator<Item = i32> {
        self.members.iter().map(|member| member.id)
    }

    /// One broker, to break: [`Kafka::kill`], [`Kafka::stop`], [`Kafka::pause`], [`Kafka::resume`], [`Kafka::start`].
    ///
    /// # Panics
    /// When there is no such broker.
    #[must_use]
    pub fn broker(&self, id: i32) -> &Kafka {
        &self.member(id).kafka
    }

    /// What stands between that broker and the clients that came by [`KafkaCluster::proxied_brokers`].
    ///
    /// # Panics
    /// When there is no such broker.
    #[must_use]
    pub fn proxy(&self, id: i32) -> &FaultProxy {
        &self.member(id).proxy
    }

    /// The brokers' addresses, as clients' settings want them.
    #[must_use]
    pub fn brokers(&self) -> &str {
        self.access.brokers()
    }

    /// The same brokers behind their fault proxies. A client that starts there stays there.
    #[must_use]
    pub fn proxied_brokers(&self) -> String {
        let addresses: Vec<String> =
            self.members.iter().map(|member| member.proxy.address()).collect();
        addresses.join(",")
    }

    /// What tests ask of a Kafka from outside.
    #[must_use]
    pub fn access(&self) -> &KafkaAccess {
        &self.access
    }

    /// Names that no other test has.
    #[must_use]
    pub fn namespace(&self) -> Namespace {
        Namespace::unique()
    }

    /// Creates the topics, replicated; see [`KafkaAccess::topics`].
    ///
    /// # Panics
    /// When Kafka refuses.
    pub async fn topics(&self, namespace: &Namespace, specs: &[TopicSpec]) -> TestTopics {
        self.access.topics(namespace, specs).await
    }

    /// See [`KafkaAccess::leader_of`].
    pub async fn leader_of(&self, topic: &str, partition: i32) -> i32 {
        self.access.leader_of(topic, partition).await
    }

    /// See [`KafkaAccess::coordinator_of`].
    pub async fn coordinator_of(&self, group: &str) -> i32 {
        self.access.coordinator_of(group).await
    }

    /// See [`KafkaAccess::move_leader`].
    ///
    /// # Errors
    /// When the broker is no replica or the controller refuses.
    pub async fn move_leader(&self, topic: &str, partition: i32, broker: i32) -> Result<()> {
        self.access.move_leader(topic, partition, broker).await
    }

    /// The partition as the controller sees it.
    ///
    /// # Errors
    /// When no broker answers or knows the topic.
    pub async fn partition(&self, topic: &str, partition: i32) -> Result<PartitionState> {
        let mut partitions = self.access.partitions(topic).await?;
        partitions.remove(&partition).with_context(|| format!("there is no {topic}/{partition}"))
    }

    fn member(&self, id: i32) -> &Member {
        self.members
            .iter()
            .find(|member| member.id == id)
            .unwrap_or_else(|| panic!("there is no broker {id}"))
    }
}

/// Ports, proxies and ids of so many brokers.
fn plan(brokers: usize) -> Result<(Vec<Node>, Vec<FaultProxy>)> {
    let mut ports = Vec::with_capacity(brokers);
    for _ in 0..brokers {
        ports.push(ports::free::<3>()?);
    }
    let voters: Vec<(i32, u16)> =
        (1..).zip(&ports).map(|(id, [_, _, controller])| (id, *controller)).collect();
    let (mut nodes, mut proxies) = (Vec::new(), Vec::new());
    for (id, [port, proxied_port, controller_port]) in (1..).zip(ports) {
        let proxy = FaultProxy::start(proxied_port)?;
        let door = ProxiedDoor { port: proxied_port, advertised_port: proxy.port() };
        let voters = voters.clone();
        nodes.push(Node { id, port, controller_port, proxied: Some(door), voters });
        proxies.push(proxy);
    }
    Ok((nodes, proxies))
}
