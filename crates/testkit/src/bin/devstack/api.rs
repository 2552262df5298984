//! The running stack's public API.

use anyhow::Result;
use millrace_testkit::api::Api;
use millrace_testkit::tokens::TokenClaims;

use crate::ports::Ports;
use crate::secrets::Secrets;

/// The body of the first order that `up` prints.
pub(crate) const EXAMPLE_ORDER: &str =
    r#"{"lines":[{"sku":"TEA-GREEN-100","quantity":2},{"sku":"CUP-PORCELAIN","quantity":1}]}"#;

/// The gateway's address.
pub(crate) fn gateway(ports: &Ports) -> Result<String> {
    Ok(format!("http://127.0.0.1:{}", ports.get("GATEWAY_PORT")?))
}

/// Somebody in front of the gateway.
pub(crate) fn client(ports: &Ports, secrets: &Secrets, who: &TokenClaims) -> Result<Api> {
    Ok(Api::new(gateway(ports)?, secrets.issuer.token(who)?))
}
