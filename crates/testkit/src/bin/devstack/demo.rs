//! `devstack demo`: plays every way an order can go against the running stack, shows each order's timeline, and
//! closes the books. It ends with a failure when something isn't as the docs promise.

mod scenario;
mod timeline;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use millrace_testkit::api::Api;
use millrace_testkit::ledger::Books;
use millrace_testkit::postgres;
use millrace_testkit::tokens::TokenClaims;
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;

use crate::api;
use crate::ports::Ports;
use crate::secrets::Secrets;

/// Events on their way arrive within seconds; orders of earlier runs that wait for payment count as they are.
const BOOKS_LIMIT: Duration = Duration::from_secs(30);

/// Who takes part.
pub(crate) struct Stage {
    /// A customer of this run alone, so that its orders can be told from others.
    pub(crate) customer: Api,
    /// An administrator.
    pub(crate) admin: Api,
    /// Signs the provider's callbacks.
    pub(crate) payment_secret: String,
}

pub(crate) async fn run() -> Result<ExitCode> {
    let (ports, secrets) = (Ports::load()?, Secrets::existing()?);
    let who = format!("demo-{}", uuid::Uuid::now_v7().simple());
    let stage = Stage {
        customer: api::client(&ports, &secrets, &TokenClaims::customer(&who))?,
        admin: api::client(&ports, &secrets, &TokenClaims::admin())?,
        payment_secret: secrets.payment_hmac.clone(),
    };
    let mut failed = 0;
    for scenario in scenario::play(&stage).await.context("the stack doesn't answer: is it up?")? {
        println!("\n{}", scenario.title);
        timeline::print(&stage, &scenario).await?;
        match scenario.check(&stage).await {
            Ok(()) => println!("  ok"),
            Err(problem) => {
                failed += 1;
                println!("  NOT AS PROMISED: {problem:#}");
            }
        }
    }
    println!("\nThe books");
    match books(&ports, &secrets)?.balanced(BOOKS_LIMIT).await {
        Ok(ledger) => println!("{ledger}\n  balanced"),
        Err(problems) => {
            failed += 1;
            println!("  NOT BALANCED: {problems}");
        }
    }
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The databases as their owners see them: services can't look into each other's, the auditor can.
fn books(ports: &Ports, secrets: &Secrets) -> Result<Books> {
    let port = ports.get("POSTGRES_PORT")?;
    let pool = |service: &str| -> Result<PgPool> {
        let role = format!("millrace_{service}_owner");
        let password = secrets.password(&role)?;
        let options =
            postgres::connect_options(port, &role, password, &format!("millrace_{service}"));
        Ok(PgPoolOptions::new().max_connections(1).connect_lazy_with(options))
    };
    Ok(Books { order: pool("order")?, inventory: pool("inventory")?, audit: pool("audit")? })
}
