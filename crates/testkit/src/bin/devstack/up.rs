//! `devstack up`: from nothing to a stack that takes orders.

use std::process::ExitCode;
use std::time::Instant;

use anyhow::Result;
use millrace_testkit::ports::holder;
use millrace_testkit::tokens::TokenClaims;

use crate::components::{INFRASTRUCTURE, SERVICES};
use crate::containers::{self, Mode};
use crate::daemon::Daemon;
use crate::environment::PAY_WITHIN;
use crate::ports::Ports;
use crate::secrets::Secrets;
use crate::{api, databases, infrastructure, layout, products, services};

/// Pages that only the containers have, by their ports' names.
const CONTAINER_PAGES: [(&str, &str); 3] =
    [("traces", "JAEGER_PORT"), ("metrics", "PROMETHEUS_PORT"), ("dashboards", "GRAFANA_PORT")];

pub(crate) async fn run() -> Result<ExitCode> {
    let started = Instant::now();
    let _lock = layout::lock()?;
    let ports = Ports::load()?;
    let mode = containers::mode().await;
    let taken = taken_ports(&ports, mode)?;
    if !taken.is_empty() {
        eprintln!(
            "these ports of deploy/local/ports.env are in use; free them or change the file:"
        );
        for line in taken {
            eprintln!("  {line}");
        }
        return Ok(ExitCode::FAILURE);
    }
    let secrets = Secrets::load_or_create()?;
    containers::remember(mode)?;
    match mode {
        Mode::Native => {
            println!("starting PostgreSQL, Redis, Kafka and the span sink");
            infrastructure::start(&ports, &secrets).await?;
        }
        Mode::Containers => {
            println!("starting the containers of deploy/compose.yaml");
            containers::up(&ports, &secrets).await?;
        }
    }
    println!("preparing databases and topics");
    databases::prepare(&ports, &secrets).await?;
    println!("starting the services");
    services::start(&ports, &secrets).await?;
    println!("loading products");
    products::load(&ports, &secrets).await?;
    print_welcome(&ports, &secrets, mode, started)?;
    Ok(ExitCode::SUCCESS)
}

/// A line for each port that somebody else holds.
fn taken_ports(ports: &Ports, mode: Mode) -> Result<Vec<String>> {
    let mut wanted: Vec<(&str, String)> = Vec::new();
    for service in SERVICES {
        wanted.push((service.name, format!("{}_PORT", service.prefix)));
        wanted.push((service.name, format!("{}_ADMIN_PORT", service.prefix)));
    }
    // Containers hold their ports themselves, and compose names a conflict.
    if mode == Mode::Native {
        for server in INFRASTRUCTURE {
            wanted.extend(server.ports.iter().map(|port| (server.name, (*port).to_owned())));
        }
    }
    let mut taken = Vec::new();
    for (component, name) in wanted {
        let port = ports.get(&name)?;
        if Daemon::running(component).is_none()
            && let Some(holder) = holder(port)
        {
            taken.push(format!("{name}={port} is held by {holder}"));
        }
    }
    Ok(taken)
}

fn print_welcome(ports: &Ports, secrets: &Secrets, mode: Mode, started: Instant) -> Result<()> {
    let gateway = api::gateway(ports)?;
    let token = secrets.issuer.token(&TokenClaims::customer("customer-1"))?;
    println!("\nready after {:.1} s\n", started.elapsed().as_secs_f64());
    println!("  gateway      {gateway}");
    for service in SERVICES {
        let admin = service.admin_port(ports)?;
        println!("  {:<12} http://127.0.0.1:{admin}/metrics (also /actuator/health)", service.name);
    }
    match mode {
        Mode::Native => println!("  traces       make trace ID=<order id or trace id>"),
        Mode::Containers => {
            for (what, name) in CONTAINER_PAGES {
                println!("  {what:<12} http://127.0.0.1:{}", ports.get(name)?);
            }
        }
    }
    println!("\na first order:\n");
    println!("curl -sS -X POST {gateway}/api/v1/orders \\");
    println!("  -H 'Content-Type: application/json' -H \"Idempotency-Key: first-$(date +%s)\" \\");
    println!("  -H 'Authorization: Bearer {token}' \\");
    println!("  -d '{}'\n", api::EXAMPLE_ORDER);
    println!("pay it within {PAY_WITHIN}: make pay ORDER=<order_id>");
    println!("follow it: make trace ID=<order_id>; all of it at once: make demo");
    Ok(())
}
