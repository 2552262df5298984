//! What a service costs before it does anything: memory when idle, and time from start to ready.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use millrace_benches::http_client::status_of;
use millrace_benches::report::{Figure, Goal};
use millrace_system_tests::{PATIENCE, Service};

use crate::bench::Bench;

/// Long enough for first connections, rebalances and health checks to be over.
const IDLE: Duration = Duration::from_secs(5);
const LOOK_INTERVAL: Duration = Duration::from_millis(1);
const ROUNDS_MAX: usize = 3;
const MEMORY_GOAL_MB: f64 = 40.0;

pub(crate) async fn measure(bench: &mut Bench) -> Result<Vec<Figure>> {
    let mut figures = Vec::new();
    for name in ["order", "inventory", "audit", "log-ingest", "gateway"] {
        let memory = Figure::new(format!("memory.{name}"), "MB", Vec::new());
        figures.push(memory.goal(Goal::AtMost(MEMORY_GOAL_MB)));
        figures.push(Figure::new(format!("start_to_ready.{name}"), "ms", Vec::new()));
    }
    let system = &bench.system;
    let services =
        [&system.order, &system.inventory, &system.audit, &system.log_ingest, &system.gateway];
    for _ in 0..bench.rounds.count().min(ROUNDS_MAX) {
        for (service, figures) in services.iter().zip(figures.chunks_mut(2)) {
            let stopped = service.stop().await;
            ensure!(stopped == Some(0), "a service ended with {stopped:?}");
            figures[1].samples.push(start_to_ready(service).await?);
        }
        tokio::time::sleep(IDLE).await;
        for (service, figures) in services.iter().zip(figures.chunks_mut(2)) {
            let bytes = service.resident_bytes().await.context("a service has ended")?;
            let bytes = u32::try_from(bytes).context("a service has more than 4 GB")?;
            figures[0].samples.push(f64::from(bytes) / 1e6);
        }
    }
    Figure::void_all(&mut figures, &bench.promise().await);
    Ok(figures)
}

/// Milliseconds until the first 200 from `/readyz`.
async fn start_to_ready(service: &Service) -> Result<f64> {
    let url = service.admin_url();
    let started = Instant::now();
    service.launch().await;
    // A refused connection is how a process looks that has not bound its port yet.
    while !status_of(&url, "/readyz").await.is_ok_and(|status| status == 200) {
        ensure!(started.elapsed() < PATIENCE, "{url} is not ready:\n{}", service.output().await);
        tokio::time::sleep(LOOK_INTERVAL).await;
    }
    Ok(started.elapsed().as_secs_f64() * 1000.0)
}
