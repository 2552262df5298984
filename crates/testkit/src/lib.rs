#![doc = include_str!("../README.md")]

pub mod api;
pub mod cluster;
pub mod database;
mod disk;
mod janitor;
pub mod kafka;
pub mod launch;
pub mod ledger;
pub mod namespace;
pub mod otlp;
pub mod payments;
pub mod pid;
pub mod ports;
pub mod postgres;
pub mod process;
pub mod proxy;
pub mod records;
pub mod redis;
pub mod secret_file;
mod server;
pub mod stack;
pub mod tokens;
pub mod topics;
mod wait;
pub mod workspace;

pub use cluster::{ClusterTurn, KafkaCluster};
pub use database::TestDatabase;
pub use disk::SmallDisk;
pub use kafka::{
    CommittedOffset, Group, GroupMember, GroupProtocol, Kafka, KafkaAccess, LogEntry,
    PartitionState, RawOutgoing,
};
pub use namespace::Namespace;
pub use otlp::SpanCollector;
pub use process::Process;
pub use proxy::{FaultProxy, Way};
pub use redis::{Redis, RedisCluster, RedisSentinels, SlotMove};
pub use stack::{SmallDisks, Stack};
pub use tokens::{Issuer, TokenClaims};
pub use topics::{TestTopics, TopicSpec};
pub use wait::{Look, try_wait_until, wait_until};
