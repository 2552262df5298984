//! Keys and passwords of this installation, made once, kept in .local/secrets (0600).

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Context, Result};
use millrace_testkit::{Issuer, secret_file};

use crate::components::SERVICES;
use crate::layout;

/// What the stack needs to keep secret.
pub(crate) struct Secrets {
    /// Signs tokens.
    pub(crate) issuer: Issuer,
    /// The public half of it, read by the services.
    pub(crate) jwks_file: PathBuf,
    /// PostgreSQL's superuser.
    pub(crate) postgres: String,
    /// Passwords by role.
    pub(crate) roles: BTreeMap<String, String>,
    /// The same as the file that bootstrap.sql reads.
    pub(crate) roles_file: PathBuf,
    /// Shared with the payment provider.
    pub(crate) payment_hmac: String,
    /// Signs page cursors.
    pub(crate) cursor: String,
}

impl Secrets {
    pub(crate) fn load_or_create() -> Result<Self> {
        let directory = layout::secrets();
        let kept = |name: &str| secret_file::load_or_create(&directory.join(name));
        let issuer = Issuer::load_or_create(&directory)?;
        let jwks_file = directory.join("jwks.json");
        issuer.write_jwks(&jwks_file)?;
        let mut roles = BTreeMap::new();
        for service in SERVICES.iter().filter_map(|service| service.database) {
            for kind in ["owner", "app"] {
                let role = format!("millrace_{service}_{kind}");
                let password = kept(&format!("password-{role}"))?;
                roles.insert(role, password);
            }
        }
        let roles_file = directory.join("roles.json");
        let text = serde_json::to_vec(&roles).context("writing the roles' passwords")?;
        secret_file::write(&roles_file, &text)?;
        Ok(Self {
            issuer,
            jwks_file,
            postgres: kept("password-postgres")?,
            roles,
            roles_file,
            payment_hmac: kept("payment-hmac")?,
            cursor: kept("cursor")?,
        })
    }

    /// The secrets of a stack that `up` has prepared.
    pub(crate) fn existing() -> Result<Self> {
        anyhow::ensure!(
            layout::secrets().join("cursor").exists(),
            "no stack here yet: run `make up`"
        );
        Self::load_or_create()
    }

    pub(crate) fn password(&self, role: &str) -> Result<&str> {
        self.roles.get(role).map(String::as_str).with_context(|| format!("no password of {role}"))
    }
}
