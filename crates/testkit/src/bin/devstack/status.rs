//! `devstack status`: what runs, where, and how much memory it takes.

use std::process::ExitCode;

use anyhow::Result;
use millrace_testkit::process::resident_bytes;

use crate::components::{INFRASTRUCTURE, SERVICES};
use crate::containers::{self, Mode};
use crate::daemon::Daemon;

pub(crate) async fn run() -> Result<ExitCode> {
    println!("{:<12} {:<8} {:>8} {:>6} {:>9}", "component", "state", "pid", "port", "memory");
    let services = SERVICES.iter().rev().map(|service| service.name);
    for name in services.chain(INFRASTRUCTURE.iter().map(|server| server.name)) {
        match Daemon::running(name) {
            Some(daemon) => {
                let mebibytes = resident_bytes(daemon.process.pid).unwrap_or_default() / (1 << 20);
                let (pid, port) = (daemon.process.pid, daemon.port);
                println!("{name:<12} {:<8} {pid:>8} {port:>6} {mebibytes:>5} MiB", "running");
            }
            None => println!("{name:<12} stopped"),
        }
    }
    if containers::mode().await == Mode::Containers {
        println!("the servers are containers: docker compose --project-name millrace ps");
    }
    Ok(ExitCode::SUCCESS)
}
