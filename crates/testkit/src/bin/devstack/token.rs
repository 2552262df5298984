//! `devstack token`: a token that the local services accept.

use std::process::ExitCode;

use anyhow::Result;
use clap::Args;
use millrace_testkit::tokens::{SigningKey, TokenClaims};

use crate::secrets::Secrets;

#[derive(Args)]
pub(crate) struct Options {
    /// A role, such as admin; may be given more than once
    #[arg(long)]
    role: Vec<String>,
    /// Who it is for
    #[arg(long, default_value = "customer-1")]
    sub: String,
    /// The tenant
    #[arg(long)]
    tenant: Option<String>,
    /// Minutes until it expires
    #[arg(long, default_value_t = 12 * 60)]
    minutes: u32,
    /// Sign with RS256 instead of EdDSA
    #[arg(long)]
    rsa: bool,
}

pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    let claims = TokenClaims {
        subject: options.sub.clone(),
        roles: options.role.iter().map(|role| role.to_lowercase()).collect(),
        tenant: options.tenant.clone(),
        expires_in: i64::from(options.minutes) * 60,
        key: if options.rsa { SigningKey::Rsa } else { SigningKey::Ed25519 },
        ..TokenClaims::default()
    };
    println!("{}", Secrets::existing()?.issuer.token(&claims)?);
    Ok(ExitCode::SUCCESS)
}
