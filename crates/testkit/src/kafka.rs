//! A real Apache Kafka broker (KRaft, one node) from its Maven artefacts.

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

mod jars;

pub use jars::fetch;

const START_LIMIT: Duration = Duration::from_secs(60);
/// All local brokers share one cluster id: it is only a name, and theirs never meet.
const CLUSTER_ID: &str = "bWlsbHJhY2UtbG9jYWwtMQ";
const PROPERTIES: &str = include_str!("../../../deploy/local/kafka/server.properties");
/// A test broker's own: topics come and go quickly, a test may ask for a short session, and a broker started
/// again after SIGKILL is let in as soon as the controller has given up its former life.
const TEST_PROPERTIES: &str = "
controller.quorum.append.linger.ms=5
broker.session.timeout.ms=2000
broker.heartbeat.interval.ms=500
group.min.session.timeout.ms=1000
log.segment.delete.delay.ms=1000
offsets.topic.num.partitions=2
transaction.state.log.num.partitions=2
";

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
        let data = self.directory.join("data");
        std::fs::create_dir_all(&data).context("creating Kafka's directory")?;
        let mut properties = PROPERTIES
            .replace("${broker.port}", &broker_port.to_string())
            .replace("${controller.port}", &controller_port.to_string())
            .replace("${data.directory}", &data.display().to_string());
        if self.test {
            properties.push_str(TEST_PROPERTIES);
        }
        std::fs::write(self.properties(), properties).context("writing Kafka's settings")?;
        if data.join("meta.properties").exists() {
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

    fn properties(&self) -> PathBuf {
        self.directory.join("server.properties")
    }

    fn class_path(&self) -> String {
        self.library.join("*").display().to_string()
    }
}

/// Client settings for the broker on `port`; what a test or a tool adds comes on top.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "a bare client beside the one under test")]
pub fn client(port: u16) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", format!("127.0.0.1:{port}"));
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

/// The Kafka of a test stack.
pub struct Kafka {
    port: u16,
    server: Server,
}

impl Kafka {
    pub(crate) async fn start_in(
        directory: &Path,
        log: PathBuf,
        port: u16,
        controller_port: u16,
    ) -> Result<Self> {
        let home = KafkaHome::at(directory.to_path_buf(), log, true).await?;
        home.prepare(port, controller_port).await?;
        let server = Server::new("kafka", Signal::SIGTERM, move || {
            home.launch(Lifetime::WithParent(Signal::SIGKILL))
        });
        let kafka = Self { port, server };
        kafka.start().await?;
        Ok(kafka)
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
