//! Real Apache Kafka brokers (KRaft) from their Maven artefacts: one for a stack, several for a
//! [`KafkaCluster`](crate::KafkaCluster).

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use nix::sys::signal::Signal;
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use tokio::process::Command;

use crate::launch::{Launch, Lifetime};
use crate::server::Server;
use crate::wait::try_wait_until;

pub(crate) mod access;
mod group_settings;
mod groups;
mod jars;
mod log;
pub(crate) mod node;
mod topology;
mod transactions;
mod wire;

pub use access::KafkaAccess;
pub use groups::{CommittedOffset, Group, GroupMember, GroupProtocol};
pub use jars::fetch;
pub use log::{LogEntry, RawOutgoing};
use node::Node;
pub use topology::PartitionState;
pub use transactions::OpenTransaction;

const START_LIMIT: Duration = Duration::from_secs(60);
/// All local brokers share one cluster id: it is only a name, and theirs never meet.
const CLUSTER_ID: &str = "bWlsbHJhY2UtbG9jYWwtMQ";
const PROPERTIES: &str = include_str!("../../../deploy/local/kafka/server.properties");
/// A broker's directory and ports.
#[derive(Debug, Clone)]
pub struct KafkaHome {
    directory: PathBuf,
    log: PathBuf,
    library: PathBuf,
    test: bool,
}

impl KafkaHome {
    /// The home under `directory`, with the jars fetched.
    ///
    /// # Errors
    /// When the jars can't be had.
    pub async fn at(directory: PathBuf, log: PathBuf, test: bool) -> Result<Self> {
        Ok(Self { directory, log, library: fetch().await?, test })
    }

    /// Writes the settings for these ports, and formats the storage unless it is formatted.
    ///
    /// # Errors
    /// When Java is missing or the storage can't be formatted.
    pub async fn prepare(&self, broker_port: u16, controller_port: u16) -> Result<()> {
        self.configure(broker_port, controller_port, "")?;
        self.format().await
    }

    /// The same for a test broker. The format is a Java program that takes a second or two of two cores to write two small
    /// files: one says which version the cluster's metadata has, the other who this broker is. The first is the same for
    /// every test broker of a Kafka version, so it is made once and kept beside the jars; the second is written here.
    pub(crate) async fn prepare_node(&self, node: &Node) -> Result<()> {
        self.configure(node.port, node.controller_port, &node.settings())?;
        if self.data().join("meta.properties").exists() {
            return Ok(());
        }
        let first = self.data().join("bootstrap.checkpoint");
        let kept = jars::kept_beside("bootstrap.checkpoint");
        if !kept.exists() {
            self.format().await?;
            // A name of one's own first: another test program may be doing the same.
            let own = kept.with_extension(uuid::Uuid::now_v7().simple().to_string());
            std::fs::copy(&first, &own).context("keeping the cluster's first record")?;
            return std::fs::rename(&own, &kept).context("keeping the cluster's first record");
        }
        std::fs::copy(&kept, &first).context("copying the cluster's first record")?;
        let identity = base64::Engine::encode(
            &base64::engine::general_purpose::URL_SAFE_NO_PAD,
            uuid::Uuid::now_v7().as_bytes(),
        );
        let text = format!(
            "version=1\nnode.id={}\ncluster.id={CLUSTER_ID}\ndirectory.id={identity}\n",
            node.id
        );
        std::fs::write(self.data().join("meta.properties"), text)
            .context("writing the broker's identity")
    }

    fn configure(&self, broker_port: u16, controller_port: u16, more: &str) -> Result<()> {
        let data = self.data();
        std::fs::create_dir_all(&data).context("creating Kafka's directory")?;
        let mut properties = PROPERTIES
            .replace("${broker.port}", &broker_port.to_string())
            .replace("${controller.port}", &controller_port.to_string())
            .replace("${data.directory}", &data.display().to_string());
        properties.push_str(more);
        std::fs::write(self.properties(), properties).context("writing Kafka's settings")
    }

    async fn format(&self) -> Result<()> {
        if self.data().join("meta.properties").exists() {
            return Ok(());
        }
        let mut format = Command::new("java");
        format
            .args(["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC"])
            .arg("-Dorg.slf4j.simpleLogger.defaultLogLevel=warn")
            .args(["-cp", &self.class_path(), "kafka.tools.StorageTool", "format"])
            .args(["--cluster-id", CLUSTER_ID, "--config"])
            .arg(self.properties())
            .kill_on_drop(true);
        crate::postgres::run("kafka.tools.StorageTool", format).await
    }

    /// What starts the broker.
    #[must_use]
    pub fn launch(&self, lifetime: Lifetime) -> Launch {
        let mut java = vec!["-Xms96m", "-Xmx320m", "-XX:+UseSerialGC", "-Xshare:auto"];
        if self.test {
            // A broker that lives for minutes never earns back what the second compiler costs on two cores.
            java.push("-XX:TieredStopAtLevel=1");
        }
        java.extend([
            "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
            "-Dorg.slf4j.simpleLogger.showDateTime=true",
            "-Dorg.slf4j.simpleLogger.dateTimeFormat=yyyy-MM-dd'T'HH:mm:ss.SSS",
        ]);
        Launch::new("java", &self.log, lifetime)
            .args(java)
            .args(["-cp", &self.class_path(), "kafka.Kafka"])
            .arg(self.properties().display().to_string())
    }

    fn data(&self) -> PathBuf {
        self.directory.join("data")
    }

    fn properties(&self) -> PathBuf {
        self.directory.join("server.properties")
    }

    fn class_path(&self) -> String {
        self.library.join("*").display().to_string()
    }
}

/// Client settings for the broker on `port`; what a test or a tool adds comes on top.
#[must_use]
pub fn client(port: u16) -> ClientConfig {
    client_of(&format!("127.0.0.1:{port}"))
}

/// Client settings for these brokers.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "a bare client beside the one under test")]
pub(crate) fn client_of(brokers: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", brokers);
    // The broker comes and goes in tests: look for it often, and don't fill the log meanwhile.
    config.set("reconnect.backoff.ms", "20").set("reconnect.backoff.max.ms", "200");
    config.set("log_level", "0");
    config
}

/// Waits until the broker serves metadata that names itself.
///
/// # Errors
/// The last refusal when it doesn't in time, or `check`'s error at once.
pub async fn wait_ready(port: u16, check: impl Fn() -> Result<()>) -> Result<()> {
    try_wait_until(START_LIMIT, || async {
        if let Err(gone) = check() {
            return Ok(Err(gone));
        }
        if !crate::ports::answers(port) {
            return Err("the port is closed".to_owned());
        }
        match tokio::task::spawn_blocking(move || broker_count(port)).await {
            Ok(Ok(1..)) => Ok(Ok(())),
            Ok(other) => Err(format!("{other:?}")),
            Err(broken) => Err(broken.to_string()),
        }
    })
    .await
    .map_err(|last| anyhow::anyhow!("Kafka did not start: {last}"))?
}

fn broker_count(port: u16) -> Result<usize, String> {
    let consumer: BaseConsumer = client(port).create().map_err(|error| error.to_string())?;
    let metadata =
        consumer.fetch_metadata(None, Duration::from_secs(2)).map_err(|error| error.to_string())?;
    Ok(metadata.brokers().len())
}

/// A running test broker.
pub struct Kafka {
    port: u16,
    log: PathBuf,
    server: Server,
}

impl Kafka {
    pub(crate) async fn start_in(directory: &Path, log: PathBuf, node: &Node) -> Result<Self> {
        let home = KafkaHome::at(directory.to_path_buf(), log, true).await?;
        home.prepare_node(node).await?;
        let kafka = Self::of(home, node.port);
        kafka.start().await?;
        Ok(kafka)
    }

    /// One that is prepared and not started yet.
    pub(crate) fn of(home: KafkaHome, port: u16) -> Self {
        let log = home.log.clone();
        let server = Server::new("kafka", Signal::SIGTERM, move || {
            home.launch(Lifetime::WithParent(Signal::SIGKILL))
        });
        Self { port, log, server }
    }

    /// Where it listens.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The file that it logs to.
    #[must_use]
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// True while its process runs; frozen counts as running.
    #[must_use]
    pub fn running(&self) -> bool {
        self.server.check().is_ok()
    }

    /// Starts it after a stop or kill, and waits until it serves.
    ///
    /// # Errors
    /// When it doesn't.
    pub async fn start(&self) -> Result<()> {
        self.server.start()?;
        wait_ready(self.port, || self.server.check()).await
    }

    /// Stops it in the orderly way.
    ///
    /// # Errors
    /// When the wait for its end breaks.
    pub async fn stop(&self) -> Result<()> {
        self.server.stop().await
    }

    /// Ends it by SIGKILL. What it acknowledged is in the system's page cache and survives.
    pub fn kill(&self) {
        self.server.kill(Signal::SIGKILL);
    }

    /// Freezes it: connections stay open, nothing answers.
    pub fn pause(&self) {
        self.server.pause();
    }

    /// Lets it go on.
    pub fn resume(&self) {
        self.server.resume();
    }

    /// Kill and start.
    ///
    /// # Errors
    /// When it doesn't come back.
    pub async fn restart(&self) -> Result<()> {
        self.kill();
        self.start().await
    }
}
