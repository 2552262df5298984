//! What tells one test broker from the next: its id, its listeners, and who else is in the cluster.
//!
//! A broker has two doors for clients. The first is advertised as it is. The second is advertised with the port of
//! a [`FaultProxy`](crate::FaultProxy), so a client that comes by the proxy is told the proxy's address and stays behind
//! it, while everybody else, the other brokers included, goes by the first door and feels nothing of the fault.

use std::fmt::Write as _;

/// A test broker's own: topics come and go quickly, a test may ask for a short session under both group protocols, what was
/// written is compacted soon, and a broker started again after SIGKILL is let in as soon as the controller has given
/// up its former life.
const TEST_PROPERTIES: &str = "
controller.quorum.append.linger.ms=5
broker.session.timeout.ms=2000
broker.heartbeat.interval.ms=500
group.min.session.timeout.ms=1000
group.consumer.min.session.timeout.ms=1000
group.consumer.session.timeout.ms=6000
group.consumer.min.heartbeat.interval.ms=100
group.consumer.heartbeat.interval.ms=500
log.segment.delete.delay.ms=1000
log.initial.task.delay.ms=500
log.cleaner.backoff.ms=200
offsets.topic.num.partitions=2
transaction.state.log.num.partitions=2
transaction.abort.timed.out.transaction.cleanup.interval.ms=500
";

/// Of several brokers: what is acknowledged survives the loss of one, and its loss is noticed within seconds.
const CLUSTER_PROPERTIES: &str = "
default.replication.factor=3
min.insync.replicas=2
offsets.topic.replication.factor=3
transaction.state.log.replication.factor=3
transaction.state.log.min.isr=2
share.coordinator.state.topic.replication.factor=3
share.coordinator.state.topic.min.isr=2
controller.quorum.fetch.timeout.ms=1000
controller.quorum.election.timeout.ms=500
controller.quorum.election.backoff.max.ms=300
controller.quorum.request.timeout.ms=1000
replica.fetch.backoff.ms=200
replica.fetch.wait.max.ms=200
";

/// The second door: where the broker listens, and the proxy's port that it advertises.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ProxiedDoor {
    pub(crate) port: u16,
    pub(crate) advertised_port: u16,
}

/// One broker.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub(crate) id: i32,
    pub(crate) port: u16,
    pub(crate) controller_port: u16,
    pub(crate) proxied: Option<ProxiedDoor>,
    /// Id and controller port of every broker, this one included; each of them is also a controller, so that two of
    /// three go on without the third.
    pub(crate) voters: Vec<(i32, u16)>,
}

impl Node {
    /// The only broker there is.
    pub(crate) fn alone(port: u16, controller_port: u16, proxied: Option<ProxiedDoor>) -> Self {
        Self { id: 1, port, controller_port, proxied, voters: vec![(1, controller_port)] }
    }

    /// The settings that come after the common ones and win over them.
    pub(crate) fn settings(&self) -> String {
        let mut text = TEST_PROPERTIES.to_owned();
        if self.voters.len() > 1 {
            text.push_str(CLUSTER_PROPERTIES);
        }
        let voters: Vec<String> =
            self.voters.iter().map(|(id, port)| format!("{id}@127.0.0.1:{port}")).collect();
        let mut listeners = format!(
            "PLAINTEXT://127.0.0.1:{},CONTROLLER://127.0.0.1:{}",
            self.port, self.controller_port
        );
        let mut advertised = format!("PLAINTEXT://127.0.0.1:{}", self.port);
        if let Some(door) = self.proxied {
            write!(listeners, ",PROXIED://127.0.0.1:{}", door.port).ok();
            write!(advertised, ",PROXIED://127.0.0.1:{}", door.advertised_port).ok();
        }
        let lines = [
            ("node.id", self.id.to_string()),
            ("controller.quorum.voters", voters.join(",")),
            ("listeners", listeners),
            ("advertised.listeners", advertised),
            (
                "listener.security.protocol.map",
                "PLAINTEXT:PLAINTEXT,PROXIED:PLAINTEXT,CONTROLLER:PLAINTEXT".to_owned(),
            ),
        ];
        for (name, value) in lines {
            writeln!(text, "{name}={value}").ok();
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_proxied_door_advertises_the_proxy_and_the_other_itself() {
        let door = ProxiedDoor { port: 5, advertised_port: 6 };
        let text = Node::alone(3, 4, Some(door)).settings();
        assert!(
            text.contains("advertised.listeners=PLAINTEXT://127.0.0.1:3,PROXIED://127.0.0.1:6")
        );
        assert!(text.contains(
            "listeners=PLAINTEXT://127.0.0.1:3,CONTROLLER://127.0.0.1:4,PROXIED://127.0.0.1:5"
        ));
        assert!(!text.contains("replication.factor=3"));
    }
}
