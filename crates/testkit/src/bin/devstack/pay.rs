//! `devstack pay`: the payment provider's callback for one order.

use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Args;
use millrace_testkit::api::{failure_for, success_for};
use millrace_testkit::tokens::TokenClaims;
use serde_json::json;
use uuid::Uuid;

use crate::api;
use crate::ports::Ports;
use crate::secrets::Secrets;

#[derive(Args)]
pub(crate) struct Options {
    /// The order's id
    #[arg(long)]
    order: String,
    /// The payment failed
    #[arg(long)]
    fail: bool,
    /// Minor units; the order's own total when not given
    #[arg(long)]
    amount: Option<i64>,
    /// Who placed the order; asked for its total
    #[arg(long, default_value = "customer-1")]
    sub: String,
}

pub(crate) async fn run(options: Options) -> Result<ExitCode> {
    let (ports, secrets) = (Ports::load()?, Secrets::existing()?);
    let buyer = api::client(&ports, &secrets, &TokenClaims::customer(&options.sub))?;
    let order: Uuid = options.order.parse().context("ORDER is not an order's id")?;
    let found = buyer.order(order).await.context("the stack does not answer: is it up?")?;
    anyhow::ensure!(
        found.status.is_success(),
        "{} (asked as {}; another buyer: SUB=)",
        found.body,
        options.sub
    );
    let mut result =
        if options.fail { failure_for(found.data()) } else { success_for(found.data()) };
    if let Some(amount) = options.amount {
        result["amount_minor"] = json!(amount);
    }
    let reply = buyer.payment_result(&secrets.payment_hmac, &result).await?;
    println!("{}\n{:#}", reply.status, reply.body);
    Ok(if reply.status.is_success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
