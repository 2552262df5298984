//! PostgreSQL, Redis, Kafka and the span sink as background processes, for a machine without containers.

use std::time::Duration;

use anyhow::{Context, Result};
use millrace_testkit::launch::{Launch, Lifetime, Running};
use millrace_testkit::postgres::{PostgresHome, SUPERUSER, Tuning, connect_options};
use millrace_testkit::process::answers_ok;
use millrace_testkit::{kafka, postgres, redis, try_wait_until};

use crate::components::{Infrastructure, KAFKA, OTLP_SINK, POSTGRES, REDIS};
use crate::daemon::Daemon;
use crate::layout;
use crate::ports::Ports;
use crate::secrets::Secrets;

/// Starts what doesn't run, all at once, and waits until each answers.
pub(crate) async fn start(ports: &Ports, secrets: &Secrets) -> Result<()> {
    tokio::try_join!(
        start_postgres(ports, secrets),
        start_redis(ports),
        start_kafka(ports),
        start_otlp_sink(ports)
    )?;
    Ok(())
}

async fn start_postgres(ports: &Ports, secrets: &Secrets) -> Result<()> {
    let port = ports.get("POSTGRES_PORT")?;
    let home = PostgresHome::at(&layout::postgres(), layout::log(POSTGRES.name))?;
    home.init(Tuning::Keep, Some(&secrets.postgres)).await?;
    let started = ensure(POSTGRES, port, || home.launch(port, Tuning::Keep, Lifetime::Detached))?;
    let options = connect_options(port, SUPERUSER, &secrets.postgres, "postgres");
    postgres::wait_ready(&options, || started.check()).await
}

async fn start_redis(ports: &Ports) -> Result<()> {
    let port = ports.get("REDIS_PORT")?;
    let (directory, log) = (layout::redis(), layout::log(REDIS.name));
    std::fs::create_dir_all(&directory).context("creating Redis' directory")?;
    let started =
        ensure(REDIS, port, || redis::launch(&directory, &log, port, true, Lifetime::Detached))?;
    redis::wait_ready(port, || started.check()).await
}

async fn start_kafka(ports: &Ports) -> Result<()> {
    let (port, controller) = (ports.get("KAFKA_PORT")?, ports.get("KAFKA_CONTROLLER_PORT")?);
    let home = kafka::KafkaHome::at(layout::kafka(), layout::log(KAFKA.name), false).await?;
    home.prepare(port, controller).await?;
    let started = ensure(KAFKA, port, || home.launch(Lifetime::Detached))?;
    kafka::wait_ready(port, || started.check()).await
}

async fn start_otlp_sink(ports: &Ports) -> Result<()> {
    let port = ports.get("OTLP_PORT")?;
    let program = std::env::current_exe().context("finding this program")?;
    let started = ensure(OTLP_SINK, port, || {
        Launch::new(program, layout::log(OTLP_SINK.name), Lifetime::Detached).arg("otlp-sink")
    })?;
    let (client, url) = (reqwest::Client::new(), format!("http://127.0.0.1:{port}/readyz"));
    try_wait_until(Duration::from_secs(10), || async {
        match started.check() {
            Err(gone) => Ok(Err(gone)),
            Ok(()) => answers_ok(&client, &url).await.map(Ok),
        }
    })
    .await
    .map_err(|last| anyhow::anyhow!("the span sink did not start: {last}"))?
}

/// A component that was started now, or one that ran already.
struct Started {
    name: &'static str,
    // Told apart from a failed start only while we are its parent.
    child: Option<std::sync::Mutex<Running>>,
}

impl Started {
    /// Fails when a process started by us has ended; the end of its log says why.
    fn check(&self) -> Result<()> {
        let Some(child) = &self.child else {
            return Ok(());
        };
        let mut child = child.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        match child.ended() {
            None => Ok(()),
            Some(status) => {
                anyhow::bail!("{} ended ({status}):\n{}", self.name, child.log_tail(20))
            }
        }
    }
}

fn ensure(what: Infrastructure, port: u16, launch: impl FnOnce() -> Launch) -> Result<Started> {
    if let Some(daemon) = Daemon::running(what.name) {
        anyhow::ensure!(
            daemon.port == port,
            "{} runs on port {}, but deploy/local/ports.env says {port}: `make down` first",
            what.name,
            daemon.port
        );
        return Ok(Started { name: what.name, child: None });
    }
    let (_, running) = Daemon::start(what.name, port, String::new(), launch())?;
    Ok(Started { name: what.name, child: Some(std::sync::Mutex::new(running)) })
}
